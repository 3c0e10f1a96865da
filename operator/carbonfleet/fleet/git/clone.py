"""The bare clone on disk: made, held by one process, healed after a crash, and kept small."""

import fcntl
import hashlib
import logging
import os
import re
import shutil
import subprocess
import time
import zlib
from pathlib import Path
from typing import Final

import pygit2

from carbonfleet.fleet.errors import RepositoryInvalid
from carbonfleet.private_files import keep_private, make_folder

logger = logging.getLogger(__name__)
_CHUNK_BYTES: Final = 1 << 20
MOST_PACKS: Final = 50
"""Every fetch that brings something leaves a pack."""
MOST_LOOSE: Final = 8000
COMPACT_SECONDS: Final = 120
IN_USE_SECONDS: Final = 20.0
"""How long a process that is ending may still hold the clone."""
_HALF_WRITTEN: Final = ("**/*.lock", "objects/**/*_git2_*", "objects/**/tmp_*", "objects/pack/.tmp-*")
"""What libgit2 and git write before they rename it, or hold while they do."""
_PARTS: Final = frozenset({"HEAD", "config", "objects", "refs"})
"""Two of these make a folder a clone, or what is left of one."""
_REF: Final = re.compile(rb"[0-9a-f]{40}\n|ref: .+\n")


def occupy(directory: Path, seconds: float = IN_USE_SECONDS) -> int:
    """Hold the clone for this process alone, by a file beside it; the descriptor that holds it until it is closed.

    However the process ends, the kernel lets go. Raises RepositoryInvalid while another process has it.
    """
    keep_private()  # libgit2 and git heed nothing else in what they write
    make_folder(directory)
    # A file, and open for writing: not every network's file system locks anything else.
    held = os.open(directory.with_name(f"{directory.name}.in-use"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                os.close(held)
                raise RepositoryInvalid(f"another process uses the clone in {directory}; give each its own") from error
            time.sleep(0.05)
        else:
            return held


def open_clone(directory: Path) -> pygit2.Repository:
    """The clone, made anew where there is none or where what a crash left can't be read.

    Only for whoever holds it. All of it is on the server too, so nothing is lost. Raises
    RepositoryInvalid for a directory that holds other things.
    """
    present = {file.name for file in directory.iterdir()}
    if present and len(present & _PARTS) < 2:
        raise RepositoryInvalid(f"{directory} holds other things than a clone; name another")
    if (kept := _opened(directory) if present else None) is not None:
        return kept
    if present:
        logger.warning("%s can't be read any more; it is made anew", directory)
        shutil.rmtree(directory)
    return _set_up(pygit2.init_repository(str(directory), bare=True))


def _set_up(git: pygit2.Repository) -> pygit2.Repository:
    git.config["http.followRedirects"] = False  # libgit2 would take our token along to another host
    return git


def _opened(directory: Path) -> pygit2.Repository | None:
    """The clone, if all of it is there."""
    try:
        _heal(directory)
        if not is_whole(directory):
            return None
        git = pygit2.Repository(str(directory))
        for ref in git.references:
            commit_at(git, ref)
        return _set_up(git)
    except Exception as error:  # noqa: BLE001 - a crash may leave anything in any of its files
        logger.info("%s can't be read: %s", directory, str(error))
        return None


def is_whole(directory: Path) -> bool:
    """Whether every object can be read that a crash, or a full disk, may have cut; libgit2 never ends over some.

    Packs and their indexes end with a digest of all before it; loose objects are zlib streams.
    """
    objects = directory / "objects"
    packs = [file for kind in ("*.pack", "*.idx") for file in (objects / "pack").glob(kind)]
    return all(map(_ends_with_its_digest, packs)) and all(map(_inflates, objects.glob("[0-9a-f][0-9a-f]/*")))


def _ends_with_its_digest(file: Path) -> bool:
    digest, left = hashlib.sha1(usedforsecurity=False), file.stat().st_size - hashlib.sha1().digest_size  # noqa: S324 Git's
    with file.open("rb") as data:
        while left > 0 and (chunk := data.read(min(left, _CHUNK_BYTES))):
            digest.update(chunk)
            left -= len(chunk)
        return left == 0 and data.read() == digest.digest()


def _inflates(file: Path) -> bool:
    stream = zlib.decompressobj()
    try:
        with file.open("rb") as data:
            while chunk := data.read(_CHUNK_BYTES):
                while chunk:
                    stream.decompress(chunk, _CHUNK_BYTES)
                    chunk = stream.unconsumed_tail
    except (OSError, zlib.error):
        return False
    return stream.eof


def _heal(directory: Path) -> None:
    """Take away what a killed process left behind: locks that nobody holds, files and refs half written."""
    for file in [file for pattern in _HALF_WRITTEN for file in directory.glob(pattern)]:
        logger.info("%s was left behind by a process that was killed; it is removed", file)
        file.unlink(missing_ok=True)
    for file in (directory / "refs").rglob("*"):
        if file.is_file() and not _REF.fullmatch(file.read_bytes()):
            logger.warning("%s was written in part only; it is fetched anew", file)
            file.unlink()


def commit_at(git: pygit2.Repository, ref: str) -> pygit2.Oid | None:
    """The commit that a ref names; a ref that a crash left without its commit is removed."""
    found = git.references.get(ref)
    if found is None:
        return None
    target = found.target
    if isinstance(target, pygit2.Oid) and target in git:
        return target
    found.delete()
    return None


def compact(directory: Path) -> None:
    """Join loose objects and small packs once there are many; a matter of speed alone."""
    packs = len(list((directory / "objects" / "pack").glob("*.pack")))
    # Objects spread evenly over 256 folders, so one of them shows how many there are.
    loose = 256 * len(list((directory / "objects" / "17").glob("*")))
    if packs <= MOST_PACKS and loose <= MOST_LOOSE:
        return
    command = ["git", f"--git-dir={directory}", "repack", "--geometric=2", "-d", "-q"]
    try:
        subprocess.run(command, capture_output=True, timeout=COMPACT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("%s holds many objects, and git could not join them: %s", directory, error)
