"""What a host must have: said as findings, and changed in nothing."""

import importlib.util
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from carbonfleet.install.ssh_host.on_host.spoke import SpokeFolder
from carbonfleet.install.ssh_host.on_host.system import output, say

LEAST_PYTHON: Final = (3, 11)
_MOST_SKEW_SECONDS: Final = 60.0
_GIB: Final = 2**30
HostFinding = tuple[bool, str, str]
"""Whether it is as it must be, what was looked at, and a sentence."""


def are_met(spoke: SpokeFolder) -> bool:
    """Say every finding; whether all is as it must be."""
    found = [*_python(), *_gpus(spoke), *_disk(spoke), *_clock(spoke), *_network(spoke), _supervision()]
    for is_met, subject, text in found:
        say("finding", ok=is_met, subject=subject, text=text)
    return all(is_met for is_met, _, _ in found)


def _python() -> Iterator[HostFinding]:
    version = ".".join(map(str, sys.version_info[:3]))
    least = ".".join(map(str, LEAST_PYTHON))
    yield sys.version_info[:2] >= LEAST_PYTHON, "Python", f"{version} at {sys.executable}; {least} or newer is needed"
    if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        package = f"python3.{sys.version_info.minor}-venv"
        yield False, "venv", f"its module is missing: `apt-get install {package}` there"
    if shutil.which("bash") is None:
        yield False, "bash", "it is not on the PATH there, and Ray starts its processes by it"


def _gpus(spoke: SpokeFolder) -> Iterator[HostFinding]:
    code, said = output("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
    gpus = said.splitlines() if not code else []
    if spoke.request["simulated"]:
        yield True, "GPUs", f"none are used: {', '.join(spoke.request['simulated'])} are simulated on its CPUs"
    elif gpus:
        yield True, "GPUs", f"{len(gpus)}: {'; '.join(gpus)[:300]}"
    elif code == 127:
        yield (
            False,
            "GPUs",
            "no nvidia-smi: install NVIDIA's driver, or ask for its CPUs by --simulated POOL=GPUS",
        )
    else:
        yield False, "GPUs", f"nvidia-smi sees none: {said[-300:] or 'it says nothing'}"


def _disk(spoke: SpokeFolder) -> Iterator[HostFinding]:
    least, free = spoke.request["least_disk_gib"], shutil.disk_usage(Path.home()).free / _GIB
    if (spoke.venv / "complete").exists():
        yield True, "Disk", f"{free:.1f} GiB are free, and the packages are installed"
    else:
        said = f"{free:.1f} GiB are free in {Path.home()}, and --least-disk-gib asks for {least:g}"
        yield free >= least, "Disk", said
    if not os.access(Path.home(), os.W_OK):
        yield False, "Disk", f"{Path.home()} can't be written"


def _clock(spoke: SpokeFolder) -> Iterator[HostFinding]:
    ahead = time.time() - spoke.request["now"]
    said = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
    yield abs(ahead) <= _MOST_SKEW_SECONDS, "Clock", said if abs(ahead) >= 1 else "in step with this machine's"


def _network(spoke: SpokeFolder) -> Iterator[HostFinding]:
    for subject, host, port in spoke.request["reach"]:
        try:
            socket.create_connection((host, port), timeout=15).close()
        except OSError as error:
            yield False, subject, f"{host}:{port} can't be reached from there: {error}"
        else:
            yield True, subject, f"{host}:{port} is reached from there"


def _supervision() -> HostFinding:
    if has_systemd():
        return True, "Supervision", "systemd user units, which start with the host"
    said = "a process of carbonfleet's own, since no systemd of this user's stays when they log out "
    return True, "Supervision", f"{said}(`loginctl enable-linger`): after a reboot run `spoke up` again"


def has_systemd() -> bool:
    """Whether the user's own systemd runs, and goes on when they log out."""
    _, state = output("systemctl", "--user", "is-system-running")
    if state.splitlines()[-1:] not in (["running"], ["degraded"], ["starting"]):
        return False
    code, linger = output("loginctl", "show-user", str(os.getuid()), "--property=Linger")
    return code != 0 or linger == "Linger=yes"  # without logind nobody ends it at a logout
