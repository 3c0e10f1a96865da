"""A quick look at some lanes for one plain job: its best windows there, with what is free now.

A plain job has a range of starts and nothing that depends on the hour but carbon: no threshold, no
segments, no budget, no hourly price. Its score on a lane is `fixed + slope * carbon total`, so the best
window is the one with the least carbon.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.placement.bounds import bounds_of
from carbonfleet.placement.compact import CLOSED, Compact, Int32Array
from carbonfleet.placement.frontier import Frontier
from carbonfleet.placement.grid import IntArray
from carbonfleet.placement.limits import NEVER
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.room import Room
from carbonfleet.placement.rules import BoolArray
from carbonfleet.placement.snapshot import FloatArray

FIRST_LOOK: Final = 2
"""Lanes that are looked at first."""
STRETCH: Final = 256
"""Jobs whose windows are sought together: more would find more windows taken when their turn comes."""
NOWHERE: Final = float("inf")


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


def plain_jobs(problem: Problem) -> BoolArray:
    """Shape (jobs,): whether a quick look says all that there is to say of a job's windows."""
    plain: BoolArray = ~problem.lost
    if problem.price_total.size:
        plain &= ~(problem.admitted & problem.has_hours).any(axis=1)
    purses = {key for key, rows in problem.purses_of.items() if rows}
    for row, (job, limits) in enumerate(zip(problem.jobs, problem.limits, strict=True)):
        spec = job.spec
        plain[row] &= not (
            limits.is_gated
            or spec.objective.carbon_budget_kg is not None
            or spec.schedule.interruptible is not None
            or (job.incumbent is not None and job.incumbent.is_under_way)
            or (purses and (spec.residency.data_class, job.namespace) in purses)
        )
    return plain


