"""The settings of a stack that runs in this folder, so that commands find it without flags."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from carbonfleet.cli.console import say

_FOLDERS: Final = (Path(".carbonfleet/stack"), Path(".carbonfleet/demo"))
_NAMES: Final[tuple[str, ...]] = (
    "CARBONFLEET_SIGNALS",
    "CARBONFLEET_LEDGER",
    "CARBONFLEET_CLOCK",
    "CARBONFLEET_FLEET_URL",
    "CARBONFLEET_FLEET_TOKEN_FILE",
)


def use_running_stack() -> None:
    """Take the settings that its file says and nobody else gave; its kubeconfig where there is no other."""
    from carbonfleet.private_files import is_held

    folder = next((each for each in _FOLDERS if is_held(each)), None)
    if folder is None or any(name in os.environ for name in _NAMES):
        return
    given = dict(_exported(folder / "environment"))
    wanted = {name: given[name] for name in _NAMES if name in given}
    if "KUBECONFIG" in given and "KUBECONFIG" not in os.environ and not Path("~/.kube/config").expanduser().exists():
        wanted["KUBECONFIG"] = given["KUBECONFIG"]
    if wanted:
        os.environ |= wanted
        say(f"note: by the settings of the stack that runs in {folder}", err=True)


def _exported(file: Path) -> Iterator[tuple[str, str]]:
    """What a shell would export."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError):
        return
    for line in lines:
        words = shlex.split(line)
        if words[:1] == ["export"] and len(words) == 2:
            name, _, value = words[1].partition("=")
            yield name, value
