"""What the agent must not forget: one small file, replaced whole, held by one agent at a time."""

import fcntl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import IO, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from carbonfleet.api.report import ReportSpec
from carbonfleet.faults import only
from carbonfleet.private_files import make_file, make_folder, replace_file
from carbonfleet.spoke.attempt_state import KnownAttempt
from carbonfleet.spoke.errors import MemoryInUseError

_MOST: Final = 5000
"""Attempts that are over are forgotten, oldest first, beyond this many."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    report: ReportSpec
    path: str = ""
    session: str = ""
    restarts: int = 0
    place: str = ""
    delivered: bool = False
    cleared: bool = False


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    attempts: dict[str, _Entry] = {}


class Memory(Mapping[str, KnownAttempt]):
    """Attempts by object name. Losing it costs nothing but a look at the hub's reports and the runtime."""

    def __init__(self, directory: Path) -> None:
        make_folder(directory)
        make_file(directory / "lock")
        self._path = directory / "attempts.json"
        self._lock = _locked(directory / "lock")
        loaded = _load(self._path)
        self.is_new = loaded is None
        """Nothing is remembered: only the hub knows what ran here before."""
        self.problem = ""
        """Why it can't be saved, if it can't: until then nothing may be started that must not be forgotten."""
        self._known = loaded or {}
        self._dirty = self.is_new

    def __getitem__(self, name: str) -> KnownAttempt:
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def keep(self, name: str, known: KnownAttempt) -> None:
        """Remember an attempt; only what must survive a restart makes `save` write."""
        before = self._known.get(name)
        self._known[name] = known
        self._dirty = self._dirty or before is None or _lasting(before) != _lasting(known)

    def save(self, keep: Iterable[str] = ()) -> None:
        """Write the file if something that lasts has changed; the names in `keep` are never forgotten.

        Where it can't be written, `problem` says so, and the next call tries again: the hub must hear of it.
        """
        if not self._dirty:
            return
        self._forget(frozenset(keep))
        entries: dict[str, _Entry] = {}
        for name, known in self._known.items():
            with only(f"{name}: it can't be saved"):
                entries[name] = _entry(known)
        try:
            replace_file(self._path, _File(attempts=entries).model_dump_json(by_alias=True, indent=1))
        except OSError as error:
            self.problem = f"cannot write {self._path}: {error.strerror}; what runs goes on, and nothing is started"
            return
        self._dirty, self.problem = len(entries) < len(self._known), ""

    def close(self) -> None:
        """Let another agent have it."""
        self._lock.close()

    def _forget(self, keep: frozenset[str]) -> None:
        over = []
        for name, known in self._known.items():
            with only(f"{name}: whether it may be forgotten can't be told"):
                if known.is_over and known.delivered and name not in keep:
                    over.append(name)
        over.sort(key=lambda name: self._known[name].report.observed_at)
        for name in over[: max(0, len(self._known) - _MOST)]:
            del self._known[name]


def _lasting(known: KnownAttempt) -> tuple[object, ...]:
    report = known.report
    what = (report.phase, report.reason, report.start_time, report.end_time)
    return (*what, known.path, known.session, known.restarts, known.place, known.delivered, known.cleared)


def _entry(known: KnownAttempt) -> _Entry:
    return _Entry(**{field.name: getattr(known, field.name) for field in fields(KnownAttempt)})


def _locked(path: Path) -> IO[str]:
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise MemoryInUseError(f"another agent holds {path}; stop it, or give this one its own --state") from error
    return file


def _load(path: Path) -> dict[str, KnownAttempt] | None:
    """What was saved; None where nothing was, or where it can't be read and is set aside."""
    try:
        entries = _File.model_validate_json(path.read_bytes()).attempts
    except FileNotFoundError:
        return None
    except ValidationError:
        path.replace(path.with_suffix(".broken"))
        return None
    return {
        name: KnownAttempt(**{key: getattr(entry, key) for key in _Entry.model_fields})
        for name, entry in entries.items()
    }
