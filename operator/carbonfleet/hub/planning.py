"""The planner's answer for the whole queue; a job that makes it fail is set aside, and the others go on."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Final

from carbonfleet.api.job_status import DecisionRecord
from carbonfleet.placement.decision import Decision, Outcome, Plan
from carbonfleet.placement.record import record_of
from carbonfleet.placement.same import is_same, without_queue
from carbonfleet.placement.snapshot import QueuedJob, Snapshot

_log = logging.getLogger(__name__)
MOST_PLANS: Final = 1000
"""Tried in search of culprits."""
FEW: Final = 8
"""When so few jobs are all that there are, and each makes the planner fail, it may still be their own fault."""
POISON_REST: Final = timedelta(minutes=2)
"""So long a job that made the planner fail is left out, unless its spec, a policy or a cluster file changes."""
Planner = Callable[..., Plan]
"""`plan`, or one like it: of a snapshot, the time, and a last plan if there is one."""
Told = tuple[Decision, DecisionRecord]
_WAITING: Final = frozenset({Outcome.WAIT, Outcome.BLOCKED})
NOTHING_TOLD: Final[Mapping[str, Told]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Planned:
    """Decisions with the form in which they are kept, and what went wrong, each by job UID."""

    decisions: Mapping[str, Decision] = field(default_factory=dict)
    records: Mapping[str, DecisionRecord] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    plan: Plan | None = None
    """Which the next one may amend."""


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
    """The last answer: it holds while nothing that it was made of has changed, and nothing in it is due.

    Starts that lie ahead are on full slots, and each decision is due again at the next of them at the latest,
    so the passing of time alone changes nothing before.
    """

    snapshot: Snapshot | None = None
    planned: Planned = field(default_factory=Planned)

    def recall(self, snapshot: Snapshot, now: datetime) -> Planned | None:
        """The answer to the same question; None where it must be asked again."""
        due = [decision.recheck_at for decision in self.planned.decisions.values()]
        if self.snapshot is None or self.planned.faults or now >= min(due, default=now):
            return None
        if len(snapshot.jobs) != len(self.snapshot.jobs):
            return None
        if not is_same(self.snapshot, snapshot):
            if not is_same(self.snapshot, self._before_it_was_told(self.snapshot, snapshot)):
                return None
            self.snapshot = snapshot
        return self.planned

    def _before_it_was_told(self, old: Snapshot, new: Snapshot) -> Snapshot:
        """The new question without what is new in it only because statuses now say what was planned."""
        before = {job.uid: job.incumbent for job in old.jobs}
        jobs = (replace(job, incumbent=before.get(job.uid)) if self._is_as_planned(job) else job for job in new.jobs)
        return replace(new, jobs=tuple(jobs))

    def _is_as_planned(self, job: QueuedJob) -> bool:
        """The place and time that a waiting job was told are those of this very plan."""
        decision, told = self.planned.decisions.get(job.uid), job.incumbent
        if told is None or told.is_under_way or decision is None or decision.window is None:
            return False
        window = decision.window
        return (told.cluster, told.pool, told.start) == (window.cluster, window.pool, window.start)

    def keep(self, snapshot: Snapshot, planned: Planned) -> None:
        """Remember an answer."""
        self.snapshot, self.planned = snapshot, planned

    def told(self, snapshot: Snapshot) -> Mapping[str, Told]:
        """By UID, decisions on waiting jobs and their records, whose words hold if they are decided again.

        Words tell of every spoke, and take far longer than the plan. Where only other jobs came, went or moved
        since, those of the last plan stand for the rest of the slot, as of the time that is in them.
        """
        old, planned = self.snapshot, self.planned
        if old is None or not is_same(without_queue(old), without_queue(snapshot)):
            return {}
        before = {job.uid: _asked(job) for job in old.jobs}
        return {
            job.uid: (planned.decisions[job.uid], planned.records[job.uid])
            for job in snapshot.jobs
            if job.uid in planned.decisions and before.get(job.uid) == _asked(job)
        }


def _asked(job: QueuedJob) -> object:
    """What of a job, beside its spec, bears on its words."""
    under_way = job.incumbent if job.incumbent is not None and job.incumbent.is_under_way else None
    return job.generation, job.attempt, job.remaining_fraction, job.excluded_clusters, job.stays_because, under_way


def plan_around(
    snapshot: Snapshot,
    now: datetime,
    quarantine: Quarantine,
    planner: Planner,
    told: Mapping[str, Told] = NOTHING_TOLD,
    last: Plan | None = None,
) -> Planned:
    """Plan the queue. Raises what the planner raises when no few jobs are to blame for it.

    A decision that is `told` already and is made again keeps its words. The `last` plan may be amended; where that
    fails, the whole one is made.
    """
    held = quarantine.faults(snapshot, now)
    healthy = _without(snapshot, held)
    if last is not None:
        try:
            return _planned(healthy, now, partial(planner, last=last), held, told)
        except Exception:  # noqa: BLE001 - whatever it is, a whole plan does without the last one
            _log.exception("the last plan can't be amended, so the whole plan is made anew")
    try:
        return _planned(healthy, now, planner, held, told)
    except Exception:
        faults = _culprits(healthy, now, planner)
        if not faults or len(faults) == len(healthy.jobs) > FEW:
            raise
        named = "; ".join(f"{uid}: {fault}" for uid, fault in sorted(faults.items()))
        _log.exception("the planner fails on jobs, which are set aside: %s", named)
    quarantine.keep(healthy.jobs, faults, now)
    return _planned(_without(healthy, faults), now, planner, held | faults, told)


def _planned(
    snapshot: Snapshot,
    now: datetime,
    planner: Planner,
    faults: Mapping[str, str],
    told: Mapping[str, Told] = NOTHING_TOLD,
) -> Planned:
    plan = planner(snapshot, now) if snapshot.jobs else Plan((), now)
    decisions: dict[str, Decision] = {}
    records: dict[str, DecisionRecord] = {}
    for decision in plan:
        uid, kept = decision.uid, told.get(decision.uid)
        if kept is None or decision.outcome not in _WAITING or not decision.decides_as(kept[0]):
            # Words and digests are worked out here, so that a fault in them is found here too. Those that tell of
            # every spoke are a hundred times what is kept of them in the record, and not held.
            said = decision.told_apart() if decision.outcome in _WAITING else decision
            records[uid] = record_of(said, now)
        else:
            records[uid] = kept[1]
        decisions[uid] = decision
    return Planned(decisions, records, faults, plan)


def _culprits(snapshot: Snapshot, now: datetime, planner: Planner) -> dict[str, str]:
    """By halves: the jobs on which the planner fails when it is given nothing else; none when that takes long."""
    found: dict[str, str] = {}
    parts = [snapshot.jobs]
    for _ in range(MOST_PLANS):
        if not parts:
            return found
        jobs = parts.pop()
        try:
            _planned(replace(snapshot, jobs=jobs), now, planner, {})
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this part's
            if len(jobs) == 1:
                found[jobs[0].uid] = f"{type(error).__name__}: {error}"
            else:
                parts += [jobs[: len(jobs) // 2], jobs[len(jobs) // 2 :]]
    return {}


def _without(snapshot: Snapshot, faults: Mapping[str, str]) -> Snapshot:
    return replace(snapshot, jobs=tuple(job for job in snapshot.jobs if job.uid not in faults)) if faults else snapshot
