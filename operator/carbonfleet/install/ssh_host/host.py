"""A spoke on a host without Kubernetes: brought up and taken away over SSH."""

import re
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from carbonfleet.install.overlays import InstallError
from carbonfleet.install.ssh_host.settings import DownSettings, HostAddressSettings, UpSettings
from carbonfleet.install.ssh_host.ssh import SshAddress, SshHost
from carbonfleet.install.ssh_host.wheel import Wheel
from carbonfleet.shipped import SHIPPED

_PACKAGE: Final = Path(__file__).parent / "on_host"
_UP_SECONDS: Final = 7200.0
_DOWN_SECONDS: Final = 900.0
_CHECK_SECONDS: Final = 180.0
_FIXED: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class HostStep:
    """What the host says while it works."""

    subject: str
    text: str
    is_met: bool = True
    """False for a finding that must be mended."""


Hear = Callable[[HostStep], None]


def check(address: SshAddress, settings: UpSettings, hear: Hear) -> str:
    """Only look at a host; how it ends, in a sentence. Raises InstallError, ValueError, OSError."""
    return _run(address, settings, _up_request(settings, _wheel(settings), "check"), b"", _CHECK_SECONDS, hear)


def up(address: SshAddress, settings: UpSettings, hear: Hear) -> str:
    """Make a host the spoke that the settings say, or bring it to what they say now; how it ends, in a sentence.

    Raises InstallError with the step that failed, ValueError, OSError.
    """
    wheel = _wheel(settings)
    return _run(address, settings, _up_request(settings, wheel, "up"), wheel.content, _UP_SECONDS, hear)


def down(address: SshAddress, settings: DownSettings, hear: Hear) -> str:
    """Take the spoke away from a host; how it ends, in a sentence. Raises InstallError."""
    request = {"action": "down", **settings.model_dump(include={"spoke", "end_runs", "delete_data"})}
    return _run(address, settings, request, b"", _DOWN_SECONDS, hear)


def _wheel(settings: UpSettings) -> Wheel:
    return Wheel.read(settings.wheel) if settings.wheel else Wheel.own()


def _up_request(settings: UpSettings, wheel: Wheel, action: str) -> dict[str, Any]:
    constraints = (SHIPPED / "constraints.txt").read_text()
    return {
        "action": action,
        **settings.model_dump(include={"spoke", "site_packages", "least_disk_gib", "end_runs"}),
        "simulated": settings.simulated.split(",") if settings.simulated else [],
        "now": time.time(),
        "reach": settings.reach(),
        "agent": settings.agent(),
        "files": settings.files(),
        "wheel": {"name": wheel.name, "sha256": wheel.sha256},
        "constraints": constraints,
        "pip": re.findall(r"^pip==(?:.*\\\n)*.*\n", constraints, re.MULTILINE)[0],
        "supervisor": (_PACKAGE / "supervisor.py").read_text(),
    }


def _run(
    address: SshAddress,
    settings: HostAddressSettings,
    request: Mapping[str, Any],
    payload: bytes,
    seconds: float,
    hear: Hear,
) -> str:
    last: dict[str, Any] = {}

    def heard(said: dict[str, Any]) -> None:
        if said["kind"] == "finding":
            hear(HostStep(str(said["subject"]), str(said["text"]), bool(said["ok"])))
        elif said["kind"] == "step":
            hear(HostStep(str(said["name"]), str(said["text"])))
        else:
            last.update(said)

    SshHost(address, settings.ssh_config, settings.python).run(_program(), request, payload, heard, seconds)
    if last.get("kind") != "done":
        raise InstallError(
            f"{address}: {last.get('reason', 'Unknown')}: {last.get('text', 'it did not say how it ended')}"
        )
    return str(last["text"])


def _program() -> bytes:
    """The modules that run on the host, in a zip that its Python imports from."""
    packed, package = BytesIO(), "carbonfleet/install/ssh_host/on_host"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for depth in range(1, 4):
            archive.writestr(zipfile.ZipInfo("/".join([*package.split("/")[:depth], "__init__.py"]), _FIXED), "")
        for file in sorted(_PACKAGE.glob("*.py")):
            archive.writestr(zipfile.ZipInfo(f"{package}/{file.name}", _FIXED), file.read_bytes())
    return packed.getvalue()
