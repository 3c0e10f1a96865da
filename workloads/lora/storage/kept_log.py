"""What a run prints, kept beside its output: the last 256 KiB of each attempt, however it ends.

A run's output is a file where Ray runs it. A process of its own copies that file's end into the store, so that a run
that is killed, or crashes in a library, leaves its last lines too; the copy lags behind by a few seconds.
"""

import os
import re
import signal
import socket
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Self

from .urls import open_store

MOST_BYTES = 262_144
MOST_ATTEMPTS = 16
"""Of one job whose logs are kept."""
_MOST_READ_BYTES = 4 * MOST_BYTES
"""At once: of what is printed faster than it is copied, the beginning is left out."""
_FOLDER = "logs"
_FOR_MACHINES = re.compile(rb"LORA_(PROGRESS|FAILURE) \{")
"""The same is printed for people beside it."""
_LONGEST_END_SECONDS = 20
"""For the last copy, in which the run's own process waits for it."""
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|(API|ACCESS|PRIVATE)_?KEY|_KEY$", re.IGNORECASE)
_SHORTEST_SECRET = 8
_SECRETS = re.compile(
    rb"(?<=://)[^\s/@]+(?=@)|(?<=X-Amz-Signature=)[0-9a-f]+|(?<=Bearer )[^\s\"']+|\bhf_[A-Za-z0-9]{16,}"
)


class KeptLog:
    """The process that copies, as the run's own sees it."""

    def __init__(self, copier: socket.socket | None) -> None:
        self._copier = copier

    @classmethod
    def begin(cls, output: str, attempt: int) -> Self:
        """Copy what is printed from now on, where that goes to a file. To be called before there are threads."""
        printed = os.fstat(1)
        if not stat.S_ISREG(printed.st_mode):
            return cls(None)
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            try:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # that is for the run; this process ends after it
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                os.setsid()
                ours.close()
                _copy(theirs, output, attempt, printed.st_size)
            finally:
                os._exit(0)
        theirs.close()
        return cls(ours)

    def end(self) -> None:
        """Copy the rest; returns when that is done, or takes too long."""
        if self._copier is None:
            return
        sys.stdout.flush()
        sys.stderr.flush()
        with self._copier as copier, suppress(OSError):
            copier.shutdown(socket.SHUT_WR)
            copier.settimeout(_LONGEST_END_SECONDS)
            copier.recv(1)


def log_name(attempt: int) -> str:
    """The file of the output that holds an attempt's log."""
    return f"{_FOLDER}/attempt-{attempt}.txt"


def _copy(run: socket.socket, output: str, attempt: int, start: int) -> None:
    """Copy until the run has ended, by itself or killed: either closes its end of `run`."""
    store, name = open_store(output), log_name(attempt)
    found = store.load(name)
    again = f"\n--- started again at {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC ---\n".encode()
    kept = Tail(found[0].rstrip(b"\n") + again if found else b"")
    store.remove(log_name(attempt - MOST_ATTEMPTS))  # one too many; those before it are gone by then
    run.settimeout(float(os.environ.get("LORA_REPORT_SECONDS") or store.report_seconds) or 0.2)
    # Opened anew, for the run's own position in it is not ours to move.
    with Path("/proc/self/fd/1").open("rb", buffering=0) as printed:
        printed.seek(start)
        is_written, goes_on = False, True
        while goes_on:
            goes_on = _waits(run)
            if not goes_on:
                signal.alarm(_LONGEST_END_SECONDS)
            is_written = not kept.add_from(printed) and is_written
            if not is_written:
                with suppress(Exception):  # the next time will do; of the last, the run has its own log
                    store.write(name, kept.masked(os.environ, is_whole=not goes_on), durable=False)
                    is_written = True


def _waits(run: socket.socket) -> bool:
    """Wait for a moment, or for the run's end; whether it goes on."""
    try:
        return bool(run.recv(1))
    except TimeoutError:
        return True


class Tail:
    """The end of what is printed, from the beginning of a line on, and without what only machines read."""

    def __init__(self, text: bytes = b"") -> None:
        self._text, self._unended = text, b""

    def add_from(self, file: FileIO) -> bool:
        """Take what a file holds behind its position, as far as it counts; whether there was any."""
        size = os.fstat(file.fileno()).st_size
        if size - file.tell() > _MOST_READ_BYTES:
            self._unended = b""
            file.seek(size - _MOST_READ_BYTES)
        more = file.read(_MOST_READ_BYTES)
        lines = (self._unended + more).split(b"\n")
        self._unended = lines.pop()[-MOST_BYTES:]
        text = self._text + b"".join(_for_people(line) for line in lines)
        self._text = text if len(text) <= MOST_BYTES else text[-MOST_BYTES:].partition(b"\n")[2]
        return bool(more)

    def masked(self, environment: Mapping[str, str], *, is_whole: bool) -> bytes:
        """The text without the secrets that the environment holds, and without what looks like one.

        A line that has no end yet is part of it once the text `is_whole`.
        """
        text = _SECRETS.sub(b"[hidden]", self._text + (_for_people(self._unended) if is_whole else b""))
        for name, value in environment.items():
            if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET:
                text = text.replace(value.encode(errors="surrogateescape"), b"[hidden]")
        return text


def _for_people(line: bytes) -> bytes:
    """A line with its end as a terminal shows it in the end; nothing of one that is for machines, or empty."""
    seen = line.rstrip(b"\r").rpartition(b"\r")[2]
    return b"" if not seen or _FOR_MACHINES.search(seen) else seen + b"\n"
