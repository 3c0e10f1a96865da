"""The fleet repository as the hub and the spokes use it: read the tip, publish intents."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

from carbonfleet.api.job_status import DecisionRecord
from carbonfleet.clock import Clock
from carbonfleet.faults import said
from carbonfleet.fleet.errors import (
    AccessDenied,
    Failure,
    FleetError,
    HistoryUntrusted,
    PushContended,
    RepositoryInvalid,
    RepositoryUnreachable,
    StateNotWritable,
)
from carbonfleet.fleet.git import Tip, TransportFailure, time_of
from carbonfleet.fleet.manifests import Placement, decision_in
from carbonfleet.fleet.publish.batch import IntentBatch
from carbonfleet.fleet.publish.clone_session import CLONE_FAULTS, CloneSession, in_our_words, not_writable
from carbonfleet.fleet.publish.history import Stood, Vanished
from carbonfleet.fleet.publish.intents import AlreadyThere, Committed, Intent, Place, Published, Refused, Result
from carbonfleet.fleet.publish.message import compose
from carbonfleet.fleet.settings import RepositorySettings
from carbonfleet.private_files import why_not_writable

logger = logging.getLogger(__name__)
Value = TypeVar("Value")
Prepare = Callable[..., IntentBatch]
"""What a batch of intents comes to on the tip."""
_OF_ALL: Final = (PushContended, RepositoryUnreachable, AccessDenied, RepositoryInvalid, HistoryUntrusted)
"""What is wrong with the repository, and no intent's fault."""
MOST_PUSHES: Final = 64
"""In the search for what a server refuses; what is left waits for the next time."""


