"""The clone, the server and what is known of the branch: what publishing and review both work on."""

import logging
import os
import re
import shutil
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Final

import pygit2

from carbonfleet.clock import Clock
from carbonfleet.faults import said
from carbonfleet.fleet.errors import (
    AccessDenied,
    Failure,
    FleetError,
    PushContended,
    PushForbidden,
    RepositoryInvalid,
    RepositoryUnreachable,
    StateNotWritable,
)
from carbonfleet.fleet.git import (
    Changes,
    Tip,
    TipReader,
    TransportFailure,
    Trust,
    blob,
    changed_tree,
    commit_at,
    compact,
    is_whole,
    occupy,
    open_clone,
    sign,
    transport_for,
)
from carbonfleet.fleet.manifests import Placement, parse
from carbonfleet.fleet.publish.batch import IntentBatch, World, prepare
from carbonfleet.fleet.publish.history import PlacementHistory, Vanished, arrival, last_removal
from carbonfleet.fleet.publish.intents import Intent
from carbonfleet.fleet.settings import RepositorySettings
from carbonfleet.private_files import why_not_writable

logger = logging.getLogger(__name__)
RENEWAL_REST_SECONDS: Final = 600.0
CLONE_FAULTS: Final = (pygit2.GitError, OSError, KeyError)
"""What libgit2 raises over its own files."""
_CLASH = re.compile(r"directory|cannot lock ref", re.IGNORECASE)
"""In what libgit2 or git say of a ref whose name is a folder of another's."""


