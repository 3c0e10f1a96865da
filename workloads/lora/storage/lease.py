"""Which attempt may write, and which checkpoints count: one small file, only ever changed by compare-and-swap.

A checkpoint exists once the lease names it. So a writer that was overtaken cannot add one, however late it
wakes up, and half of a checkpoint is never seen.
"""

import os
import random
import secrets
import socket
import time
from datetime import UTC, datetime
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ..failure import Failure
from .store import Conflict, Store

NAME = "LEASE"
_TRIES = 8


class SavedCheckpoint(BaseModel):
    """One checkpoint: after which step, and what its bytes must be."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    step: int
    attempt: int
    sha256: str
    size_bytes: int
    data_digest: str = ""
    """Of the data that it learned from."""

    @property
    def file(self) -> str:
        """Its name in the store; the digest in it keeps two attempts from writing the same file."""
        return f"checkpoints/{self.step:08d}-{self.sha256}.pt"


class LeaseRecord(BaseModel):
    """What the file holds; `checkpoints` has the newest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    attempt: int
    holder: str
    config_digest: str
    started_at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    """When the first attempt began: the time that a chat template writes, in all attempts."""
    checkpoints: tuple[SavedCheckpoint, ...] = ()
    earlier: dict[str, tuple[SavedCheckpoint, ...]] = {}
    """What attempts with other settings saved, by their digest: settings that come back find it again."""

    @property
    def kept(self) -> tuple[SavedCheckpoint, ...]:
        """Every checkpoint that is not to be removed."""
        return (*self.checkpoints, *(saved for others in self.earlier.values() for saved in others))

    def under(self, config_digest: str) -> Self:
        """The record for other settings, which go on from what they saved themselves."""
        earlier = {**self.earlier, self.config_digest: self.checkpoints}
        own = earlier.pop(config_digest, ())
        kept = {digest: saved for digest, saved in earlier.items() if saved}
        return self.model_copy(update={"config_digest": config_digest, "checkpoints": own, "earlier": kept})


class Lease:
    """The right to write, until a higher attempt (or a restart of this one) takes it."""

    def __init__(self, store: Store, record: LeaseRecord, version: str) -> None:
        self._store = store
        self.record = record
        self._version = version

    @classmethod
    def take(cls, store: Store, attempt: int, config_digest: str) -> Self:
        """Take the lease for `attempt`; raise `Fenced` if another is ahead, `BadConfig` if it has other settings.

        A process started again with the same number takes over from the one before it. Of two that start
        at once with the same number the one whose write loses is fenced. A higher attempt may have other
        settings: somebody mended them. It begins anew, and what was saved before stays.
        """
        holder = f"{socket.gethostname()[:64]}-{os.getpid()}-{secrets.token_hex(4)}"
        lost = False
        for pause in _pauses():
            found = store.load(NAME)
            current = _parse(found[0]) if found else LeaseRecord(attempt=0, holder="", config_digest=config_digest)
            if current.attempt > attempt or (lost and current.attempt == attempt):
                raise _fenced(attempt, current)
            if current.config_digest != config_digest:
                if current.attempt == attempt:
                    raise Failure("BadConfig", "this output holds another configuration's run; give each its own")
                current = current.under(config_digest)
            record = current.model_copy(update={"attempt": attempt, "holder": holder})
            try:
                return cls(store, record, store.compare_and_swap(NAME, _encode(record), found[1] if found else None))
            except Conflict:
                lost = True
                time.sleep(pause)
        raise Failure("Unexpected", f"could not take {NAME} in {_TRIES} tries: too many writers")

    def hold(self) -> None:
        """Return if the lease is still ours; raise `Fenced` if not."""
        found = self._store.load(NAME)
        if found is None:
            raise Failure("Fenced", f"{NAME} is gone: somebody cleared the output while this attempt ran")
        current = _parse(found[0])
        if current.holder != self.record.holder:
            raise _fenced(self.record.attempt, current)
        self._version = found[1]

    def commit(self, saved: SavedCheckpoint, keep: int) -> tuple[SavedCheckpoint, ...]:
        """Make `saved` the newest checkpoint; the ones that no longer count are returned."""
        others = tuple(old for old in self.record.checkpoints if old.step != saved.step)
        kept = (saved, *others)[:keep]
        record = self.record.model_copy(update={"checkpoints": kept})
        self._replace(record)
        dropped = tuple(old for old in self.record.checkpoints if old.file not in {k.file for k in kept})
        self.record = record
        return dropped

    def _replace(self, record: LeaseRecord) -> None:
        """Swap the record in; a conflict is either our own write, heard of twice, or another holder."""
        data = _encode(record)
        for pause in _pauses():
            try:
                self._version = self._store.compare_and_swap(NAME, data, self._version)
                return
            except Conflict:
                self.hold()
                found = self._store.load(NAME)
                if found and found[0] == data:
                    return
                time.sleep(pause)
        raise Failure("Unexpected", f"could not replace {NAME} in {_TRIES} tries")


def _pauses() -> list[float]:
    return [random.uniform(0.01, 0.1) * 2**n for n in range(_TRIES)]  # noqa: S311  # jitter, not a secret


def _encode(record: LeaseRecord) -> bytes:
    return record.model_dump_json(indent=1).encode() + b"\n"


def _parse(data: bytes) -> LeaseRecord:
    try:
        return LeaseRecord.model_validate_json(data)
    except ValidationError as error:
        raise Failure("CorruptCheckpoint", f"{NAME} cannot be read; restore it or clear the output") from error


def _fenced(attempt: int, current: LeaseRecord) -> Failure:
    return Failure(
        "Fenced", f"attempt {attempt} is overtaken: attempt {current.attempt} ({current.holder}) holds {NAME}"
    )
