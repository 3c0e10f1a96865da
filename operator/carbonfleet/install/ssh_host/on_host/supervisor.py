"""Keeps a folder's services running where no systemd does; needs the standard library alone.

`services.json` in the folder says what is to run, and SIGHUP has it read again: what has changed is started anew, the
rest goes on. `running.json` says what runs. SIGTERM ends all, the last first.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

FIRST_SECONDS: Final = 1.0
MOST_SECONDS: Final = 60.0
LONG_SECONDS: Final = 60.0
"""A service that ran for so long before it ended is started again as if it had not ended before."""
STOP_SECONDS: Final = 90.0
LOG_BYTES: Final = 16_000_000


class Service:
    """One process in a session of its own, started again with growing waits as often as it ends."""

    def __init__(self, folder: Path, name: str, definition: dict[str, Any]) -> None:
        self.definition = definition
        self._log = folder / "logs" / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self.failures = 0
        """Ends in a row, each soon after a start."""
        self._due = 0.0

    @property
    def pid(self) -> int:
        """The running process's id; 0 where none runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else 0

    def keep_running(self) -> bool:
        """Start it where it does not run and is due; whether something has changed."""
        now = time.monotonic()
        if self.pid:
            return False
        if self._process is not None:
            self._process = None
            self.failures = 0 if now - self._started > LONG_SECONDS else self.failures + 1
            whole = min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** min(self.failures, 20))
            self._due = now + whole * (0.5 + random.random() / 2)  # noqa: S311 - so that hosts don't try in step
            return True
        if now < self._due:
            return False
        self._start()
        self._started = now
        return True

    def _start(self) -> None:
        self._log.parent.mkdir(mode=0o700, exist_ok=True)
        if self._log.exists() and self._log.stat().st_size > LOG_BYTES:
            self._log.replace(self._log.with_suffix(".old"))
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                self.definition["command"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self.definition["environment"],
                start_new_session=True,
            )

    def stop(self) -> None:
        """Ask it to end, and end it when it does not."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


class Supervisor:
    """The services of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._services: dict[str, Service] = {}
        self.is_stopping = False
        self.is_changed = True

    def run(self) -> None:
        """Work until SIGTERM."""
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_change)
        while not self.is_stopping:
            if self.is_changed:
                self._read()
            if sum(service.keep_running() for service in self._services.values()):
                self._say()
            time.sleep(0.5)
        for service in reversed(self._services.values()):
            service.stop()

    def _on_stop(self, *_: object) -> None:
        self.is_stopping = True

    def _on_change(self, *_: object) -> None:
        self.is_changed = True

    def _read(self) -> None:
        self.is_changed = False
        wanted = json.loads((self._folder / "services.json").read_text())
        for name, service in list(self._services.items()):
            if wanted.get(name) != service.definition:
                service.stop()
                del self._services[name]
        for name, definition in wanted.items():
            if name not in self._services:
                self._services[name] = Service(self._folder, name, definition)
        self._services = {name: self._services[name] for name in wanted}
        self._say()

    def _say(self) -> None:
        running = {
            name: {"pid": service.pid, "failures": service.failures, "definition": service.definition}
            for name, service in self._services.items()
        }
        fresh = self._folder / "running.new"
        fresh.write_text(json.dumps(running))
        fresh.replace(self._folder / "running.json")


if __name__ == "__main__":
    os.umask(0o077)
    Supervisor(Path(sys.argv[1])).run()
