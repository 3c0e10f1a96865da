"""What keeps the agent and Ray running: the user's systemd, or a supervisor of our own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from carbonfleet.install.ssh_host.on_host.spoke import SpokeFolder
from carbonfleet.install.ssh_host.on_host.system import FailedError, fail, json_file, output, wait_until, write

MOST_FAILURES: Final = 3
_START_SECONDS: Final = 60
_STOP_SECONDS: Final = 240
_UNIT: Final = """\
[Unit]
Description=carbonfleet spoke {spoke}: {service}
StartLimitIntervalSec=0
[Service]
Type=exec
ExecStart={command}
{environment}
# {files}
UMask=0077
KillMode=mixed
TimeoutStopSec=90
Restart=always
RestartSec=5
[Install]
WantedBy=default.target
"""


class Supervised:
    """Services under a process of our own, which survives the SSH session, but not the host's next start."""

    name = "a supervised process"

    def __init__(self, spoke: SpokeFolder) -> None:
        self.spoke = spoke
        self.program = spoke.folder / "supervisor.py"

    def apply(self, services: Mapping[str, Any]) -> None:
        """Run these, and restart those alone that have changed."""
        folder = self.spoke.folder
        write(self.program, self.spoke.request["supervisor"])
        write(folder / "services.json", json.dumps(services))
        pid = self._pid()
        if pid:
            os.kill(pid, signal.SIGHUP)
        else:
            self.spoke.sweep()
            (folder / "running.json").unlink(missing_ok=True)
            (folder / "logs").mkdir(mode=0o700, exist_ok=True)
            with (folder / "logs" / "supervisor.log").open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-I", str(self.program), str(folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self.spoke.environment(),
                    start_new_session=True,
                    cwd="/",
                )
            write(folder / "supervisor.pid", str(process.pid))
        wait_until(self._has_taken, _START_SECONDS, f"its supervisor does not start them: see {self.spoke.logs}")

    def _has_taken(self) -> bool:
        running = json_file(self.spoke.folder / "running.json")
        return {name: each["definition"] for name, each in running.items()} == self.spoke.services

    def failing(self) -> str:
        """A service that has ended soon after each of its last starts; empty where none has."""
        running = json_file(self.spoke.folder / "running.json")
        return next((name for name, each in running.items() if each["failures"] >= MOST_FAILURES), "")

    def _pid(self) -> int:
        """The supervisor's; 0 where it does not run."""
        file = self.spoke.folder / "supervisor.pid"
        pid = int(file.read_text() or 0) if file.exists() else 0
        with suppress(OSError):
            if str(self.program).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return pid if pid in self.spoke.processes() else 0
        return 0

    def stop(self) -> None:
        """End them, the last first."""
        if pid := self._pid():
            os.kill(pid, signal.SIGTERM)
            with suppress(FailedError):
                wait_until(lambda: not self._pid(), _STOP_SECONDS, "")


class Systemd:
    """Services as units of the user's own systemd, which starts them with the host."""

    name = "systemd user units"

    def __init__(self, spoke: SpokeFolder) -> None:
        self.spoke = spoke
        config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
        self.units = Path(config) / "systemd" / "user"

    def _file(self, service: str) -> Path:
        return self.units / f"carbonfleet-{self.spoke.name}-{service}.service"

    def apply(self, services: Mapping[str, Any]) -> None:
        """Run these, and restart those alone that have changed."""
        write(self.spoke.folder / "services.json", json.dumps(services))
        changed = []
        for service, definition in services.items():
            text, file = self._unit(service, definition), self._file(service)
            if not file.exists() or file.read_text() != text:
                changed.append(file.name)
            write(file, text)
        self._systemctl("daemon-reload")
        for service in services:
            name = self._file(service).name
            self._systemctl("enable", "--quiet", name)
            self._systemctl("restart" if name in changed else "start", name)

    def _unit(self, service: str, definition: Mapping[str, Any]) -> str:
        pairs = definition["environment"].items()
        return _UNIT.format(
            spoke=self.spoke.name,
            service=service,
            command=" ".join(_quoted(part).replace("$", "$$") for part in definition["command"]),
            environment="\n".join(f"Environment={_quoted(f'{name}={value}')}" for name, value in pairs),
            files=definition.get("files", ""),
        )

    def _systemctl(self, *arguments: str) -> None:
        code, said = output("systemctl", "--user", *arguments, seconds=_STOP_SECONDS)
        if code:
            fail("SystemdFailed", f"systemctl --user {' '.join(arguments)}: {said}")

    def failing(self) -> str:
        """A service that has ended soon after each of its last starts; empty where none has."""
        for service in ("ray", "agent"):
            show = ("systemctl", "--user", "show", "--property=NRestarts", "--value")
            _, times = output(*show, self._file(service).name)
            if times.isdecimal() and int(times) >= MOST_FAILURES:
                return service
        return ""

    def stop(self) -> None:
        """End them, the last first, and take the units away."""
        files = [file for file in map(self._file, ("agent", "ray")) if file.exists()]
        for file in files:
            with suppress(FailedError):
                self._systemctl("disable", "--quiet", "--now", file.name)
        for file in files:
            file.unlink()
        if files:
            self._systemctl("daemon-reload")
        for folder in (self.units / "default.target.wants", self.units, self.units.parent):
            with suppress(OSError):  # it holds others' units, or is gone
                folder.rmdir()


def _quoted(text: str) -> str:
    """As a unit file wants it."""
    inner = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n")
    return f'"{inner}"'