class CloneSession:
    """One clone and its server. Whoever works on it holds `lock`; failures are TransportFailure."""

    def __init__(self, settings: RepositorySettings, clock: Clock) -> None:
        """`clock` dates the commits."""
        self.settings, self.lock = settings, threading.RLock()
        weakref.finalize(self, os.close, occupy(settings.directory))
        self.history = PlacementHistory(settings.author_email)
        self._clock = clock
        self._ref = f"refs/remotes/origin/{settings.branch}"
        self._renewable_at = 0.0
        self._open()

    def _open(self) -> None:
        self.git = open_clone(self.settings.directory)
        self._transport = transport_for(self.git, self.settings)
        self._reader = TipReader(self.git)
        self._head: pygit2.Commit | None = None
        signers, hub = self.settings.allowed_signers, self.settings.author_email
        begins_anywhere = signers == self.settings.signing_key
        self._trust = Trust(self.git, signers, hub, begins_anywhere) if signers is not None else None

    @property
    def clone_faults(self) -> tuple[type[Exception], ...]:
        """Errors that say that the clone can't be read, and are no item's; none where it was made anew just now."""
        return () if time.monotonic() < self._renewable_at else CLONE_FAULTS

    def renew(self, error: Exception) -> bool:
        """Make the clone anew where it can't be read: an object that a crash lost shows only where it is needed.

        Whether that was done: not for want of room or rights, and once in a while only, since it may be the server's.
        """
        if time.monotonic() < self._renewable_at or why_not_writable(self.settings.directory):
            return False
        self._renewable_at = time.monotonic() + RENEWAL_REST_SECONDS
        logger.warning("%s can't be read (%s); it is made anew", self.settings.directory, said(error))
        shutil.rmtree(self.settings.directory, ignore_errors=True)
        self.settings.directory.mkdir(exist_ok=True)
        self.history = PlacementHistory(self.settings.author_email)
        self._open()
        return True

    @property
    def head(self) -> pygit2.Commit:
        """The branch's commit as last seen; asks the server only the first time."""
        if self._head is None:
            self.fetch()
        if self._head is None:
            raise RepositoryInvalid(f"{self.settings.url}: nothing was fetched")
        return self._head

    @property
    def tip(self) -> Tip:
        """What the branch says at `head`."""
        return self._reader.read(self.head)

    def fetch(self, prefixes: Sequence[str] = ()) -> None:
        """Bring the branch here, and all branches below each prefix; those that are gone go."""
        refspecs = [f"+refs/heads/{self.settings.branch}:{self._ref}"]
        refspecs += [f"+refs/heads/{prefix}/*:refs/remotes/origin/{prefix}/*" for prefix in prefixes]
        self._fetch(refspecs, prefixes)
        found = commit_at(self.git, self._ref)
        if found is None:
            raise RepositoryInvalid(
                f"{self.settings.url} has no branch {self.settings.branch}: push the seed of the fleet "
                "repository to it, or set another branch"
            )
        if self._trust is not None:
            self._trust.check(found)
        self._moved_to(found)
        compact(self.settings.directory)

    def _fetch(self, refspecs: Sequence[str], prefixes: Sequence[str]) -> None:
        """Fetch; where what the clone has is in the way, forget that and fetch anew.

        That is a branch whose name clashes with one that is gone on the server, or objects that were cut.
        """
        try:
            self._transport.fetch(list(refspecs))
        except TransportFailure as failure:
            if not is_whole(self.settings.directory):
                self._open()
            elif not (_CLASH.search(str(failure)) or (failure.failure is Failure.BROKEN and self.renew(failure))):
                raise
            starts = tuple(f"refs/remotes/origin/{prefix}/" for prefix in prefixes)
            for ref in [ref for ref in self.git.references if ref.startswith(starts)] if starts else []:
                self.git.references.delete(ref)
            self._transport.fetch(list(refspecs))

    def prepare(
        self, intents: Sequence[Intent], *, allow_many_removals: bool = False, planned_on: Tip | None = None
    ) -> IntentBatch:
        """What intents change on the tip, and which are refused or there already."""
        world = World(self.tip, planned_on or self.tip, self.history, self.last_removal)
        return prepare(intents, world, allow_many_removals, self.clone_faults)

    def last_removal(self, path: str) -> Vanished:
        """Who removed a file last."""
        return last_removal(self.git, self.head.id, path)

    def arrival(self, path: str, placement_id: str) -> pygit2.Commit | None:
        """The commit with which the branch got a placement."""
        return arrival(self.git, self.head.id, path, placement_id)

    def placement_in(self, commit: str, path: str) -> Placement | None:
        """The placement that stood at `path` in a commit; None where the clone has no such commit or placement."""
        try:
            return parse(path, self.file_in(commit, path))
        except ValueError:
            return None

    def file_in(self, commit: str, path: str) -> bytes:
        """What stood at `path` in a commit; empty where the clone has no such commit or file."""
        try:
            return blob(self.git.odb, self.git[commit].peel(pygit2.Commit).tree, path) or b""
        except (KeyError, ValueError, pygit2.GitError):
            return b""

    def follows(self, commit: str, ancestor: str) -> bool:
        """Whether `commit` is `ancestor` or comes after it; False for what is no commit of this clone."""
        try:
            return commit == ancestor or self.git.descendant_of(commit, ancestor)
        except (ValueError, pygit2.GitError):
            return False

    def commit(
        self, parents: Sequence[pygit2.Oid], changes: Changes, message: str, author: tuple[str, str] | None = None
    ) -> pygit2.Oid | None:
        """A commit on the first parent with the changes; None where nothing changes and nothing is joined.

        `author` (name, email) is a person in whose name we write.
        """
        base = self.git[parents[0]].peel(pygit2.Commit).tree
        tree = changed_tree(self.git, base, changes) if changes else base.id
        if tree == base.id and len(parents) == 1 and changes is not NO_CHANGES:
            return None
        name, email = author or (self.settings.author_name, self.settings.author_email)
        who = pygit2.Signature(name, email, int(self._clock.now().timestamp()), 0)
        if self.settings.signing_key is None:
            return self.git.create_commit(None, who, who, message, tree, list(parents))
        text = str(self.git.create_commit_string(who, who, message, tree, list(parents)))
        return self.git.create_commit_with_signature(text, sign(text, self.settings.signing_key), "gpgsig")

    def push(self, commit: pygit2.Oid) -> None:
        """Set the branch to `commit`, whose first parent is `head`, if it still is there."""
        self._transport.push(commit, self.settings.branch, self.head.id)
        if self._trust is not None:
            self._trust.follow(commit)
        self._moved_to(commit)

    def push_branch(self, name: str, commit: pygit2.Oid | None, expected: pygit2.Oid | None) -> None:
        """Create, rewrite or (None) delete another branch, if it is where it is expected (None: nowhere)."""
        self._transport.push(commit, name, expected, rewrite=True)
        ref = f"refs/remotes/origin/{name}"
        if commit is not None:
            self.git.references.create(ref, commit, force=True)
        elif self.git.references.get(ref) is not None:
            self.git.references.delete(ref)

    def _moved_to(self, commit: pygit2.Oid) -> None:
        self.git.references.create(self._ref, commit, force=True)
        self.history.advance(self.git, commit, self.clone_faults)
        self._head = self.git[commit].peel(pygit2.Commit)


NO_CHANGES: Changes = {}
"""For a commit that records something in its message alone."""


def not_writable(settings: RepositorySettings, why: object) -> StateNotWritable:
    """The clone's folder takes nothing."""
    return StateNotWritable(
        f"the clone in {settings.directory} can't be read or written: {why}. See that its disk has room and is ours to "
        "write; nothing is placed until then"
    )


def in_our_words(failure: TransportFailure | None, settings: RepositorySettings) -> FleetError:
    """What went wrong, with what a person can do."""
    where = f"{settings.url}, branch {settings.branch}"
    if why := why_not_writable(settings.directory):
        return not_writable(settings, why)
    match failure.failure if failure else None:
        case Failure.INVALID:
            return RepositoryInvalid(
                f"{where} can't be used: only repositories with SHA-1 names can be read: {failure}"
            )
        case Failure.MOVED:
            return PushContended(f"{where}: others kept moving the branch, trying again later: {failure}")
        case Failure.FORBIDDEN:
            return PushForbidden(
                f"{where} takes no direct commits from us: {failure}. Allow it, or set review: required"
            )
        case Failure.DENIED:
            return AccessDenied(f"{where} refused us: {failure}. Check the token or key and its rights")
        case _:
            return RepositoryUnreachable(f"{where} can't be reached, trying again later: {failure}")
