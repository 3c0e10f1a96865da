"""Where a job's files live: atomic writes everywhere, and compare-and-set for the one file that needs it."""

import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import fsspec

from .failure import MORE_ROOM, Failure, is_full_disk


class Conflict(Exception):  # noqa: N818  # an answer, not an error
    """A compare-and-set found another version than it expected."""


class Store(Protocol):
    """Files of one job by name (`/` separates folders). A write is there whole or not at all."""

    place: str
    """The path or URL, for people."""
    report_seconds: float
    """How long to wait between two small writes of mere news."""

    def read(self, name: str) -> bytes:
        """The file's bytes; raise `FileNotFoundError`."""

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """Write or replace the file; durable means that it survives a power cut."""

    def remove(self, name: str) -> None:
        """Remove the file if it is there."""

    def names(self, folder: str) -> list[str]:
        """Names of the files directly under `folder`."""

    def load(self, name: str) -> tuple[bytes, str] | None:
        """The file's bytes and version, or None where there is no file."""

    def swap(self, name: str, data: bytes, version: str | None) -> str:
        """Replace the file only if it still has `version` (None: only if absent); return the new version.

        Raises `Conflict`.
        """


def open_store(url: str) -> Store:
    """The store at a path or fsspec URL; one that cannot compare and set is refused."""
    try:
        fs, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise Failure("BadConfig", f"cannot use the output {url[:200]!r}: {error}") from error
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    if protocol == "file":
        return LocalStore(fs, root)
    if protocol == "s3":
        from .s3 import S3Store  # its client is slow to import

        return S3Store(root)
    raise Failure("BadConfig", f"{protocol}:// has no conditional writes that this job knows; use a path or s3://")


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

    def swap(self, name: str, data: bytes, version: str | None) -> str:
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
