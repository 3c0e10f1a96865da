"""Who a person at the command line is, as Git wants to know."""

import re
import subprocess

from carbonfleet.cli.failure import fail


def person(said: str) -> tuple[str, str]:
    """Name and email from `NAME <EMAIL>`, or from git's own settings. Ends the command where nobody says it."""
    if not said:
        ask = ["git", "var", "GIT_AUTHOR_IDENT"]
        try:
            answer = subprocess.run(ask, capture_output=True, text=True, timeout=10, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            answer = ""
        said = answer.rpartition(">")[0] + ">"
    found = re.fullmatch(r"([^<>\n]+) <([^<>\s]+)>", said.strip())
    if found is None:
        fail("say who you are as 'NAME <EMAIL>', or git config --global user.name and user.email")
    return found[1], found[2]
