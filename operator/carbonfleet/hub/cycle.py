"""The planning cycle: make due jobs, observe, account, plan, publish, ask, write statuses; the same from any state."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from carbonfleet.faults import only
from carbonfleet.fleet import Committed, Intent, Place, Published, Refused, Remove, Tip
from carbonfleet.hub.accounting import LedgerUpdates
from carbonfleet.hub.connections import Connections
from carbonfleet.hub.job_writes import JobWrites
from carbonfleet.hub.observe import Blocker, JobStage, Observation, Observer
from carbonfleet.hub.planning import CyclePlanner, Planned
from carbonfleet.hub.publish import (
    ProposalReviews,
    claim,
    delete_spent_reports,
    intents_of,
    proposals_of,
    publish,
    release,
)
from carbonfleet.hub.running import Moves, RunningJobs, judge_rungs, lapses
from carbonfleet.hub.schedules import Schedules
from carbonfleet.hub.status import (
    EventRecorder,
    FleetFigures,
    Results,
    SpokeStatuses,
    StatusWriter,
    blockers_of,
    figures_of,
)
from carbonfleet.placement.decision import Outcome


@dataclass(frozen=True, slots=True)
class CycleResult:
    """What a cycle did, for logs and benchmarks."""

    decided: int
    published: int
    written: int
    recheck_at: datetime | None
    """When the next cycle is due though nothing changes."""
    blocker: Blocker | None = None
    figures: FleetFigures = field(default_factory=FleetFigures)
    go_on: bool = False
    """This cycle's own writes call for another at once."""


class Cycle:
    """The steps of a planning cycle. Each owns what it remembers, all of which can be lost at any time."""

    def __init__(self, connections: Connections) -> None:
        kube, mirror, repository = connections.kube, connections.mirror, connections.repository
        signals, ledger, settings = connections.signals, connections.ledger, connections.settings
        speed = connections.clock.speed
        grace = max(settings.heartbeat_grace, settings.heartbeat_grace_real * speed)
        self._connections = connections
        self._events = EventRecorder(kube)
        self._writes = JobWrites(kube, mirror)
        self._schedules = Schedules(self._writes, self._events)
        self._observer = Observer(mirror, repository, connections.clock, grace)
        self._spokes = SpokeStatuses(kube, mirror, self._events)
        self._ledger = LedgerUpdates(
            ledger, signals, settings.baseline_region, repository.attempts, repository.decision_at
        )
        self._proposals = ProposalReviews(repository, connections.reviews, mirror)
        self._moves = Moves(repository)
        self._running = RunningJobs(signals, settings.horizon)
        self._planner = CyclePlanner(signals, connections.market, ledger, settings)
        self._statuses = StatusWriter(self._writes, self._events)

    @property
    def tip(self) -> Tip | None:
        """The fleet repository as the last cycle saw it; None before the first."""
        return self._observer.tip

    @property
    def has_open_proposals(self) -> bool:
        """Whether people are asked about anything."""
        return self._proposals.has_open

    def hint(self) -> None:
        """The forge says that something has happened there: the next cycle asks it. Thread-safe."""
        self._proposals.hinted.set()

    def run(self) -> CycleResult:
        """One cycle. Raises KubeError when the Kubernetes API is gone; all else ends in conditions."""
        mirror, repository = self._connections.mirror, self._connections.repository
        # 0. Make the jobs of schedules that are due.
        next_run = self._schedules.run(self._connections.clock.now())
        # 1. Observe jobs, Git, spokes and their reports at one moment.
        seen = self._observer.observe()
        self._spokes.update(seen)
        # 2. Add what is known of jobs in Git: merges that came late, attempts that ended, answers of people.
        seen = self._proposals.hold_late(seen)
        seen = self._ledger.account(seen)
        seen = self._moves.load_approvals(seen)
        seen = judge_rungs(seen)
        # 3. Decide: queued jobs, and those under way whose check is due.
        seen = self._running.pick(seen)
        seen, planned = self._planner.decide(seen)
        planned, asking = self._moves.hold_for_review(seen, planned, has_open=self._proposals.has_open)
        # 4. Publish, on jobs that the finalizer keeps; meanwhile few new decisions are shown already.
        intents = claim(self._writes, seen, [*intents_of(seen, planned.decisions, planned.records), *lapses(seen)])
        begun = self._statuses.begin(seen, planned.records, intents)
        published, failure = publish(repository, intents, seen.tip)
        failure = failure or seen.blocker
        after = self._observer.after_publishing(self._statuses.finish(seen, begun), intents, published)
        # 5. Ask people, and record their answers.
        wanted = claim(self._writes, after, [*proposals_of(after, planned), *asking.wanted])
        answers = self._moves.record_answers(after, self._proposals.advance(after, wanted, asking))
        # 6. Write statuses, tell spokes what is planned there, then release what is over.
        blockers = blockers_of(after, intents, published, failure)
        written = self._statuses.write(after, Results(planned.records, blockers, answers.proposals, published))
        self._spokes.tell_starts(after, planned.decisions.values())
        release(self._writes, after)
        delete_spent_reports(self._connections.kube, mirror, after)
        # 7. Say when the next cycle is due.
        self._running.remember(seen, planned, asking.held, answers.refused)
        return CycleResult(
            decided=len(planned.decisions),
            published=len(intents),
            written=len(written),
            recheck_at=min(filter(None, (next_run, _recheck_at(seen, planned, intents, published))), default=None),
            blocker=failure,
            figures=self._figures(after, blockers),
            go_on=bool(answers.refused) or _calls_for_more(after, written, planned, intents, published),
        )

    def _figures(self, after: Observation, blockers: Mapping[str, Blocker]) -> FleetFigures:
        with only("the figures that alerts watch can't be told"):
            figures = figures_of(after, blockers, self._planner.planned_on)
            return replace(figures, missed_runs=self._schedules.missed_runs())
        return FleetFigures()

    def close(self) -> None:
        """Begin nothing more; events that wait are dropped."""
        self._events.close()
        self._writes.close()


def _recheck_at(
    seen: Observation, planned: Planned, intents: Iterable[Intent], published: Published | None
) -> datetime | None:
    in_vain = _tried_in_vain(seen, intents, published)
    due = [decision.recheck_at for uid, decision in planned.decisions.items() if uid not in in_vain]
    due += [moment for moment in (seen.next_check, seen.next_silence) if moment]
    return min(due, default=None)


def _tried_in_vain(seen: Observation, intents: Iterable[Intent], published: Published | None) -> set[str]:
    """Jobs that Git took no placement of, on the very tip that they were planned on: it will not until one changes."""
    if published is None or seen.tip is None or published.commit != seen.tip.commit:
        return set()
    places = (intent for intent in intents if isinstance(intent, Place))
    return {place.decision.uid for place in places if isinstance(published.results.get(place.id), Refused)}


def _calls_for_more(
    after: Observation,
    written: Collection[str],
    planned: Planned,
    intents: Iterable[Intent],
    published: Published | None,
) -> bool:
    """Whether a status was written of what Git may now forget, or Git has just forgotten one."""
    results = published.results if published else {}
    removed = any(
        isinstance(i, Remove) and isinstance(results.get(i.placement.placement_id), Committed) for i in intents
    )
    moves = any(planned.decisions[uid].outcome is Outcome.MOVE for uid in planned.decisions.keys() & written)
    leaves = after.which(
        "whether it leaves Git can't be told",
        lambda state: state.stage is JobStage.ENDED or after.is_late(state) or after.stops_early(state),
        [state for state in after.jobs if state.uid in written],
    )
    return removed or moves or bool(leaves)
