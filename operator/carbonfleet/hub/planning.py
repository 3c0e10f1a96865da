"""The planner's answer for the whole queue; a job that makes it fail is set aside, and the others go on."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Self

from carbonfleet.api.job_status import MOST_HOURS, DecisionRecord
from carbonfleet.api.signal import SignalKind
from carbonfleet.faults import only, said
from carbonfleet.forecast import Forecast
from carbonfleet.hub.accounting import measured_ingress, run_lengths, usage
from carbonfleet.hub.observe import Blocker, Observation, snapshot_of
from carbonfleet.hub.settings import HubSettings
from carbonfleet.ledger.store import Ledger
from carbonfleet.placement import Plan, explain, plan
from carbonfleet.placement.amend import amended
from carbonfleet.placement.decision import Decision, Outcome
from carbonfleet.placement.record import record_of
from carbonfleet.placement.snapshot import QueuedJob, RunProfile, Snapshot, Spoke, is_same, without_queue
from carbonfleet.signals import Market, Signals, floor_hour, price_sources, repriced

_log = logging.getLogger(__name__)
MOST_PLANS: Final = 1000
"""Tried in search of culprits."""
FEW: Final = 8
"""When so few jobs are all that there are, and each makes the planner fail, it may still be their own fault."""
_HOUR: Final = timedelta(hours=1)
POISON_REST: Final = timedelta(minutes=2)
"""So long a job that made the planner fail is left out, unless its spec, a policy or a cluster file changes."""
PlanFunction = Callable[[Snapshot, datetime], Plan]
"""`plan`, or one like it."""
_WAITING: Final = frozenset({Outcome.WAIT, Outcome.BLOCKED})


@dataclass(frozen=True, slots=True)
class Planned:
    """Decisions with the form in which they are kept, and what went wrong, each by job UID."""

    decisions: Mapping[str, Decision] = field(default_factory=dict)
    records: Mapping[str, DecisionRecord] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)

    def without(self, uids: Collection[str]) -> Self:
        """What is left when nothing is decided of these jobs."""
        decisions = {uid: decision for uid, decision in self.decisions.items() if uid not in uids}
        records = {uid: record for uid, record in self.records.items() if uid not in uids}
        return replace(self, decisions=decisions, records=records)


@dataclass(slots=True)
class Quarantine:
    """Jobs that made the planner fail: by UID their generation, the fault, and until when it holds."""

    held: dict[str, tuple[int, str, datetime]] = field(default_factory=dict)
    declared: object = None
    """The policies and clusters that it happened with: with others each job is tried again."""

    def faults(self, snapshot: Snapshot, now: datetime) -> dict[str, str]:
        """What is known of these jobs; what no longer holds is forgotten."""
        declared = snapshot.policies.digest, tuple(spoke.facts for spoke in snapshot.spokes)
        if declared != self.declared:
            self.held, self.declared = {}, declared
        present = {job.uid: job.generation for job in snapshot.jobs}
        self.held = {
            uid: (generation, fault, until)
            for uid, (generation, fault, until) in self.held.items()
            if present.get(uid) == generation and now < until
        }
        return {uid: fault for uid, (_, fault, _) in self.held.items()}

    def keep(self, jobs: tuple[QueuedJob, ...], faults: Mapping[str, str], now: datetime) -> None:
        """Remember culprits."""
        generations = {job.uid: job.generation for job in jobs}
        self.held |= {uid: (generations[uid], fault, now + POISON_REST) for uid, fault in faults.items()}


@dataclass(slots=True)
class LastPlan:
    """The last plan: it stands while nothing that it was made of has changed, and nothing in it is due.

    Starts that lie ahead are on full slots, and each decision is due again at the next of them at the latest,
    so the passing of time alone changes nothing before. Explanations tell of every spoke and take longer than the
    plan, so a decision that is made again keeps its record until the slot ends, as of the time that is in it,
    where only other jobs came, went or moved since.
    """

    snapshot: Snapshot | None = None
    planned: Planned = field(default_factory=Planned)

    def recall(self, snapshot: Snapshot, now: datetime) -> Planned | None:
        """The last plan, if it still stands."""
        due = (decision.recheck_at for decision in self.planned.decisions.values())
        if self.snapshot is None or self.planned.faults or now >= min(due, default=now):
            return None
        return self.planned if is_same(self.snapshot, snapshot) else None

    def keep(self, snapshot: Snapshot, planned: Planned) -> None:
        """Remember a plan."""
        self.snapshot, self.planned = snapshot, planned

    def amend(self, snapshot: Snapshot, now: datetime) -> Planned | None:
        """The last plan with decisions on what came since, where it stands for the others; None where it does not."""
        if self.snapshot is None or self.planned.faults:
            return None
        change = amended(self.snapshot, self.planned.decisions, snapshot, now)
        if change is None:
            return None
        came = self.planned_as(change.plan, snapshot, now)
        records = {uid: self.planned.records[uid] for uid in change.standing}
        return Planned({**change.standing, **came.decisions}, {**records, **came.records}, came.faults)

    def planned_as(self, plan: Plan, snapshot: Snapshot, now: datetime) -> Planned:
        """The plan's decisions with a record of each; one that can't be told is its job's fault."""
        last, kept = self.snapshot, self.planned
        stands = last is not None and is_same(without_queue(last), without_queue(snapshot))
        before = {job.uid: job for job in last.jobs} if last is not None and stands else {}
        jobs = {job.uid: job for job in snapshot.jobs}
        decisions: dict[str, Decision] = {}
        records: dict[str, DecisionRecord] = {}
        faults: dict[str, str] = {}
        for decision in plan:
            uid = decision.uid
            with only(f"{decision.namespace}/{decision.name}: its decision", partial(faults.__setitem__, uid)):
                waits = decision.outcome in _WAITING and uid in before and _asked(before[uid]) == _asked(jobs[uid])
                if waits and kept.decisions.get(uid) == decision:
                    records[uid] = kept.records[uid]
                else:
                    records[uid] = record_of(decision, explain(plan, decision), now)
                decisions[uid] = decision
        return Planned(decisions, records, faults)


