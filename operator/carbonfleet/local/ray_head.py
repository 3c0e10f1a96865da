"""One Ray head on loopback for the spokes of this machine: started, found again, and stopped alone."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import requests

from carbonfleet.local.ports import free_port
from carbonfleet.private_files import UMASK, make_file, make_folder, replace_file

_ADDRESS: Final = "127.0.0.1"
"""A node with just this address listens on loopback alone; with any other, on every address of the machine."""
_ONE_MACHINE: Final = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Tells Ray, by whatever name, that no other machine joins: else the machine's outer address takes loopback's place."""
_PORTS: Final = (
    "--port",
    "--dashboard-port",
    "--dashboard-agent-listen-port",
    "--dashboard-agent-grpc-port",
    "--runtime-env-agent-port",
    "--metrics-export-port",
    "--ray-client-server-port",
    "--node-manager-port",
    "--object-manager-port",
)
_LONGEST_PATH: Final = 40
"""Ray puts Unix sockets below it, whose paths the kernel cuts at 107 bytes."""
_INHERITED: Final = (
    "PATH",
    "HOME",
    "LANG",
    "LC_",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "HF_",
    "TRANSFORMERS_",
    "CUDA_",
    "NVIDIA_",
    "SSL_",
)
_STOP_SECONDS: Final = 20.0


class RayHeadError(Exception):
    """The Ray head could not be started."""


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """How a head is set up; small, since it only carries jobs."""

    directory: Path
    """Its own directory, with a short path: sessions, the token and the pid are kept there."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """Custom resources, such as the GPUs of each spoke's pools."""
    cpus: int = 2
    gpus: int | None = 0
    """Real ones; None for all that Ray finds."""
    dashboard_port: int = 0
    """Of the Jobs API; any free one if 0."""
    object_store_bytes: int = 80_000_000
    environment: Mapping[str, str] = field(default_factory=dict)
    """What every job on it inherits."""


@dataclass(frozen=True, slots=True)
class RayHead:
    """A head that runs: where its Jobs API is, the token it asks for, and its first process."""

    address: str
    token: str
    pid: int
    started_ticks: int
    """The process's start in clock ticks since boot: a reused pid is another process."""

    @classmethod
    def start(cls, settings: HeadSettings, timeout_seconds: float = 90.0) -> Self:
        """Start a head and wait until it takes jobs; one that already runs here is taken as it is.

        Raises:
            RayHeadError: Ray is not installed, the path is too long, or the head did not come up.
        """
        running = cls.find(settings.directory)
        if running is not None and running.answers():
            return running
        _check(settings.directory)
        end_leftovers(settings.directory)
        token = _kept_token(settings.directory / "token")
        ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
        if settings.dashboard_port:
            ports["--dashboard-port"] = settings.dashboard_port
        process = _spawn(settings, ports)
        head = cls(f"http://{_ADDRESS}:{ports['--dashboard-port']}", token, process.pid, ticks(process.pid))
        replace_file(settings.directory / "head.json", json.dumps(head.record()))
        head._wait_until_ready(process, settings.directory / "head.log", timeout_seconds)
        return head

    @classmethod
    def find(cls, directory: Path) -> Self | None:
        """The head that was started in `directory` and still runs, if any."""
        head = cls.recorded(directory)
        return head if head is not None and head.runs() else None

    @classmethod
    def recorded(cls, directory: Path) -> Self | None:
        """The head that was last started in `directory`, whether or not it runs."""
        try:
            return cls(**json.loads((directory / "head.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def record(self) -> dict[str, Any]:
        """What `find` reads."""
        return {
            "address": self.address,
            "token": self.token,
            "pid": self.pid,
            "started_ticks": self.started_ticks,
        }

    def runs(self) -> bool:
        """Whether its first process is alive."""
        return self.started_ticks > 0 and ticks(self.pid) == self.started_ticks

    def answers(self) -> bool:
        """Whether it takes jobs."""
        with suppress(requests.RequestException):
            headers = {"Authorization": f"Bearer {self.token}"}
            return requests.get(f"{self.address}/api/jobs/", headers=headers, timeout=5).ok
        return False

    def stop(self) -> None:
        """End the head and everything that it started, and nothing else."""
        if not self.runs():
            return
        started_by_it = _session(self.pid)
        os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while self.runs() and time.monotonic() < deadline:
            with suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)
            time.sleep(0.05)
        for pid, started in started_by_it.items():
            if ticks(pid) == started:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _wait_until_ready(self, process: subprocess.Popen[bytes], log: Path, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RayHeadError(f"the Ray head ended with code {process.returncode}: {_tail(log)}")
            if self.answers():
                return
            time.sleep(0.2)
        self.stop()
        raise RayHeadError(f"the Ray head took no jobs within {timeout_seconds:.0f} s: {_tail(log)}")


def _check(directory: Path) -> None:
    make_folder(directory)
    if len(str(directory)) > _LONGEST_PATH:
        raise RayHeadError(f"{directory} is too long for Ray's sockets: at most {_LONGEST_PATH} characters")


def _spawn(settings: HeadSettings, ports: Mapping[str, int]) -> subprocess.Popen[bytes]:
    options = {
        "--node-ip-address": _ADDRESS,
        "--dashboard-host": _ADDRESS,
        "--temp-dir": str(settings.directory / "s"),
        "--num-cpus": str(settings.cpus),
        **({} if settings.gpus is None else {"--num-gpus": str(settings.gpus)}),
        "--object-store-memory": str(settings.object_store_bytes),
        "--min-worker-port": "0",
        "--max-worker-port": "0",
        "--include-log-monitor": "false",
        "--resources": json.dumps(dict(settings.resources)),
        **{option: str(port) for option, port in ports.items()},
    }
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--no-monitor"]
    command += [part for option in options.items() for part in option]
    log_file = settings.directory / "head.log"
    make_file(log_file)
    with log_file.open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(settings),
            start_new_session=True,
            umask=UMASK,
        )


def _environment(settings: HeadSettings) -> dict[str, str]:
    """Every job inherits it, so of our own environment only what training needs: no tokens."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(_INHERITED)}
    return {
        **kept,
        **_ONE_MACHINE,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(settings.directory / "token"),
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "RAY_JOB_STOP_WAIT_TIME_S": "60",
        "OMP_NUM_THREADS": "1",
        **settings.environment,
    }


def _kept_token(file: Path) -> str:
    """The one of an earlier head here, so that who holds it is let in by the next."""
    if not file.exists():
        replace_file(file, secrets.token_hex(24))
    return file.read_text().strip()


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    found: list[int] = []
    while len(found) < count:
        if (port := free_port(_ADDRESS)) not in found:
            found.append(port)
    return found


def end_leftovers(directory: Path) -> None:
    """End what a head that was killed has left running in its session: trainings too, which nobody follows."""
    head = RayHead.recorded(directory)
    if head is None or ticks(head.pid):  # it runs, or its number is another process's by now
        return
    for pid in _session(head.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _session(leader: int) -> dict[int, int]:
    """The processes of a session by pid, with their start in clock ticks."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return {pid: ticks(pid) for pid in pids if _stat(pid)[3:4] == [str(leader)]}


def ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 if it is gone or a zombie."""
    fields = _stat(pid)
    return int(fields[19]) if len(fields) > 19 and fields[0] not in "ZX" else 0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat after the name: state, ppid, pgrp, session, ...; empty if gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _tail(log: Path) -> str:
    with suppress(OSError):
        return log.read_text(errors="replace")[-600:].strip()
    return "it wrote no log"
