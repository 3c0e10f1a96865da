"""A process of the embedded stack: started with its own log, watched, and ended alone."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from carbonfleet.local.ray_head import ticks
from carbonfleet.private_files import UMASK, make_file, make_folder, replace_file

SOON: Final = 10.0
"""Seconds: a process that ends sooner than this after its start did not work at all."""
MOST_TRIES: Final = 3


class ChildError(Exception):
    """A process of the stack could not be started or ended too early."""


class Child:
    """One process in a session of its own, so that it and all it started can be ended together."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._tries = 0
        """Starts in a row that ended soon."""

    def start(self) -> None:
        """Start it; its output goes to the end of its log. One that an earlier stack left behind is ended."""
        make_folder(self.log.parent)
        make_file(self.log)
        self._end_leftover()
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=os.environ | self._environment,
                start_new_session=True,
                umask=UMASK,
            )
        self._started = time.monotonic()
        replace_file(self._record, f"{self.pid} {ticks(self.pid)}")

    def revive(self) -> None:
        """Start it again after it ended by itself. Raises ChildError when that has been in vain too often."""
        self._tries = self._tries + 1 if time.monotonic() - self._started < SOON else 1
        if self._tries > MOST_TRIES:
            raise ChildError(f"{self.name} ended {self._tries} times within seconds of its start: {self.last_words()}")
        self.start()

    @property
    def _record(self) -> Path:
        return self.log.with_suffix(".pid")

    def _end_leftover(self) -> None:
        """A stack that was killed could not end its processes: a second one of a kind must not work beside them."""
        with suppress(OSError, ValueError):
            pid, started = (int(part) for part in self._record.read_text().split())
            if started and ticks(pid) == started:
                os.killpg(pid, signal.SIGKILL)

    @property
    def pid(self) -> int:
        """The process's id; 0 before it was started."""
        return self._process.pid if self._process else 0

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def wait(self, seconds: float) -> None:
        """Wait until it has ended. Raises subprocess.TimeoutExpired."""
        if self._process is not None:
            self._process.wait(timeout=seconds)

    def await_file(self, file: Path, seconds: float) -> str:
        """Wait until it has written `file`; the file's text.

        Raises ChildError when it ends before, or takes longer than `seconds`.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if file.exists() and (text := file.read_text().strip()):
                return text
            if not self.is_alive:
                raise ChildError(f"{self.name} ended while starting: {self.last_words()}")
            time.sleep(0.02)
        raise ChildError(f"{self.name} was not ready within {seconds:.0f} s: {self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        with suppress(OSError):
            return self.log.read_text(errors="replace")[-800:].strip()
        return "it wrote no log"

    def kill(self) -> None:
        """SIGKILL it and everything of its session."""
        self._signal(signal.SIGKILL)
        self.wait(10)

    def stop(self, seconds: float = 15.0) -> None:
        """Ask it to end, and end it when it does not."""
        self._signal(signal.SIGTERM)
        try:
            self.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def _signal(self, number: int) -> None:
        if self.is_alive:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)
