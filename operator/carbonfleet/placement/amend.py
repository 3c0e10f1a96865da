"""Amend the last plan for the few jobs that changed since; within its slot, the others keep what they were told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from itertools import compress, repeat
from operator import attrgetter, is_
from typing import Final

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.placement.assign import in_turn, tiers_of
from carbonfleet.placement.choice import Choice
from carbonfleet.placement.deciding import refusals
from carbonfleet.placement.decision import Decision
from carbonfleet.placement.grid import IntArray
from carbonfleet.placement.held import Held, Shares
from carbonfleet.placement.look import Forms, Looker, plain_jobs
from carbonfleet.placement.policy import tiers
from carbonfleet.placement.problem import Problem, problem_like
from carbonfleet.placement.room import Room
from carbonfleet.placement.rules import BoolArray, Refusal
from carbonfleet.placement.same import is_same, is_same_job, without_queue
from carbonfleet.placement.snapshot import Incumbent, QueuedJob, Snapshot
from carbonfleet.placement.weigh import lanes_left

MOST_TRIES: Final = 8
"""Rounds in which jobs of lower tiers make way for those that changed."""
MOST_TIMES: Final = 100
"""Amendments of one plan: what they found is held until it is made anew, some tenths of a MiB each."""
_uid = attrgetter("uid")


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """What a plan stands on, by which it can be amended. Rows are in the plan's order."""

    snapshot: Snapshot
    now: datetime
    ground: Problem
    """Of the last whole plan: its grid, lanes and timeline."""
    forms: Mapping[SignalKind, Forms]
    jobs: tuple[QueuedJob, ...]
    decisions: tuple[Decision, ...]
    shares: Shares
    whole: Shares
    """Those of the last whole plan, whose rows are others."""
    amended: int = 0
    """Jobs that were decided on again since the last whole plan."""
    times: int = 0
    """Amendments since then."""

    def is_open_to(self, snapshot: Snapshot, now: datetime) -> bool:
        """Whether nothing but the queue changed, and the slot is still the same."""
        same_slot = self.now <= now and self.ground.line.minute(now) < self.ground.line.slot_minutes
        return same_slot and is_same(without_queue(self.snapshot), without_queue(snapshot))

    def good(self, now: datetime) -> list[bool]:
        """By row: whether a decision is not due again, and what it says of the time still holds."""
        if now == self.now:
            return [True] * len(self.decisions)
        return [
            decision.recheck_at > now
            and not (decision.review_required and decision.window is not None and decision.window.start <= now)
            for decision in self.decisions
        ]

    def asks_the_same(self, row: int, job: QueuedJob) -> bool:
        """Whether a job asks the same as before; that it was told its place since then is nothing new."""
        window = self.decisions[row].window
        told = None if window is None else Incumbent(window.cluster, window.pool, window.start)
        return is_same_job(self.jobs[row], job, told)

    def rearranged(self, order: IntArray) -> "Standing":
        """The same with its rows in another order."""
        rows = order.tolist()
        return replace(
            self,
            jobs=tuple(map(self.jobs.__getitem__, rows)),
            decisions=tuple(map(self.decisions.__getitem__, rows)),
            shares=self.shares.reordered(order),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Amendment:
    """The jobs that keep their decisions, and those that are decided on again."""

    rows: IntArray
    """Of the last plan: who keeps the decision."""
    jobs: list[QueuedJob]
    """The same jobs, as they are now."""
    problem: Problem
    """Of the others; its capacity is what all leave."""
    choices: list[Choice | None]
    refused: Mapping[str, Refusal]
    """By UID: jobs that can't be planned for."""
    base: IntArray
    held: Held
    """By those who keep theirs."""


def amend(last: Standing, snapshot: Snapshot, now: datetime) -> Amendment | None:
    """Give windows to the jobs that changed, around the others'. None where the whole queue must be planned anew.

    That is where more than the queue changed, GPUs came free that no job of the queue held, many jobs changed, a
    running one is to be thought over, or a job that changed finds no window in time. Those of a lower tier make way.
    """
    if last.times >= MOST_TIMES or not len(last.ground.lanes) or not last.is_open_to(snapshot, now):
        return None
    if any(job.incumbent is not None and job.incumbent.is_under_way for job in snapshot.jobs):
        return None
    return _Amending(last, snapshot, now).result()


class _Amending:
    """One amendment in the making."""

    def __init__(self, last: Standing, snapshot: Snapshot, now: datetime) -> None:
        self._last, self._snapshot, self._now = last, snapshot, now
        self._most = snapshot.assumptions.amended_share * len(snapshot.jobs) - last.amended
        self._jobs = list(last.jobs)
        """By row of the last plan: each job as it is now."""
        self._kept = np.zeros(len(last.jobs), dtype=np.bool_)
        """Shape (jobs,): who keeps the decision."""
        self._changed = self._sorted_out()
        self._refused = refusals(snapshot, self._changed)
        self._changed = [job for job in self._changed if job.uid not in self._refused]
        self._wanting: set[str] = set()
        """UIDs of jobs that found no room in time before."""
        self._withheld: IntArray
        """What came free above a tier that chooses, shape (places, slots)."""

    def _sorted_out(self) -> list[QueuedJob]:
        """The jobs that are to be decided on again; the others keep their decisions."""
        last, jobs = self._last, self._snapshot.jobs
        row_of = dict(zip(map(_uid, last.jobs), range(len(last.jobs)), strict=True))
        rows = list(map(row_of.get, map(_uid, jobs), repeat(-1)))
        good, before = np.array([*last.good(self._now), False]), [*last.jobs, None]  # row -1 is of jobs that are new
        known = np.fromiter(map(is_, map(before.__getitem__, rows), jobs), np.bool_, len(jobs))
        stays = good[rows] & known
        for index in np.flatnonzero(good[rows] & ~known).tolist():
            stays[index] = last.asks_the_same(rows[index], jobs[index])
            self._jobs[rows[index]] = jobs[index]
        self._kept[np.array(rows, dtype=np.int64)[stays]] = True
        return list(compress(jobs, ~stays))

    def result(self) -> Amendment | None:
        """Try, and let others make way, until all fits."""
        for _ in range(MOST_TRIES):
            if len(self._changed) > self._most:
                return None
            problem = problem_like(
                self._last.ground, self._snapshot, self._changed, tiers(self._snapshot.policies), self._now
            )
            if problem is None or (problem.capacity.free > self._last.shares.base).any():
                return None
            base, held = problem.capacity.free.copy(), self._last.shares.held.of(self._kept)
            free = base - held.taken(base.shape)
            if (free < 0).any():
                return None
            if self._look_again(free):
                continue
            choices, in_the_way = self._choices(problem, free, held)
            if not in_the_way.size:
                if self._are_lost(problem, choices):
                    return None
                jobs = list(compress(self._jobs, self._kept))
                return Amendment(np.flatnonzero(self._kept), jobs, problem, choices, self._refused, base, held)
            self._change(in_the_way)
        return None

    def _change(self, rows: IntArray) -> None:
        self._kept[rows] = False
        self._changed += [self._jobs[row] for row in rows.tolist()]

    @cached_property
    def _left(self) -> IntArray:
        """What the last plan left, shape (places, slots)."""
        return self._last.shares.left

    @cached_property
    def _lacked_room(self) -> BoolArray:
        """Shape (jobs,): who found no GPUs in time before."""
        return np.array([d.reason == "WaitingForCapacity" for d in self._last.decisions], dtype=np.bool_)

    def _look_again(self, free: IntArray) -> bool:
        """Where GPUs came free, jobs that found no room in time look again."""
        if not (free > self._left).any():
            return False
        rows = np.flatnonzero(self._lacked_room & self._kept)
        self._wanting |= {self._jobs[row].uid for row in rows.tolist()}
        self._change(rows)
        return rows.size > 0

    def _choices(self, problem: Problem, free: IntArray, held: Held) -> tuple[list[Choice | None], IntArray]:
        """Choices tier after tier; or the rows of the jobs of lower tiers that are in the way of one."""
        capacity, plain, gpus = problem.capacity, plain_jobs(problem), np.unique(problem.demand.gpus_by_kind).tolist()
        choices: list[Choice | None] = []
        self._withheld = np.zeros_like(free)
        for jobs in tiers_of(problem) if problem.jobs else ():
            priority = problem.limits[int(jobs[0])].priority
            lower, above = held.of(self._last.shares.priority < priority), self._came_free_above(priority, free, held)
            taken = lower.taken(free.shape) - above
            self._withheld = np.maximum(self._withheld, above)
            capacity.free[:] = free + taken
            room = Room(capacity, gpus)
            choices += in_turn(problem, Looker(problem, room, self._last.forms), room, jobs, plain, few=True)
            free = capacity.free - taken
            if (free < 0).any():
                return [], self._in_the_way(free, lower)
        capacity.free[:] = free - self._withheld  # so that words name nothing else as free
        return choices, np.array([], dtype=np.int64)

    def _in_the_way(self, free: IntArray, lower: Held) -> IntArray:
        """Jobs of lower tiers that must make way: first of the lowest tier, then of those that came last."""
        free, rows, pieces = free.copy(), [], lower.pieces_in(free < 0)
        for row in sorted(pieces, key=self._makes_way):
            if any(free[place, first:end].min() < 0 for place, _, first, end in pieces[row]):
                rows.append(row)
                for place, gpus, first, end in pieces[row]:
                    free[place, first:end] += gpus
        return np.array(rows, dtype=np.int64)

    def _makes_way(self, row: int) -> tuple[int, float, int]:
        return int(self._last.shares.priority[row]), -self._jobs[row].submitted_at.timestamp(), row

    def _are_lost(self, problem: Problem, choices: Sequence[Choice | None]) -> bool:
        """Whether a job finds no window in time that did not lack one before: a whole plan may have one."""
        before = set() if self._withheld.any() else self._wanting
        return any(
            (choice is None or choice.is_late) and job.uid not in before and lanes_left(problem, row).any()
            for row, (job, choice) in enumerate(zip(problem.jobs, choices, strict=True))
        )

    def _came_free_above(self, priority: int, free: IntArray, held: Held) -> IntArray:
        """What higher tiers hold no more since the last whole plan: until the next it is theirs, shape as `free`."""
        tier = self._last.shares.priority
        if not ((tier > priority) & self._kept).any():
            return np.zeros_like(free)
        left = free + held.of(tier <= priority).taken(free.shape)
        came_free: IntArray = np.maximum(left - self._last.whole.left_to(priority), 0)
        return came_free
