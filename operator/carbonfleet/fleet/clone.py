"""The bare clone on disk: made, healed after a crash, and kept small."""

import logging
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pygit2

from carbonfleet.fleet.errors import RepositoryInvalid

logger = logging.getLogger(__name__)
MOST_PACKS: Final = 50
"""Every fetch that brings something leaves a pack."""
MOST_LOOSE: Final = 8000
COMPACT_SECONDS: Final = 120


def open_clone(directory: Path) -> pygit2.Repository:
    """The clone, made anew where there is none or where what a crash left can't be read.

    All of it is on the server too, so nothing is lost. Raises RepositoryInvalid for a directory that holds
    other things.
    """
    if directory.exists() and any(directory.iterdir()):
        try:
            return pygit2.Repository(str(directory))
        except pygit2.GitError as error:
            if not (directory / "objects").is_dir():
                raise RepositoryInvalid(f"{directory} holds other things than a clone; name another") from error
            shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    return pygit2.init_repository(str(directory), bare=True)


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
