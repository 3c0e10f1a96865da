"""The fleet repository as the hub and the spokes use it: read the tip, publish intents."""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence

import pygit2

from carbonfleet.clock import Clock
from carbonfleet.fleet.change import Batch, prepare
from carbonfleet.fleet.clone import commit_at, compact, open_clone
from carbonfleet.fleet.errors import (
    AccessDenied,
    Failure,
    FleetError,
    PushContended,
    PushForbidden,
    RepositoryInvalid,
    RepositoryUnreachable,
)
from carbonfleet.fleet.history import History, Vanished, last_removal
from carbonfleet.fleet.intents import AlreadyThere, Committed, Intent, Place, Published, Result
from carbonfleet.fleet.message import compose
from carbonfleet.fleet.settings import RepositorySettings
from carbonfleet.fleet.signing import sign
from carbonfleet.fleet.tip import Tip, TipReader
from carbonfleet.fleet.transport import TransportFailure, transport_for
from carbonfleet.fleet.trees import changed_tree

logger = logging.getLogger(__name__)


class Repository:
    """A bare clone of the fleet repository and the one way to write to it. Safe to use from threads."""

    def __init__(
        self, settings: RepositorySettings, clock: Clock, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """`clock` dates the commits; `sleep` waits real seconds between tries."""
        self._settings, self._clock, self._sleep = settings, clock, sleep
        self._lock = threading.RLock()
        self._ref = f"refs/remotes/origin/{settings.branch}"
        self._git = open_clone(settings.directory)
        commit_at(self._git, self._ref)
        self._transport = transport_for(self._git, settings)
        self._reader = TipReader()
        self._history = History(settings.author_email)
        self._known: pygit2.Commit | None = None

    def fetch(self) -> Tip:
        """The branch as it is on the server now.

        Raises RepositoryUnreachable, AccessDenied or RepositoryInvalid.
        """
        with self._lock:
            try:
                self._fetch()
            except TransportFailure as failure:
                raise _error(failure, self._settings) from failure
            return self._reader.read(self._tip())

    def known(self) -> Tip:
        """The branch as it was when last fetched or pushed to; asks the server only the first time."""
        with self._lock:
            return self._reader.read(self._known) if self._known is not None else self.fetch()

    def publish(self, intents: Sequence[Intent], *, allow_many_removals: bool = False) -> Published:
        """Bring all intents to the branch in one commit, or as many as the branch's present state allows.

        Nothing is written where nothing changes. Raises PushContended, RepositoryUnreachable,
        PushForbidden, AccessDenied or RepositoryInvalid; then nothing is known to be written, and the same
        intents can be published again: what did arrive is found by its id.
        """
        failure: TransportFailure | None = None
        for attempt in range(1, self._settings.backoff.tries + 1):
            if failure is not None:
                self._wait(attempt - 1, failure)
            try:
                return self._try(intents, allow_many_removals, attempt, fetch_first=failure is not None)
            except TransportFailure as error:
                failure = error
                if error.failure in {Failure.FORBIDDEN, Failure.DENIED}:
                    break
        raise _error(failure, self._settings) from failure

    def vanished(self, placement_id: str, path: str) -> Vanished | None:
        """Why a placement is not on the tip any more; None if history knows nothing of it."""
        with self._lock:
            removed = self._history.removed_in(placement_id)
            if removed is not None:
                return Vanished(by_us=True, commit=removed, author=self._settings.author_name)
            if self._history.placed_in(placement_id) is None:
                return None
            return last_removal(self._git, self._tip().id, path)

    def _try(
        self, intents: Sequence[Intent], allow_many_removals: bool, attempt: int, *, fetch_first: bool
    ) -> Published:
        """One try on the last known tip: the push's lease proves that it still is the tip."""
        with self._lock:
            if fetch_first or self._known is None:
                self._fetch()
            parent = self._tip()
            tip = self._reader.read(parent)
            batch = prepare(intents, tip, self._history, allow_many_removals, self._vanished_path)
            commit = self._commit(parent, batch, tip.policies.digest)
            if commit is None:
                if not fetch_first:
                    # Nothing to write on the tip as we know it: see that it is still the tip.
                    return self._try(intents, allow_many_removals, attempt, fetch_first=True)
                same = {i.id: AlreadyThere(tip.commit, tip.placements.get(_uid(i))) for i in batch.accepted}
                return Published(tip.commit, {**batch.results, **same}, attempt)
            self._transport.push(commit, self._settings.branch, parent.id)
            self._moved_to(commit)
            done: dict[str, Result] = {intent.id: Committed(str(commit)) for intent in batch.accepted}
            return Published(str(commit), {**batch.results, **done}, attempt)

    def _commit(self, parent: pygit2.Commit, batch: Batch, policy_digest: str) -> pygit2.Oid | None:
        tree = changed_tree(self._git, parent.tree, batch.changes) if batch.changes else parent.tree.id
        if tree == parent.tree.id:
            return None
        author = pygit2.Signature(
            self._settings.author_name,
            self._settings.author_email,
            int(self._clock.now().timestamp()),
            0,
        )
        message = compose(batch.accepted, policy_digest)
        if self._settings.signing_key is None:
            return self._git.create_commit(None, author, author, message, tree, [parent.id])
        text = str(self._git.create_commit_string(author, author, message, tree, [parent.id]))
        signature = sign(text, self._settings.signing_key)
        return self._git.create_commit_with_signature(text, signature, "gpgsig")

    def _fetch(self) -> None:
        self._transport.fetch([f"+refs/heads/{self._settings.branch}:{self._ref}"])
        found = commit_at(self._git, self._ref)
        if found is None:
            raise RepositoryInvalid(
                f"{self._settings.url} has no branch {self._settings.branch}: push the seed of the fleet "
                "repository to it, or set another branch"
            )
        self._moved_to(found)
        compact(self._settings.directory)

    def _moved_to(self, commit: pygit2.Oid) -> None:
        self._git.references.create(self._ref, commit, force=True)
        self._history.advance(self._git, commit)
        found = self._git[commit]
        assert isinstance(found, pygit2.Commit), found.type  # noqa: S101  the ref was peeled to one
        self._known = found

    def _tip(self) -> pygit2.Commit:
        if self._known is None:
            self._fetch()
        if self._known is None:
            raise RepositoryInvalid(f"{self._settings.url}: nothing was fetched")
        return self._known

    def _vanished_path(self, path: str) -> Vanished:
        return last_removal(self._git, self._tip().id, path)

    def _wait(self, failures: int, failure: TransportFailure) -> None:
        seconds = self._settings.backoff.seconds(failures, random.random())  # noqa: S311  spreads writers
        logger.info("Push to %s failed (%s); trying again in %.1f s", self._settings.url, failure, seconds)
        self._sleep(seconds)


def _uid(intent: Intent) -> str:
    return intent.decision.uid if isinstance(intent, Place) else intent.placement.uid


def _error(failure: TransportFailure | None, settings: RepositorySettings) -> FleetError:
    where = f"{settings.url}, branch {settings.branch}"
    match failure.failure if failure else None:
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