class Looker:
    """Bounds and exact looks for the plain jobs of a problem, with what is free at the moment."""

    def __init__(self, problem: Problem, ranges: Ranges, room: Room) -> None:
        self._problem, self._ranges, self._room, self._line = problem, ranges, room, problem.line
        self._fixed, self._slope = problem.terms.fixed, problem.terms.slope
        self._whole, self._part = np.divmod(problem.terms.minutes, problem.line.slot_minutes)
        self._span = (self._whole + (self._part > 0)).astype(np.int32)
        span_now = -(-(problem.terms.minutes + problem.line.next_minute) // problem.line.slot_minutes)
        self._span_now = span_now.astype(np.int32)
        self._signals = np.array([job.spec.signal for job in problem.jobs])
        self._compact = {kind: Compact.of(grid, problem) for kind, grid in problem.carbon.items()}
        self._rows = np.zeros(self._whole.shape, dtype=np.int64)
        for kind, compact in self._compact.items():
            jobs = np.flatnonzero(self._signals == kind)
            self._rows[jobs] = compact.rows(self._whole[jobs], self._part[jobs])
        self._minutes, self._place = problem.terms.minutes, problem.lanes.place
        self._zone = problem.lanes.zone.tolist()
        self._level, self._heedless = room.levels(problem.terms.gpus), (self._slope == 0).all(axis=1)
        self._lanes = np.arange(len(problem.lanes))
        self._simple = bool((ranges.first == 0).all() and (ranges.last == problem.line.starts - 1).all())
        self._open = self._open_lanes()
        longest = int(problem.terms.minutes[self._open].max(initial=1))
        self._tables = {kind: bounds_of(grid, problem.line, longest) for kind, grid in problem.carbon.items()}
        self._unhindered = self._unhindered_bounds()
        self._frontiers = {kind: Frontier(problem, grid, room) for kind, grid in problem.carbon.items()}

    def _open_lanes(self) -> BoolArray:
        """Admitted, known, not too long, in time, and within the job's cost limit; shape (jobs, lanes)."""
        problem, terms = self._problem, self._problem.terms
        limit = np.array([job.spec.objective.max_cost_usd or NOWHERE for job in problem.jobs]).reshape(-1, 1)
        longest = problem.snapshot.assumptions.longest_run.total_seconds() / 60
        known = np.array([problem.known[signal] for signal in self._signals]).reshape(terms.usd.shape)
        within: BoolArray = (terms.usd <= limit) & (terms.minutes <= longest) & known
        return within & problem.admitted & (self._ranges.last >= 0)

    def bounds(self, jobs: IntArray) -> FloatArray:
        """A lower bound of the scores of some jobs on each lane; shape (jobs, lanes). All weigh one signal."""
        signal = self._signal_of(jobs)
        carbon = self._frontiers[signal].bounds(jobs, self._level[jobs])
        return np.maximum(self._unhindered[jobs], self._bound(carbon, jobs, self._lanes))

    def unhindered(self, jobs: IntArray) -> FloatArray:
        """The same were all lanes empty; infinite where a job can't go."""
        return self._unhindered[jobs]

    def _bound(self, carbon: FloatArray, jobs: IntArray, lanes: IntArray | int) -> FloatArray:
        """Scores from the least carbon of free windows; infinite where there is none."""
        closed = carbon == np.inf
        rows = jobs[:, None] if isinstance(lanes, np.ndarray) else jobs
        score: FloatArray = self._fixed[rows, lanes] + self._slope[rows, lanes] * np.where(closed, 0, carbon)
        score[closed] = NOWHERE
        return score

    def sharpen(self, bounds: FloatArray, jobs: IntArray, lane: int, job: int) -> None:
        """Raise the bounds of some jobs on a lane on which windows were taken since they were found.

        Only of those that take as many GPUs as `job`.
        """
        level = int(self._level[job, lane])
        frontier = self._frontiers[self._signal_of(job)]
        if jobs.size and frontier.is_stale(lane, level):
            frontier.renew(lane, level)
            rows = np.flatnonzero(self._level[jobs, lane] == level)
            carbon = frontier.column(jobs[rows], level, lane)
            bounds[rows, lane] = np.maximum(bounds[rows, lane], self._bound(carbon, jobs[rows], lane))

    def _unhindered_bounds(self) -> FloatArray:
        """A lower bound of every score on empty lanes, shape (jobs, lanes); infinite where a job can't go."""
        bound = np.full(self._fixed.shape, NOWHERE)
        for signal in self._problem.carbon:
            jobs = np.flatnonzero(self._signals == signal)
            last = np.maximum(self._ranges.last[jobs], 0)
            least = self._tables[signal].until(self._problem.lanes.zone, self._whole[jobs], self._part[jobs], last)
            score = self._fixed[jobs] + self._slope[jobs] * least
            bound[jobs] = np.where(self._open[jobs], score, NOWHERE)
        return bound

    def best(self, jobs: IntArray | int, lanes: IntArray) -> tuple[FloatArray, IntArray]:
        """For pairs of job and lane: the least score among the windows that are free, and its start.

        Infinite where there is none. `jobs` is one job or has the shape of `lanes`; all weigh one signal.
        """
        first, last = self._ranges.first[jobs, 0], self._ranges.last[jobs, lanes]
        most = self._line.starts - 1  # a job may have to begin after all that is looked at
        begin = min(int(first.min()), most)
        until = min(max(int(last.max()), int(first.max())), most)
        carbon = self._carbon(jobs, lanes, begin, until)
        carbon |= self._closed(jobs, lanes, begin, until)
        start = carbon.argmin(axis=1)
        found = carbon[np.arange(start.size), start] < CLOSED
        found &= self._open[jobs, lanes]
        start += begin
        return np.where(found, self._score(jobs, lanes, start), NOWHERE), start

    def _closed(self, jobs: IntArray | int, lanes: IntArray, begin: int, until: int) -> Int32Array:
        """CLOSED where too few slots are free or the start is out of range, 0 elsewhere; (pairs, starts)."""
        span = self._span[jobs, lanes]
        spare = self._room.runs(self._level[jobs, lanes], self._place[lanes])[:, begin : until + 1]
        if begin == 0 and self._line.next_minute:
            spare[:, 0] += span - self._span_now[jobs, lanes]
        spare -= span[:, None]
        if not self._simple:
            self._keep_in_range(spare, jobs, lanes, begin, until)
        # The sign bit says closed: it is spread over the whole number.
        spare >>= 31
        spare &= CLOSED
        return spare

    def _keep_in_range(self, spare: Int32Array, jobs: IntArray | int, lanes: IntArray, begin: int, until: int) -> None:
        first, last = np.reshape(self._ranges.first[jobs, 0], (-1, 1)), self._ranges.last[jobs, lanes, None]
        starts = np.arange(begin, until + 1, dtype=np.int32)
        if int(last.min()) < until:
            np.minimum(spare, last - starts, out=spare, casting="same_kind")
        if int(first.max()) > begin:
            np.minimum(spare, starts - first, out=spare, casting="same_kind")

    def _carbon(self, jobs: IntArray | int, lanes: IntArray, begin: int, until: int) -> Int32Array:
        """The compact carbon of the windows from `begin` to `until`; 0 where the job minds no carbon."""
        compact, rows = self._compact[self._signal_of(jobs)], self._rows[jobs, lanes]
        carbon: Int32Array = compact.ends[rows][:, begin : until + 1]
        carbon -= compact.begins[lanes, begin : until + 1]
        heedless = self._heedless[jobs]
        if heedless.any():
            carbon[heedless] = 0
        return carbon

    def _signal_of(self, jobs: IntArray | int) -> SignalKind:
        return self._problem.jobs[jobs if isinstance(jobs, int) else int(jobs[0])].spec.signal

    def _score(self, jobs: IntArray | int, lanes: IntArray, start: IntArray) -> FloatArray:
        """The exact scores of windows."""
        total, zones = self._problem.carbon[self._signal_of(jobs)].weighed, self._problem.lanes.zone[lanes]
        begin = start * self._line.slot_minutes
        end = np.minimum(begin + self._minutes[jobs, lanes], self._line.minutes)
        score = total[zones, end]
        score -= total[zones, begin]
        score *= self._slope[jobs, lanes]
        score += self._fixed[jobs, lanes]
        return score  # type: ignore[no-any-return]

    def best_of(self, job: int) -> tuple[FloatArray, IntArray]:
        """`best` for one job on all lanes."""
        if not self._simple or self._line.next_minute or self._heedless[job]:
            return self.best(job, self._lanes)
        compact = self._compact[self._problem.jobs[job].spec.signal]
        carbon: Int32Array = compact.ends[self._rows[job]]
        carbon -= compact.begins
        spare = self._room.runs(self._level[job], self._place)[:, : self._line.starts]
        spare -= self._span[job][:, None]
        spare >>= 31
        spare &= CLOSED
        carbon |= spare
        start = carbon.argmin(axis=1)
        scores = self._score(job, self._lanes, start)
        scores[(carbon[self._lanes, start] == CLOSED) | ~self._open[job]] = NOWHERE
        return scores, start

    def look(self, job: int, lane: int) -> tuple[float, int]:
        """`best` for one job on one lane."""
        first, last = int(self._ranges.first[job, 0]), int(self._ranges.last[job, lane])
        if last < first or not self._open[job, lane]:
            return NOWHERE, -1
        span, compact = self._span[job, lane], self._compact[self._problem.jobs[job].spec.signal]
        spare = self._room.run(int(self._level[job, lane]), int(self._place[lane]))[first : last + 1] - span
        carbon = compact.ends[self._rows[job, lane], first : last + 1] - compact.begins[lane, first : last + 1]
        if self._heedless[job]:
            carbon[:] = 0
        if first == 0 and self._line.next_minute:
            spare[0] += span - self._span_now[job, lane]
        spare >>= 31
        spare &= CLOSED
        carbon |= spare
        start = int(carbon.argmin())
        return (self.score(job, lane, first + start), first + start) if carbon[start] < CLOSED else (NOWHERE, -1)

    def first_free(self, job: int) -> tuple[int, int]:
        """The first free start after the job's latest that is in time for the deadline, and its lane; -1."""
        lanes = np.flatnonzero(self._open[job])
        if not lanes.size:
            return -1, -1
        line, minutes = self._line, self._problem.terms.minutes[job, lanes]
        due = (self._problem.deadline_minute(job) - minutes) // line.slot_minutes
        due = np.minimum(due, min(self._problem.last_look(job), line.starts - 1))
        runs = self._room.runs(self._level[job, lanes], self._place[lanes])
        starts = np.arange(line.starts)
        free = runs[:, : line.starts] >= self._span[job, lanes, None]
        free = free & (starts > self._ranges.last[job, lanes, None]) & (starts <= due[:, None])
        if not free.any():
            return -1, -1
        start = int(free.any(axis=0).argmax())
        return start, int(lanes[free[:, start].argmax()])

    def is_open(self, job: int, lane: int, start: int) -> bool:
        """Whether a start is open to a job on a lane, were it free."""
        in_range = self._ranges.first[job, 0] <= start <= self._ranges.last[job, lane]
        return bool(in_range and self._open[job, lane])

    def score(self, job: int, lane: int, start: int) -> float:
        """The exact score of one window."""
        total = self._problem.carbon[self._problem.jobs[job].spec.signal].weighed[self._zone[lane]]
        begin = start * self._line.slot_minutes
        end = min(begin + int(self._minutes[job, lane]), self._line.minutes)
        return float(self._fixed[job, lane] + self._slope[job, lane] * (total[end] - total[begin]))
