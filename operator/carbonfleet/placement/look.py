"""A quick look at some lanes for one plain job: its best windows there, with what is free now.

A plain job has a range of starts and nothing that depends on the hour but carbon: no threshold, no
segments, no budget, no hourly price. Its score on a lane is `fixed + slope * carbon total`, so the best
window is the one with the least carbon.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from carbonfleet.placement.bounds import bounds_of
from carbonfleet.placement.grid import Carbon, IntArray
from carbonfleet.placement.limits import NEVER
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.room import Room
from carbonfleet.placement.rules import BoolArray
from carbonfleet.placement.snapshot import FloatArray
from carbonfleet.placement.weigh import is_signal_lost

NOWHERE: Final = float("inf")
COMPACT_MOST: Final = 2**31 - 2
CLOSED: Final = np.int32(2**31 - 1)
"""Stands above every compact total."""
Lanes = IntArray | slice


@dataclass(frozen=True, slots=True, eq=False)
class Ranges:
    """The starts of their own will of all jobs: from `first` (jobs, 1) to `last` (jobs, lanes); -1 is none."""

    first: IntArray
    last: IntArray


def ranges_of(problem: Problem) -> Ranges:
    """Earliest start, latest start and deadline as starts of the timeline."""
    line, jobs = problem.line, range(len(problem.jobs))
    first = np.array([problem.earliest_start(job) for job in jobs], dtype=np.int64).reshape(-1, 1)
    latest = np.array([problem.latest_start(job) for job in jobs], dtype=np.int64).reshape(-1, 1)
    last = np.minimum(np.maximum(latest, first), line.starts - 1)
    due = np.array([problem.deadline_minute(job) for job in jobs], dtype=np.int64).reshape(-1, 1)
    if (due < NEVER).any():
        ahead = (due - problem.terms.minutes) // line.slot_minutes
        in_time = np.where(ahead >= 1, ahead, np.where(line.next_minute + problem.terms.minutes <= due, 0, -1))
        last = np.minimum(last, in_time)
    last = np.where(first <= last, np.broadcast_to(last, problem.terms.minutes.shape), -1)
    return Ranges(first, last)


def is_plain(problem: Problem, job: int) -> bool:
    """Whether a quick look says all that there is to say of a job's windows."""
    spec = problem.jobs[job].spec
    return not (
        problem.limits[job].is_gated
        or spec.objective.carbon_budget_kg is not None
        or spec.schedule.interruptible is not None
        or problem.purse_rows(job)
        or (problem.price_total.size and bool((problem.has_hours & problem.admitted[job]).any()))
        or is_signal_lost(problem, job)
    )


