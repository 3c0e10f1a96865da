"""The first step of a cycle: freezes what the API, Git and spokes say into one observation."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.job_status import DecisionRecord
from carbonfleet.clock import Clock
from carbonfleet.faults import only, said
from carbonfleet.fleet import (
    Committed,
    FleetError,
    Intent,
    Place,
    Published,
    Repository,
    Tip,
    decision_in,
)
from carbonfleet.hub.observe.heartbeats import Heartbeats, alive_within, next_silence
from carbonfleet.hub.observe.job_state import JobState, JobStates
from carbonfleet.hub.observe.mirror import JOBS, SPOKES, Mirror
from carbonfleet.hub.observe.observation import Blocker, Observation, only_job
from carbonfleet.hub.observe.orphans import Orphans, unseen
from carbonfleet.hub.observe.placed import PlacedInGit
from carbonfleet.hub.observe.reports import Reports, accepted
from carbonfleet.hub.observe.spokes import idle_energy, last_known_facts, placement_forms, spokes_of
from carbonfleet.kube import Object, name_of

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Observer:
    """Observes, and remembers what it has read and parsed; all of that can be lost at any time."""

    mirror: Mirror
    repository: Repository
    clock: Clock
    heartbeat_grace: timedelta
    """How long a spoke may be silent and still be given work."""
    tip: Tip | None = None
    """The last known; None until the repository was read."""
    _reports: Reports = field(init=False)
    _heartbeats: Heartbeats = field(init=False)
    _rivals: Heartbeats = field(init=False)
    """When other agents asked for the names of spokes."""
    _orphans: Orphans = field(init=False)
    _states: JobStates = field(default_factory=JobStates)
    _records: dict[str, DecisionRecord] = field(default_factory=dict)
    """Decisions as they stand in Git, by placement id."""

    def __post_init__(self) -> None:
        self._reports = Reports(self.mirror)
        self._heartbeats, self._rivals = Heartbeats(self.clock), Heartbeats(self.clock, "rivalTime")
        self._orphans = Orphans(self.mirror)

    def observe(self) -> Observation:
        """Freeze what is known; without an answer of the repository, its last known tip."""
        blocker, reports = None, self._reports.read(self.clock.now())
        try:
            self.tip = self.repository.fetch()
        except FleetError as error:
            blocker = Blocker(error.reason, str(error))
        except Exception as error:  # noqa: BLE001 - what runs goes on, whatever somebody pushed
            _log.exception("the fleet repository can't be read")
            blocker = Blocker(
                "RepositoryInvalid", f"the fleet repository can't be read ({said(error)}); see its last commit"
            )
        jobs, spokes, now = self.mirror.all(JOBS), self.mirror.all(SPOKES), self.clock.now()
        faults: dict[str, str] = {}
        tip, is_fresh, heard = self.tip, blocker is None, self._heartbeats.hear(spokes, now)
        counted = accepted(reports, self._placed_in_git(jobs), now, is_fresh=is_fresh)
        states = self._states.of(jobs, tip.placements if tip else {}, counted.reports)
        reporting = frozenset(each.spoke for each in reports if now - each.seen_at <= self.heartbeat_grace)
        alive = alive_within(heard, now, self.heartbeat_grace) | reporting
        return Observation(
            now=now,
            jobs=tuple(states),
            spokes=spokes_of(tip, spokes, heard, now, self.heartbeat_grace),
            tip=tip,
            tip_is_fresh=is_fresh,
            hub_uid=self.mirror.hub_uid,
            blocker=blocker,
            facts=_facts(tip, spokes),
            records=self._records_in(tip, states, faults),
            refusals=counted.refusals,
            report_problems=counted.problems,
            spent_reports=counted.spent,
            heard=heard,
            forms=placement_forms(spokes),
            idle=idle_energy(spokes),
            alive=alive,
            next_silence=next_silence(heard, now, self.heartbeat_grace),
            rivalled=alive_within(self._rivals.hear(spokes, now), now, self.heartbeat_grace),
            unseen=unseen(self.repository, tip, states, spokes, alive, faults),
            orphans=self._orphans.placements(tip, states),
            stray_moves=self._orphans.moves(tip, states),
            faults=faults,
        )

    def after_publishing(
        self, observation: Observation, intents: Iterable[Intent], published: Published | None
    ) -> Observation:
        """The same moment on the new tip; what was just written need not be read back."""
        if published is None or observation.tip is None or published.commit == observation.tip.commit:
            return observation
        for intent in intents:
            if isinstance(intent, Place):
                with observation.only(intent.decision.uid, "its record can't be kept"):
                    if isinstance(published.results.get(intent.id), Committed):
                        self._records[intent.id] = intent.record
        self.tip = tip = self.repository.known()
        states = {state.uid: state for state in observation.jobs}
        states |= {
            state.uid: placed
            for state, placed in observation.each(
                "it can't be seen as placed", lambda state: state.placed_as(tip.placements.get(state.uid))
            )
        }
        records = self._records_in(tip, states.values(), observation.faults)
        return replace(observation, tip=tip, jobs=tuple(states.values()), records=records)

    def _placed_in_git(self, jobs: Iterable[Object]) -> PlacedInGit:
        by_uid: dict[str, Object] = {}
        for body in jobs:
            try:
                by_uid[str(body["metadata"]["uid"])] = body
            except Exception:
                with only(f"job {name_of(body)} can't be read"):
                    raise
        history, file = self.repository.attempts, self.repository.placement_in
        return PlacedInGit(self.tip, by_uid, history, file, self.mirror.decides_in)

    def _records_in(
        self, tip: Tip | None, states: Iterable[JobState], faults: dict[str, str]
    ) -> dict[str, DecisionRecord]:
        """By job UID: the decisions in the placements' files. Of others nothing is remembered."""
        found, kept = {}, {}
        for state in states if tip else ():
            if (placed := state.placement) is None or tip is None:
                continue
            with only_job(state, "its record in Git can't be read", faults):
                known = self._records.get(placed.placement_id)
                record = known or decision_in(placed.path, tip.file(placed.path) or b"")
                if record is not None:
                    found[placed.uid] = kept[placed.placement_id] = record
        self._records = kept
        return found


def _facts(tip: Tip | None, spokes: Iterable[Object]) -> dict[str, ClusterFacts]:
    remembered: dict[str, ClusterFacts] = {}
    for body in spokes:
        with only(f"SpokeCluster {name_of(body)} can't be read"):
            if (facts := last_known_facts(body)) is not None:
                remembered[body["metadata"]["name"]] = facts
    return remembered | dict(tip.clusters if tip else {})
