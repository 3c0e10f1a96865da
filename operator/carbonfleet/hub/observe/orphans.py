"""What stays behind in Git or on a spoke: attempts that never began, placements and moves without a job."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from carbonfleet.faults import only
from carbonfleet.fleet import FleetError, Placement, Repository, Tip, decision_in
from carbonfleet.hub.observe.job_state import JobState
from carbonfleet.hub.observe.mirror import JOBS, Mirror
from carbonfleet.hub.observe.observation import each_job
from carbonfleet.hub.observe.spokes import synced_commit
from carbonfleet.kube import Object, name_of

_log = logging.getLogger(__name__)


def unseen(
    repository: Repository,
    tip: Tip | None,
    states: Iterable[JobState],
    spokes: Iterable[Object],
    alive: frozenset[str],
    faults: dict[str, str],
) -> frozenset[str]:
    """Jobs whose last placement left Git before its spoke can have seen it: nothing of them will run.

    The spoke has said nothing of the attempt and has read the branch since; or it is declared no more and its agent
    does not beat: one whose folder is gone or renamed lets what runs go on.
    """
    if tip is None:
        return frozenset()
    synced: dict[str, str] = {}
    for body in spokes:
        with only(f"the commit that SpokeCluster {name_of(body)} has synced can't be told"):
            synced[body["metadata"]["name"]] = synced_commit(body)
    found = each_job(
        states,
        "whether its spoke saw its placement can't be told",
        lambda state: _may_run_unheard(state) and _is_past(repository, tip, state, synced, alive),
        faults,
    )
    return frozenset(state.uid for state, is_unseen in found if is_unseen)


def _may_run_unheard(state: JobState) -> bool:
    heard = state.report is not None and state.report.attempt == state.last_attempt
    return state.placement is None and not heard and state.last_attempt > 0


def _is_past(repository: Repository, tip: Tip, state: JobState, synced: dict[str, str], alive: frozenset[str]) -> bool:
    placed = state.status.placement or max(repository.attempts(state.uid), key=attrgetter("attempt"), default=None)
    if placed is None:
        return True  # neither status nor Git have ever had it
    if placed.cluster not in tip.clusters and placed.cluster not in tip.cluster_problems:
        return placed.cluster not in alive
    commit = synced.get(placed.cluster, "")
    try:
        return bool(commit) and repository.saw_removal(placed.placement_id, placed.path, commit)
    except FleetError:
        return False


@dataclass(slots=True)
class Orphans:
    """Finds what this hub wrote to Git for jobs that the API no longer has.

    What another hub's cluster wrote to the same repository, or a person, is left alone.
    """

    mirror: Mirror
    _authors: dict[tuple[str, str], str] = field(default_factory=dict)
    """Of placements without a job, by path and content: the hub cluster that wrote them."""

    def placements(self, tip: Tip | None, states: Sequence[JobState]) -> tuple[Placement, ...]:
        """Placements without a job."""
        return self._without_job(tip, tip.files.values() if tip else (), states)

    def moves(self, tip: Tip | None, states: Sequence[JobState]) -> tuple[Placement, ...]:
        """Moves that people agreed to, without a job."""
        return self._without_job(tip, tip.moves.values() if tip else (), states)

    def _without_job(
        self, tip: Tip | None, placements: Iterable[Placement], states: Sequence[JobState]
    ) -> tuple[Placement, ...]:
        if tip is None or not self.mirror.synced:
            return ()
        known = {state.uid for state in states} | self.mirror.uids(JOBS)
        found = []
        for placed in placements:
            with only(f"{placed.path}: whose it is can't be told"):
                if placed.uid not in known and self._is_ours(tip, placed):
                    found.append(placed)
        return tuple(found)

    def _is_ours(self, tip: Tip, placed: Placement) -> bool:
        key, hub_uid = (placed.path, placed.content_digest), self.mirror.hub_uid
        if key not in self._authors:
            record = decision_in(placed.path, tip.file(placed.path) or b"")
            self._authors[key] = record.hub if record else ""
            if not hub_uid or self._authors[key] != hub_uid:
                _log.log(
                    logging.WARNING if self.mirror.decides_in(placed.namespace) else logging.DEBUG,
                    "%s is for a job that this cluster does not have, and was not written by its hub: left alone",
                    placed.path,
                )
        return bool(hub_uid) and self._authors[key] == hub_uid