class Looker:
    """Bounds and exact looks for the plain jobs of a problem."""

    def __init__(self, problem: Problem, ranges: Ranges, room: Room) -> None:
        self._problem, self._ranges, self._room, self._line = problem, ranges, room, problem.line
        self._fixed, self._slope = problem.terms.fixed, problem.terms.slope
        self._whole, self._part = np.divmod(problem.terms.minutes, problem.line.slot_minutes)
        self._span = (self._whole + (self._part > 0)).astype(room.dtype)
        span_now = -(-(problem.terms.minutes + problem.line.next_minute) // problem.line.slot_minutes)
        self._span_now = span_now.astype(room.dtype)
        self._compact = {kind: Compact.of(grid, problem) for kind, grid in problem.carbon.items()}

    def bounds(self) -> FloatArray:
        """A lower bound of every job's score on every lane, shape (jobs, lanes); infinite where it can't go."""
        problem = self._problem
        bound = np.full(self._fixed.shape, NOWHERE)
        signals = np.array([job.spec.signal for job in problem.jobs])
        for signal, grid in problem.carbon.items():
            rows = np.flatnonzero(signals == signal)
            usable = self._open(rows) & problem.known[signal]
            longest = int(problem.terms.minutes[rows][usable].max(initial=1))
            table = bounds_of(grid, self._line, longest)
            parts = self._whole[rows], self._part[rows], self._ranges.last[rows]
            least = np.minimum(table.at(problem.lanes.zone, *parts), self._carbon_now(grid, rows))
            bound[rows] = np.where(usable, self._fixed[rows] + self._slope[rows] * least, NOWHERE)
        return bound

    def _carbon_now(self, grid: Carbon, rows: IntArray) -> FloatArray:
        """The carbon total of a start at once, shape (rows, lanes)."""
        zones, line = self._problem.lanes.zone, self._line
        end = np.minimum(line.now_minute + self._problem.terms.minutes[rows], line.minutes)
        now: FloatArray = grid.weighed[zones[None, :], end] - grid.weighed[zones, line.now_minute]
        return now

    def _open(self, rows: IntArray) -> BoolArray:
        """Admitted, not too long, in time, and within the job's cost limit; shape (rows, lanes)."""
        problem, terms = self._problem, self._problem.terms
        limit = np.array([problem.jobs[row].spec.objective.max_cost_usd or NOWHERE for row in rows])
        longest = problem.snapshot.assumptions.longest_run.total_seconds() / 60
        within: BoolArray = (terms.usd[rows] <= limit[:, None]) & (terms.minutes[rows] <= longest)
        return within & problem.admitted[rows] & (self._ranges.last[rows] >= 0)

    def best(self, job: int, lanes: Lanes) -> tuple[FloatArray, IntArray]:
        """The least score on each lane among the windows that are free, and its start; infinite if none.

        `lanes` is a slice for all, or an index array.
        """
        first, last = int(self._ranges.first[job, 0]), self._ranges.last[job][lanes]
        until = max(int(last.max()), first)
        carbon = self._carbon(job, lanes, first, until)
        gpus, places = self._problem.terms.gpus[job][lanes], self._problem.lanes.place[lanes]
        runs = self._room.runs(gpus, places)[:, first : until + 1]
        closed = runs < self._span[job][lanes][:, None]
        if first == 0 and self._line.next_minute:
            closed[:, 0] = runs[:, 0] < self._span_now[job][lanes]
        if int(last.min()) < until:
            closed |= np.arange(first, until + 1) > last[:, None]
        np.copyto(carbon, CLOSED, where=closed)
        start = carbon.argmin(axis=1)
        found = carbon[np.arange(start.size), start] < CLOSED
        return np.where(found, self._score(job, lanes, first + start), NOWHERE), first + start

    def _carbon(self, job: int, lanes: Lanes, first: int, until: int) -> npt.NDArray[np.int32]:
        """The compact carbon of the windows from `first` to `until`; 0 where the job minds no carbon."""
        compact = self._compact[self._problem.jobs[job].spec.signal]
        if not self._slope[job, 0]:
            return np.zeros((self._fixed[job][lanes].size, until - first + 1), dtype=np.int32)
        part, whole = self._part[job][lanes], self._whole[job][lanes]
        carbon: npt.NDArray[np.int32] = compact.ends[self._problem.lanes.zone[lanes], part, whole][:, first : until + 1]
        carbon -= compact.begins[lanes, first : until + 1]
        if first == 0 and self._line.now_minute:
            carbon[:, 0] = compact.between(lanes, self._line.now_minute, self._problem.terms.minutes[job][lanes])
        return carbon

    def _score(self, job: int, lanes: Lanes, start: IntArray) -> FloatArray:
        """The exact score of one window on each lane."""
        grid = self._problem.carbon[self._problem.jobs[job].spec.signal]
        zones = self._problem.lanes.zone[lanes]
        begin = self._line.start_minutes[start]
        end = np.minimum(begin + self._problem.terms.minutes[job][lanes], self._line.minutes)
        carbon = grid.weighed[zones, end] - grid.weighed[zones, begin]
        score: FloatArray = self._fixed[job][lanes] + self._slope[job][lanes] * carbon
        return score

    def first_free(self, job: int, lanes: IntArray, after: int) -> tuple[int, int]:
        """The first free start after a start that is in time for the deadline, and its lane; -1 if none."""
        line, minutes = self._line, self._problem.terms.minutes[job][lanes]
        due = np.minimum((self._problem.deadline_minute(job) - minutes) // line.slot_minutes, line.starts - 1)
        runs = self._room.runs(self._problem.terms.gpus[job][lanes], self._problem.lanes.place[lanes])
        starts = np.arange(line.starts)
        free = runs[:, : line.starts] >= self._span[job][lanes][:, None]
        free = free & (starts > after) & (starts <= due[:, None])
        if not free.any():
            return -1, -1
        start = int(free.any(axis=0).argmax())
        return start, int(lanes[free[:, start].argmax()])


@dataclass(frozen=True, slots=True, eq=False)
class Compact:
    """Carbon totals as 32-bit whole numbers, each zone in a unit of its own, laid out for quick looks.

    Equal windows stay equal; others may be a few millionths off, so that what is found is scored exactly.
    """

    totals: npt.NDArray[np.int32]
    """Shape (zones, minutes + 1)."""
    ends: npt.NDArray[np.int32]
    """[zone, p, m] holds the totals at minute p of the slots m, m + 1, ... for all starts."""
    begins: npt.NDArray[np.int32]
    """The totals at the begin of each start's slot, shape (lanes, starts)."""
    zone: IntArray

    @classmethod
    def of(cls, grid: Carbon, problem: Problem) -> "Compact":
        """The compact form of a problem's carbon."""
        line, zone = problem.line, problem.lanes.zone
        rates = np.diff(grid.weighed, axis=1)
        unit = np.maximum(grid.weighed[:, -1:], 1.0) / (COMPACT_MOST - line.minutes)
        totals = np.zeros(grid.weighed.shape, dtype=np.int32)
        totals[:, 1:] = np.cumsum(np.rint(rates / unit), axis=1)
        padding = np.repeat(totals[:, -1:], line.slot_minutes - 1, axis=1)
        phased = np.concatenate([totals, padding], axis=1).reshape(len(totals), -1, line.slot_minutes)
        ends = sliding_window_view(np.ascontiguousarray(phased.transpose(0, 2, 1)), line.starts, axis=2)
        return cls(totals, ends, np.ascontiguousarray(ends[zone, 0, 0]), zone)

    def between(self, lanes: Lanes, begin: int, minutes: IntArray) -> npt.NDArray[np.int32]:
        """The carbon from a minute on, shape (lanes,)."""
        zones = self.zone[lanes]
        end = np.minimum(begin + minutes, self.totals.shape[1] - 1)
        difference: npt.NDArray[np.int32] = self.totals[zones, end] - self.totals[zones, begin]
        return difference
