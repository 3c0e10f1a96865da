"""Folders and files that are for their own user alone from the first moment, whatever the umask; and files that are
replaced whole or not at all."""

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

UMASK: Final = 0o077
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_USUAL_MODE: Final = 0o666
"""Of files that are not private, less the umask."""
_STEM: Final = 100
"""Characters of a file's name that the one beside it has, too."""
_PROBE_BYTES: Final = 65_536
IN_USE: Final = "in-use"
"""In a folder that one process at a time may have: a file that names it, and is locked while it runs."""


class FolderInUseError(OSError):
    """Another process has the folder; the message says which, and what to do."""


def keep_private() -> None:
    """Have all that this process and its children write from now on private: for what others' code creates."""
    os.umask(os.umask(UMASK) | UMASK)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing; one that is there keeps its mode. Raises OSError."""
    for each in (*reversed(folder.parents), folder):
        each.mkdir(_FOLDER_MODE, exist_ok=True)


def make_file(file: Path) -> None:
    """Make an empty file where there is none, so that what opens it later widens nothing. Raises OSError."""
    with suppress(FileExistsError):
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE))


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep a folder, which is made if it is missing, to this process. Raises FolderInUseError, OSError."""
    make_folder(folder)
    make_file(folder / IN_USE)
    with (folder / IN_USE).open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = lock.read(20).strip()
            told = f"process {pid}" if pid.isdecimal() else "another process"
            raise FolderInUseError(
                f"it runs already as {told} in {folder}: use that, stop it, or give another folder with --state"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def is_held(folder: Path) -> bool:
    """Whether a process has a folder to itself, by `held`."""
    try:
        with (folder / IN_USE).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def why_not_writable(folder: Path) -> str:
    """Why nothing can be written in a folder, in the system's words; empty where it can be."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:
            probe.write(bytes(_PROBE_BYTES))
    except OSError as error:
        return str(error.strerror or error)
    return ""


def replace_file(file: Path, text: str) -> None:
    """Write a file whole and on the disk, its folder too, or leave the one that is there. Raises OSError."""
    make_folder(file.parent)
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE), "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(file)


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Where to write what a person asked for in `file`: a file beside it that takes its place when the block ends well.

    Whatever goes wrong, the file that was there stays as it was. A new file has the usual mode, another its own; what
    is no file, such as a pipe, is written to as it is. Raises OSError that names `file`.
    """
    target = file.resolve()
    if target.exists() and not target.is_file():
        yield file
        return
    fresh: Path | None = None
    try:
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else _USUAL_MODE & ~_umask()
        target.parent.stat()
        handle, name = tempfile.mkstemp(prefix=f".{target.stem[:_STEM]}.", suffix=target.suffix, dir=target.parent)
        os.close(handle)
        fresh = Path(name)
        yield fresh
        fresh.chmod(mode)
        with fresh.open("rb") as written:
            os.fsync(written.fileno())
        fresh.replace(target)
    except OSError as error:
        ours = error.filename is None or target.parent in (Path(error.filename), Path(error.filename).parent)
        if error.errno is None or not ours:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(file)) from error
    finally:
        if fresh is not None:
            fresh.unlink(missing_ok=True)


def _umask() -> int:
    os.umask(found := os.umask(UMASK))
    return found