def _asked(job: QueuedJob) -> object:
    """What of a job, beside its spec, bears on its explanation."""
    under_way = job.incumbent if job.incumbent is not None and job.incumbent.is_under_way else None
    return job.generation, job.attempt, job.remaining_fraction, job.excluded_clusters, job.stays_because, under_way


def plan_around(
    snapshot: Snapshot, now: datetime, quarantine: Quarantine, planner: PlanFunction, last: LastPlan | None = None
) -> Planned:
    """Plan the queue. Raises what the planner raises when no few jobs are to blame for it.

    Decisions that the `last` plan made too keep their records.
    """
    last = last or LastPlan()
    held = quarantine.faults(snapshot, now)
    healthy = _without(snapshot, held)
    try:
        planned = _planned(healthy, now, planner, held, last)
        quarantine.keep(healthy.jobs, {uid: planned.faults[uid] for uid in planned.faults.keys() - held.keys()}, now)
        return planned
    except Exception:
        faults = _culprits(healthy, now, planner)
        if not faults or len(faults) == len(healthy.jobs) > FEW:
            raise
        named = "; ".join(f"{uid}: {fault}" for uid, fault in sorted(faults.items()))
        _log.exception("the planner fails on jobs, which are set aside: %s", named)
    quarantine.keep(healthy.jobs, faults, now)
    return _planned(_without(healthy, faults), now, planner, held | faults, last)


def _planned(
    snapshot: Snapshot, now: datetime, planner: PlanFunction, faults: Mapping[str, str], last: LastPlan
) -> Planned:
    planned = last.planned_as(planner(snapshot, now) if snapshot.jobs else Plan((), now), snapshot, now)
    return replace(planned, faults={**planned.faults, **faults})


