"""A job's files in a folder: renamed into their place, and swapped under a lock."""

import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..failure import MORE_ROOM, Failure, is_full_disk
from .store import Conflict


class LocalStore:
    """A folder: a local disk or a mounted volume."""

    report_seconds = 2.0

    def __init__(self, fs: Any, root: str) -> None:  # noqa: ANN401  # fsspec ships no types
        self._fs = fs
        self._root = Path(root)
        self.place = root
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Failure("BadConfig", f"cannot make the output folder {root}: {error}") from error

    def read(self, name: str) -> bytes:
        """See `Store`."""
        return bytes(self._fs.cat_file(str(self._root / name)))

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """See `Store`: a temporary file beside it, flushed, then renamed over it; `DiskFull` where there is no room."""
        try:
            self._write(self._root / name, data, durable=durable)
        except OSError as error:
            if not is_full_disk(error):
                raise
            free = shutil.disk_usage(self._root).free
            what = f"cannot write {_size(len(data))} to {self.place}, where {_size(free)} are free: {error.strerror}"
            raise Failure("DiskFull", f"{what}. {MORE_ROOM}") from error

    def _write(self, path: Path, data: bytes, *, durable: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                if durable:
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        if durable:
            _flush_folder(path.parent)

    def remove(self, name: str) -> None:
        """See `Store`."""
        (self._root / name).unlink(missing_ok=True)

    def names(self, folder: str) -> list[str]:
        """See `Store`; what a killed process left half-written is listed too, so that it can be removed."""
        path = self._root / folder
        return sorted(p.name for p in path.iterdir() if p.is_file()) if path.is_dir() else []

    def load(self, name: str) -> tuple[bytes, str] | None:
        """See `Store`; the version is the content's digest."""
        try:
            data = self.read(name)
        except FileNotFoundError:
            return None
        return data, _digest(data)

    def compare_and_swap(self, name: str, data: bytes, version: str | None) -> str:
        """See `Store`; a lock on the folder makes compare and replace one act."""
        with self._locked():
            found = self.load(name)
            if (found[1] if found else None) != version:
                raise Conflict(name)
            self.write(name, data)
        return _digest(data)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._root / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count} bytes"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
