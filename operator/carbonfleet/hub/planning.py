"""The planner's answer for the whole queue; a job that makes it fail is set aside, and the others go on."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from carbonfleet.api.job_status import DecisionRecord
from carbonfleet.placement import Plan, explain
from carbonfleet.placement.decision import Decision, Outcome
from carbonfleet.placement.record import record_of
from carbonfleet.placement.snapshot import QueuedJob, Snapshot, is_same, without_queue

_log = logging.getLogger(__name__)
MOST_PLANS: Final = 1000
"""Tried in search of culprits."""
FEW: Final = 8
"""When so few jobs are all that there are, and each makes the planner fail, it may still be their own fault."""
POISON_REST: Final = timedelta(minutes=2)
"""So long a job that made the planner fail is left out, unless its spec, a policy or a cluster file changes."""
Planner = Callable[[Snapshot, datetime], Plan]
"""`plan`, or one like it."""
_WAITING: Final = frozenset({Outcome.WAIT, Outcome.BLOCKED})


@dataclass(frozen=True, slots=True)
class Planned:
    """Decisions with the form in which they are kept, and what went wrong, each by job UID."""

    decisions: Mapping[str, Decision] = field(default_factory=dict)
    records: Mapping[str, DecisionRecord] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)


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

    def records(self, plan: Plan, snapshot: Snapshot, now: datetime) -> dict[str, DecisionRecord]:
        """A record of each decision, by job UID."""
        last, kept = self.snapshot, self.planned
        stands = last is not None and is_same(without_queue(last), without_queue(snapshot))
        before = {job.uid: _asked(job) for job in last.jobs} if last is not None and stands else {}
        asked = {job.uid: _asked(job) for job in snapshot.jobs}
        found = {}
        for decision in plan:
            uid = decision.uid
            waits = decision.outcome in _WAITING and before.get(uid) == asked[uid]
            if waits and kept.decisions.get(uid) == decision:
                found[uid] = kept.records[uid]
            else:
                # Explained here, so that a fault in it is found here too.
                found[uid] = record_of(decision, explain(plan, decision), now)
        return found


def _asked(job: QueuedJob) -> object:
    """What of a job, beside its spec, bears on its explanation."""
    under_way = job.incumbent if job.incumbent is not None and job.incumbent.is_under_way else None
    return job.generation, job.attempt, job.remaining_fraction, job.excluded_clusters, job.stays_because, under_way


def plan_around(
    snapshot: Snapshot, now: datetime, quarantine: Quarantine, planner: Planner, last: LastPlan | None = None
) -> Planned:
    """Plan the queue. Raises what the planner raises when no few jobs are to blame for it.

    Decisions that the `last` plan made too keep their records.
    """
    last = last or LastPlan()
    held = quarantine.faults(snapshot, now)
    healthy = _without(snapshot, held)
    try:
        return _planned(healthy, now, planner, held, last)
    except Exception:
        faults = _culprits(healthy, now, planner)
        if not faults or len(faults) == len(healthy.jobs) > FEW:
            raise
        named = "; ".join(f"{uid}: {fault}" for uid, fault in sorted(faults.items()))
        _log.exception("the planner fails on jobs, which are set aside: %s", named)
    quarantine.keep(healthy.jobs, faults, now)
    return _planned(_without(healthy, faults), now, planner, held | faults, last)


def _planned(snapshot: Snapshot, now: datetime, planner: Planner, faults: Mapping[str, str], last: LastPlan) -> Planned:
    plan = planner(snapshot, now) if snapshot.jobs else Plan((), now)
    return Planned({decision.uid: decision for decision in plan}, last.records(plan, snapshot, now), faults)


def _culprits(snapshot: Snapshot, now: datetime, planner: Planner) -> dict[str, str]:
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
                found[jobs[0].uid] = f"{type(error).__name__}: {error}"
            else:
                parts += [jobs[: len(jobs) // 2], jobs[len(jobs) // 2 :]]
    return {}


def _without(snapshot: Snapshot, faults: Mapping[str, str]) -> Snapshot:
    return replace(snapshot, jobs=tuple(job for job in snapshot.jobs if job.uid not in faults)) if faults else snapshot