def _culprits(snapshot: Snapshot, now: datetime, planner: PlanFunction) -> dict[str, str]:
    """By halves: the jobs on which the planner fails when it is given nothing else; none when that takes long."""
    found: dict[str, str] = {}
    parts = [snapshot.jobs]
    for _ in range(MOST_PLANS):
        if not parts:
            return found
        jobs = parts.pop()
        try:
            _planned(replace(snapshot, jobs=jobs), now, planner, {}, LastPlan())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this part's
            if len(jobs) == 1:
                found[jobs[0].uid] = said(error)
            else:
                parts += [jobs[: len(jobs) // 2], jobs[len(jobs) // 2 :]]
    return {}


def _without(snapshot: Snapshot, faults: Mapping[str, str]) -> Snapshot:
    return replace(snapshot, jobs=tuple(job for job in snapshot.jobs if job.uid not in faults)) if faults else snapshot


_PLANNER_FAILS: Final = Blocker(
    "PlanningFailed",
    "The planner failed and tries again within half a minute; nothing new is placed meanwhile, and what runs goes on. "
    "The hub's log has the fault: if it stays, undo the last change of a policy or cluster file, and report it.",
)
_JOB_FAILS_PLANNER: Final = Blocker(
    "PlanningFailed",
    "The planner fails on this job, which is tried again every two minutes, and at once when its spec, a policy or a "
    "cluster file changes. Other jobs are not held up. The hub's log has the fault: please report it.",
)


@dataclass(slots=True)
class CyclePlanner:
    """Plans each cycle's queue. What it remembers can be lost at any time."""

    signals: Signals
    market: Market | None
    ledger: Ledger
    settings: HubSettings
    _quarantine: Quarantine = field(default_factory=Quarantine)
    _last: LastPlan = field(default_factory=LastPlan)
    _learned: tuple[object, Mapping[RunProfile, tuple[float, ...]], Mapping[str, tuple[float, int]]] | None = None

    @property
    def planned_on(self) -> Snapshot | None:
        """What the last plan was made of; None before the first."""
        return self._last.snapshot

    def decide(self, observation: Observation) -> tuple[Observation, Planned]:
        """A decision for each queued job; none without a fleet repository to plan for. Records are signed by the hub.

        A fault of the planner is told to each job that waits for it, so that nobody waits without knowing why.
        """
        if observation.tip is None or not (observation.queued() or observation.replanned):
            return observation, Planned()
        try:
            planned = self._plan(observation)
        except Exception:  # noqa: BLE001 - whatever it is, it must not stop the cycle
            _log.exception("planning failed")
            return replace(observation, blocker=_PLANNER_FAILS), Planned()
        return observation.holding(dict.fromkeys(planned.faults, _JOB_FAILS_PLANNER)), planned

    def _from_ledger(self, snapshot: Snapshot, now: datetime) -> Snapshot:
        """With how long runs took and how fast data came in, read again for new lines or on another day."""
        state = self.ledger.version, now.date()
        if self._learned is None or self._learned[0] != state:
            self._learned = state, run_lengths(self.ledger, now), measured_ingress(self.ledger, now)
        _, lengths, ingress = self._learned
        return replace(snapshot, spokes=_measured(ingress, snapshot.spokes), run_lengths=lengths)

    def _plan(self, observation: Observation) -> Planned:
        snapshot = self._from_ledger(snapshot_of(observation, self.settings.baseline_region), observation.now)
        kinds = {job.spec.signal for job in snapshot.jobs}
        zones = {spoke.facts.zone for spoke in snapshot.spokes} | set(snapshot.region_zones.values())
        wanted = {(zone, kind) for zone in zones for kind in kinds}
        reading = self.signals.forecasts(wanted, observation.now, observation.now + self.settings.horizon)
        complete = replace(
            snapshot,
            spokes=_priced(self.market, snapshot.spokes),
            forecasts=reading.forecasts,
            histories=reading.histories,
            assumptions=replace(snapshot.assumptions, surprise_share=self.settings.surprise_share),
            signal_problems=reading.problems,
            signals_awaited=reading.awaited,
            usage=usage(self.ledger, _has_budgets(snapshot), observation.now),
        )
        if (known := self._last.recall(complete, observation.now)) is not None:
            return known
        planned = self._amended(complete, observation.now)
        if planned is None:
            planned = plan_around(complete, observation.now, self._quarantine, plan, self._last)
        records = {**planned.records, **_expecting(planned, observation, reading.forecasts)}
        signed = {uid: _signed(record, observation.hub_uid) for uid, record in records.items()}
        self._last.keep(complete, replace(planned, records=signed))
        return self._last.planned

    def _amended(self, snapshot: Snapshot, now: datetime) -> Planned | None:
        """None, too, where newcomers make the planner fail: the whole queue is planned around them."""
        planned = None
        with only("the last plan can't be amended"):
            planned = self._last.amend(snapshot, now)
        return planned if planned is not None and not planned.faults else None


def _expecting(
    planned: Planned, observation: Observation, forecasts: Mapping[tuple[str, SignalKind], Forecast]
) -> dict[str, DecisionRecord]:
    """By job UID: the records of what is to be committed, with what they expect of the grid hour by hour."""
    jobs = {state.uid: state.job for state in observation.jobs}
    found = {}
    for uid, decision in planned.decisions.items():
        job, window = jobs.get(uid), decision.window
        facts = observation.facts.get(window.cluster) if window else None
        if decision.outcome is not Outcome.START or job is None or window is None or facts is None:
            continue
        with observation.only(uid, "what it expects of the grid can't be told"):
            forecast = forecasts.get((facts.zone, job.spec.signal))
            if forecast is not None and forecast.tells_hours:
                course = _course(forecast, window.start)
                found[uid] = planned.records[uid].model_copy(update={"course": course})
    return found


def _course(forecast: Forecast, start: datetime) -> tuple[float, ...]:
    hours = (floor_hour(start) + count * _HOUR for count in range(MOST_HOURS))
    values = []
    for hour in hours:
        if (value := forecast.at(hour)) is None:
            break
        values.append(round(value, 1))
    return tuple(values)


def _signed(record: DecisionRecord, hub_uid: str) -> DecisionRecord:
    return record if record.hub == hub_uid else record.model_copy(update={"hub": hub_uid})


def _measured(ingress: Mapping[str, tuple[float, int]], spokes: tuple[Spoke, ...]) -> tuple[Spoke, ...]:
    """The spokes with the speed at which datasets came in, where it was measured."""

    known = list(spokes)
    for row, spoke in enumerate(spokes):
        with only(f"{spoke.facts.name} keeps its declared speed of datasets"):
            if spoke.name in ingress:
                gib_per_hour, runs = ingress[spoke.name]
                facts = spoke.facts.model_copy(update={"ingress_gib_per_hour": gib_per_hour})
                known[row] = replace(spoke, facts=facts, ingress_runs=runs)
    return tuple(known)


def _priced(market: Market | None, spokes: tuple[Spoke, ...]) -> tuple[Spoke, ...]:
    """The spokes at the market's present prices, where it names any."""
    if market is None:
        return spokes
    quotes = market.latest([spoke.facts for spoke in spokes])

    known = list(spokes)
    for row, spoke in enumerate(spokes):
        with only(f"{spoke.facts.name} keeps its declared prices"):
            facts, sources = repriced(spoke.facts, quotes), price_sources(spoke.facts, quotes)
            known[row] = replace(spoke, facts=facts, price_sources=sources)
    return tuple(known)


def _has_budgets(snapshot: Snapshot) -> bool:
    """Whether any policy has a budget, so that usage must be counted."""
    return any(policy.spec.budget is not None for policy in snapshot.policies.policies)