class Repository:
    """A bare clone of the fleet repository and the one way to write to it. Safe to use from threads."""

    def __init__(
        self,
        settings: RepositorySettings,
        clock: Clock,
        *,
        sleep: Callable[[float], None] = time.sleep,
        ledger_head: Callable[[], str] = str,
    ) -> None:
        """`clock` dates the commits; `sleep` waits real seconds between tries; `ledger_head` is for their messages."""
        self._session = CloneSession(settings, clock)
        self._settings, self._sleep, self._ledger_head = settings, sleep, ledger_head

    def fetch(self) -> Tip:
        """The branch as it is on the server now.

        Raises RepositoryUnreachable, AccessDenied or RepositoryInvalid.
        """
        with self._session.lock:
            try:
                return self._on_our_clone(self._fetched)
            except TransportFailure as failure:
                raise in_our_words(failure, self._settings) from failure

    def _fetched(self) -> Tip:
        self._session.fetch()
        return self._session.tip

    def _on_our_clone(self, work: Callable[[], Value]) -> Value:
        """Do `work`; where the clone can't be read, once more on a new one. Raises StateNotWritable.

        What libgit2 raises when it is not about the server is about the clone.
        """
        try:
            return work()
        except CLONE_FAULTS as error:
            if not self._session.renew(error):
                raise self._not_writable(error) from error
        try:
            return work()
        except CLONE_FAULTS as error:
            raise self._not_writable(error) from error

    def _not_writable(self, error: Exception) -> StateNotWritable:
        return not_writable(self._settings, why_not_writable(self._settings.directory) or error)

    def known(self) -> Tip:
        """The branch as it was when last fetched or pushed to; asks the server only the first time."""
        with self._session.lock:
            try:
                return self._session.tip
            except TransportFailure as failure:
                raise in_our_words(failure, self._settings) from failure

    def publish(
        self, intents: Sequence[Intent], *, allow_many_removals: bool = False, planned_on: Tip | None = None
    ) -> Published:
        """Bring all intents to the branch in one commit, or as many as the branch's present state allows.

        Nothing is written where nothing changes. Where the server refuses a commit (a hook looks at what is in it), or
        one can't be made, the intents are halved until those to blame are found: they are Refused, and the others go
        in. Raises PushContended, RepositoryUnreachable, AccessDenied, RepositoryInvalid, or PushForbidden where the
        server takes nothing; then nothing is known to be written, and the same intents can be published again: what
        did arrive is found by its id. Where what bears on a placement is no more what it was in `planned_on`, it waits.
        """
        prepare = partial(self._session.prepare, allow_many_removals=allow_many_removals, planned_on=planned_on)
        try:
            return self._together(intents, prepare)
        except _OF_ALL:
            raise
        except Exception as refusal:  # one intent's fault, whatever it is, must not stop the others
            if len(intents) < 2:
                raise
            logger.warning("%d changes can't be published together: %s", len(intents), said(refusal))
            return self._halved(intents, prepare, refusal)

    def _together(self, intents: Sequence[Intent], prepare: Prepare) -> Published:
        return self.retrying(lambda attempt: self._try(intents, prepare, attempt, fetch_first=attempt > 1))

    def _halved(self, intents: Sequence[Intent], prepare: Prepare, refusal: Exception) -> Published:
        """What comes of intents that were refused together: binary search for those to blame.

        One of n costs 2 log2 n pushes. Where every batch down to a single intent was refused, nothing is taken.
        """
        with self._session.lock:
            prepared = prepare(intents)
        results, todo, commit = dict(prepared.results), _halves(prepared.accepted), ""
        for tries in range(MOST_PUSHES):
            if not todo:
                break
            batch = todo.pop()
            try:
                done = self._together(batch, partial(prepare, allow_many_removals=True))  # the guard has looked at all
            except _OF_ALL:
                raise
            except Exception as error:
                if not commit and tries > len(intents).bit_length():
                    raise
                if len(batch) > 1:
                    todo += _halves(batch)
                else:
                    results[batch[0].id] = _refused(error)
            else:
                commit, results = done.commit, {**results, **done.results}
        if not commit:
            raise refusal
        left = {intent.id for batch in todo for intent in batch}
        return Published(commit, results | dict.fromkeys(left, _refused(refusal)))

    def vanished(self, placement_id: str, path: str) -> Vanished | None:
        """Why a placement is not on the tip any more; None if history knows nothing of it."""
        self.known()
        with self._session.lock:
            removed = self._session.history.removed_in(placement_id)
            if removed is not None:
                return Vanished(by_us=True, commit=removed, author=self._settings.author_name)
            if self._session.history.placed_in(placement_id) is None:
                return None
            return self._session.last_removal(path)

    def arrived_at(self, placement: Placement) -> datetime | None:
        """When the branch got a placement, by the clock of who committed or merged it; None if it can't be told."""
        self.known()
        with self._session.lock:
            commit = self._session.arrival(placement.path, placement.placement_id)
        return time_of(commit) if commit else None

    def agreed_in(self, move: Placement) -> str:
        """The commit with which people agreed to a move that stands on the tip; empty if it can't be told."""
        self.known()
        with self._session.lock:
            commit = self._session.arrival(move.path, move.placement_id)
        return str(commit.id) if commit else ""

    def lapses(self, placement_id: str) -> int:
        """How often people's word on a move to this placement came to nothing."""
        self.known()
        with self._session.lock:
            return self._session.history.lapses(placement_id)

    def attempts(self, uid: str) -> tuple[Stood, ...]:
        """Every attempt of a job that the branch ever placed, as far as it has been read."""
        with self._session.lock:
            return self._session.history.attempts(uid)

    def placement_in(self, commit: str, path: str) -> Placement | None:
        """The placement that stood at `path` in a commit; None where the clone has none."""
        with self._session.lock:
            return self._session.placement_in(commit, path)

    def decision_at(self, commit: str, path: str) -> DecisionRecord | None:
        """The decision in the placement that stood at `path` in a commit; None where the clone has none."""
        with self._session.lock:
            return decision_in(path, self._session.file_in(commit, path))

    def saw_removal(self, placement_id: str, path: str, commit: str) -> bool:
        """Whether who has read the branch at `commit` knows that a placement was taken away. Raises as `known`."""
        if commit == self.known().commit:
            return True
        gone = self.vanished(placement_id, path)
        with self._session.lock:
            return gone is not None and self._session.follows(commit, gone.commit)

    @property
    def session(self) -> CloneSession:
        """What review works on as well."""
        return self._session

    def retrying(self, work: Callable[[int], Value]) -> Value:
        """Do `work(attempt)` again while the branch moves or the server is away, as often as is set."""
        failure: TransportFailure | None = None
        for attempt in range(1, self._settings.backoff.tries + 1):
            if failure is not None:
                self._wait(attempt - 1, failure)
            try:
                with self._session.lock:
                    return self._on_our_clone(partial(work, attempt))
            except TransportFailure as error:
                failure = error
                if error.failure in {Failure.FORBIDDEN, Failure.DENIED}:
                    break
                if error.failure is Failure.BROKEN:
                    with self._session.lock:
                        self._session.renew(error)
        raise in_our_words(failure, self._settings) from failure

    def _try(self, intents: Sequence[Intent], prepare: Prepare, attempt: int, *, fetch_first: bool) -> Published:
        """One try on the last known tip: the push's lease proves that it still is the tip."""
        if fetch_first:
            self._session.fetch()
        tip, head = self._session.tip, self._session.head
        batch = prepare(intents)
        commit = None
        if batch.accepted:
            message = compose(batch.accepted, tip.policies.digest, self._ledger_head())
            commit = self._session.commit([head.id], batch.changes, message)
        if commit is None:
            if not fetch_first:
                # Nothing to write on the tip as we know it: see that it is still the tip.
                return self._try(intents, prepare, attempt, fetch_first=True)
            same = {i.id: AlreadyThere(tip.commit, tip.placements.get(_uid(i))) for i in batch.accepted}
            return Published(tip.commit, {**batch.results, **same}, attempt)
        self._session.push(commit)
        done: dict[str, Result] = {intent.id: Committed(str(commit)) for intent in batch.accepted}
        return Published(str(commit), {**batch.results, **done}, attempt)

    def _wait(self, failures: int, failure: TransportFailure) -> None:
        seconds = self._settings.backoff.seconds(failures, random.random())  # noqa: S311  spreads writers
        logger.info("Push to %s failed (%s); trying again in %.1f s", self._settings.url, failure, seconds)
        self._sleep(seconds)


def _refused(error: Exception) -> Refused:
    if isinstance(error, FleetError):
        return Refused(error.reason, str(error))
    return Refused("NotRenderable", f"it can't be written ({said(error)}); no other job is held up: please report it")


def _halves(intents: Sequence[Intent]) -> list[list[Intent]]:
    middle = (len(intents) + 1) // 2
    return [half for half in (list(intents[middle:]), list(intents[:middle])) if half]


def _uid(intent: Intent) -> str:
    return intent.decision.uid if isinstance(intent, Place) else intent.placement.uid
