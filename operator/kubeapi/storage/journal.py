"""Durable storage of objects: SQLite in WAL mode, many writes to one commit."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kubeapi.objects import Obj, decode

Kind = tuple[str, str]
"""Group and plural: what objects are stored under, whatever version they are written in."""

Key = tuple[str, str]
"""Namespace (empty for cluster-scoped kinds) and name."""

RESTART_GAP: Final = 100_000
"""How far resource versions jump at a start: further than any write that was seen but never committed."""


ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"


@dataclass(frozen=True, slots=True)
class Event:
    """One write: the object as it is now (or was last, where it is deleted), and as it was before."""

    type: str
    kind: Kind
    key: Key
    version: int
    obj: Obj
    before: Obj | None

    @property
    def after(self) -> Obj | None:
        """The object as it is now; None where it is deleted."""
        return None if self.type == DELETED else self.obj


class Journal:
    """Keeps the newest body of every object; a write is acknowledged once it is committed.

    Committed means written to the operating system: it survives the death of this process, SIGKILL included.
    A power cut may take the last moments (never the database's integrity); waiting for the disk on each commit
    would make a single client's writes several times slower.

    Writes that arrive while a commit is under way share the next one, so the cost of a commit is
    divided among them (group commit). `on_commit` is called with each batch, in order, on the loop.
    """

    def __init__(self, path: Path, on_commit: Callable[[list[Event]], None]) -> None:
        self._on_commit = on_commit
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS objects (grp TEXT, plural TEXT, namespace TEXT, name TEXT,"
            " version INTEGER,"
            " body BLOB, PRIMARY KEY (grp, plural, namespace, name)) WITHOUT ROWID"
        )
        self._database.execute("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value)")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kubeapi-journal")
        self._pending: list[tuple[Event, bytes | None]] = []
        self._wake = asyncio.Event()
        self._done: asyncio.Future[None] | None = None
        self.failure: BaseException | None = None

    def load(self) -> Iterator[tuple[Kind, Key, Obj]]:
        """Every stored object."""
        rows = self._database.execute("SELECT grp, plural, namespace, name, body FROM objects")
        return (((group, plural), (namespace, name), decode(body)) for group, plural, namespace, name, body in rows)

    def last_version(self) -> int:
        """The highest resource version that was ever committed; 0 in a new store."""
        row = self._database.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
        return int(row[0]) if row else 0

    def secret(self, key: str, fresh: bytes) -> bytes:
        """The value kept under `key`; `fresh` is stored and returned the first time."""
        self._database.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, fresh))
        row = self._database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return bytes(row[0])

    def append(self, event: Event, body: bytes | None) -> asyncio.Future[None]:
        """Queue a write of an object's JSON (None where it is deleted); the future is done when it is on disk."""
        if self.failure is not None:
            raise RuntimeError("the store cannot write to its disk any more") from self.failure
        if self._done is None:
            self._done = asyncio.get_running_loop().create_future()
            self._wake.set()
        self._pending.append((event, body))
        return self._done

    async def run(self) -> None:
        """Commit batches until cancelled; a commit that fails ends it, and every later write with it."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, done = self._pending, self._done
            self._pending, self._done = [], None
            if done is None:
                continue
            try:
                await loop.run_in_executor(self._thread, self._commit, batch)
            except sqlite3.Error as error:
                self.failure = error
                done.set_exception(RuntimeError(f"the store cannot write to its disk: {error}"))
                raise
            self._on_commit([event for event, _ in batch])
            if not done.cancelled():
                done.set_result(None)

    def _commit(self, batch: list[tuple[Event, bytes | None]]) -> None:
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        try:
            for event, body in batch:
                self._write(event, body)
            database.execute("INSERT OR REPLACE INTO meta VALUES ('version', ?)", (batch[-1][0].version,))
            database.execute("COMMIT")
        except BaseException:
            database.execute("ROLLBACK")
            raise

    def _write(self, event: Event, body: bytes | None) -> None:
        place = event.kind + event.key
        if body is None:
            sql = "DELETE FROM objects WHERE grp=? AND plural=? AND namespace=? AND name=?"
            self._database.execute(sql, place)
        else:
            row = (*place, event.version, body)
            self._database.execute("INSERT OR REPLACE INTO objects VALUES (?,?,?,?,?,?)", row)

    async def drain(self) -> None:
        """Wait until everything queued so far is on disk."""
        if self._done is not None:
            await self._done

    def close(self) -> None:
        """Fold the log into the database and let go of it."""
        self._thread.shutdown()
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._database.close()
