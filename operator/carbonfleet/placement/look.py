"""A quick look at some lanes for plain jobs: their best windows there, with what is free now.

A plain job has a range of starts and nothing that depends on the hour but carbon: no threshold, no
segments, no budget, no hourly price. Its score on a lane is `fixed + slope * carbon total`, so the best
window is the one with the least carbon.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.placement.bounds import Bounds, bounds_of
from carbonfleet.placement.compact import CLOSED, Compact, Int32Array
from carbonfleet.placement.frontier import Frontier
from carbonfleet.placement.grid import MINUTE, IntArray
from carbonfleet.placement.limits import NEVER
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.room import Room
from carbonfleet.placement.rules import BoolArray
from carbonfleet.placement.snapshot import FloatArray
from carbonfleet.placement.wait import first_usable, least, most_score, worth_waiting

FIRST_LOOK: Final = 2
"""Lanes that are looked at first."""
STRETCH: Final = 256
"""Jobs whose windows are sought together: more would find more windows taken when their turn comes."""
NOWHERE: Final = float("inf")


def plain_jobs(problem: Problem) -> BoolArray:
    """Shape (jobs,): whether a quick look says all that there is to say of a job's windows."""
    plain: BoolArray = ~problem.lost
    if problem.price_total.size:
        plain &= ~(problem.admitted & problem.has_hours).any(axis=1)
    purses = {key for key, rows in problem.purses_of.items() if rows}
    for row, (job, limits) in enumerate(zip(problem.jobs, problem.limits, strict=True)):
        spec = job.spec
        if (
            limits.is_gated
            or spec.objective.carbon_budget_kg is not None
            or spec.schedule.interruptible is not None
            or (job.incumbent is not None and job.incumbent.is_under_way)
            or (purses and (spec.residency.data_class, job.namespace) in purses)
        ):
            plain[row] = False
    return plain


@dataclass(frozen=True, slots=True, eq=False)
class Forms:
    """The grid of one signal in handy forms; what jobs there are does not matter to them."""

    compact: Compact
    bounds: Bounds


def forms_of(problem: Problem) -> dict[SignalKind, Forms]:
    """The forms for each signal of a problem, for runs up to its longest; none without lanes."""
    if not len(problem.lanes):
        return {}
    line = problem.line
    cap = problem.snapshot.assumptions.longest_run // MINUTE
    longest = min(int(problem.demand.minutes_by_kind.max(initial=1)), cap)
    return {
        kind: Forms(Compact.of(grid, problem.lanes.zone, line), bounds_of(grid, line, longest))
        for kind, grid in problem.carbon.items()
    }


class Looker:
    """What quick looks of a problem's plain jobs share: the grid in handy forms, and what is free at the moment."""

    def __init__(self, problem: Problem, room: Room, forms: Mapping[SignalKind, Forms]) -> None:
        self.problem, self.room, self.forms = problem, room, forms
        line = problem.line
        self.longest = problem.snapshot.assumptions.longest_run // MINUTE
        self._frontiers: dict[SignalKind, Frontier] = {}
        self.lanes = np.arange(len(problem.lanes))
        rows = range(len(problem.jobs))
        self.first = np.array([problem.earliest_start(job) for job in rows], dtype=np.int64)
        latest = np.array([problem.latest_start(job) for job in rows], dtype=np.int64)
        self.latest = np.minimum(np.maximum(latest, self.first), line.starts - 1)
        self.due = np.array([problem.deadline_minute(job) for job in rows], dtype=np.int64)
        self.gain = np.array([problem.gain_per_start(job) for job in rows])
        limits = [job.spec.objective.max_cost_usd for job in problem.jobs]
        self.most_usd = np.array([NOWHERE if usd is None else usd for usd in limits])

    def frontier(self, signal: SignalKind) -> Frontier:
        """How clean free windows still are."""
        if signal not in self._frontiers:
            self._frontiers[signal] = Frontier(self.problem, self.problem.carbon[signal], self.room)
        return self._frontiers[signal]

    def at(self, jobs: IntArray) -> "Look":
        """Look with the eyes of some jobs, which all weigh one signal."""
        return Look(self, jobs)

    def unhindered(self, jobs: IntArray) -> FloatArray:
        """Lower bounds of the scores of jobs were all lanes empty, shape (jobs, lanes); infinite where one can't go."""
        bounds = np.empty((jobs.size, len(self.problem.lanes)))
        signals = np.array([self.problem.jobs[job].spec.signal for job in jobs.tolist()])
        for signal in self.problem.carbon:
            rows = np.flatnonzero(signals == signal)
            if rows.size:
                bounds[rows] = self.at(jobs[rows]).unhindered
        return bounds


class Look:
    """What some jobs see: bounds and exact looks. Its arrays have shape (jobs, lanes); a row is one of the jobs."""

    def __init__(self, looker: Looker, jobs: IntArray) -> None:
        problem, self.jobs, self._line = looker.problem, jobs.tolist(), looker.problem.line
        self._looker, self._room, self._lanes = looker, looker.room, looker.lanes
        self.signal = problem.jobs[self.jobs[0]].spec.signal
        grid = problem.carbon[self.signal]
        self._compact, self._weighed = looker.forms[self.signal].compact, grid.weighed
        self._zone, self._place = problem.lanes.zone, problem.lanes.place
        self._places: list[int] = self._place.tolist()
        terms = problem.demand.at(jobs[:, None], self._lanes)
        self._fixed, self._slope, self._minutes = terms.fixed, terms.slope, terms.minutes
        self.gpus = terms.gpus
        slot, kind = self._line.slot_minutes, problem.demand.kind
        minutes = problem.demand.minutes_by_kind[jobs]
        whole, part = np.divmod(minutes, slot)
        self._whole, self._part = whole[:, kind], part[:, kind]
        self._ends = self._compact.rows(self._lanes, self._whole, self._part)
        self._units = grid.unit[self._zone]
        self._unit: list[float] = self._units.tolist()
        self._span = (whole + (part > 0)).astype(np.int32)[:, kind]
        self._span_now = (-(-(minutes + self._line.next_minute) // slot)).astype(np.int32)[:, kind]
        self._level = self._room.levels(problem.demand.gpus_by_kind[jobs])[:, kind]
        self._heedless = (self._slope == 0).all(axis=1)
        self._first, self._last = looker.first[jobs], self._last_starts(looker, jobs)
        self._is_simple = bool((self._first == 0).all() and (self._last == self._line.starts - 1).all())
        within = (terms.usd <= looker.most_usd[jobs, None]) & (terms.minutes <= looker.longest)
        self._gain: list[float] = looker.gain[jobs].tolist()
        self._open: BoolArray = within & problem.known[self.signal] & problem.admitted[jobs] & (self._last >= 0)
        self.unhindered = self._scores(
            looker.forms[self.signal].bounds.until(self._zone, self._whole, self._part, np.maximum(self._last, 0))
        )
        """Lower bounds of the scores were all lanes empty; infinite where a job can't go."""

    def _last_starts(self, looker: Looker, jobs: IntArray) -> IntArray:
        """The last start of a job's own will that is in time for its deadline; -1 is none."""
        last = np.broadcast_to(looker.latest[jobs, None], self._minutes.shape)
        due = looker.due[jobs, None]
        if (due < NEVER).any():
            ahead = (due - self._minutes) // self._line.slot_minutes
            at_once = np.where(self._line.next_minute + self._minutes <= due, 0, -1)
            last = np.minimum(last, np.where(ahead >= 1, ahead, at_once))
        return np.where(looker.first[jobs, None] <= last, last, -1)

    def _scores(self, carbon: FloatArray) -> FloatArray:
        """Scores from the least carbon on each lane; infinite where a job can't go."""
        closed = ~self._open | (carbon == NOWHERE)
        score: FloatArray = self._fixed + self._slope * np.where(closed, 0, carbon)
        score[closed] = NOWHERE
        return score

    def bounds(self) -> FloatArray:
        """Lower bounds of the scores with what is free now."""
        frontier = self._looker.frontier(self.signal)
        carbon = frontier.bounds(self._whole, self._part, self._level, self._lanes)
        return np.maximum(self.unhindered, self._scores(carbon))

    def sharpen(self, bounds: FloatArray, row: int, lane: int) -> None:
        """Raise the bounds of the jobs after a row on a lane on which windows were taken since they were found.

        Only of those that take as many GPUs as the row.
        """
        level = int(self._level[row, lane])
        frontier = self._looker.frontier(self.signal)
        if row + 1 < len(self.jobs) and frontier.is_stale(lane, level):
            frontier.renew(lane, level)
            rows = np.flatnonzero(self._level[row + 1 :, lane] == level) + (row + 1)
            carbon = frontier.bounds(self._whole[rows, lane], self._part[rows, lane], level, lane)
            closed = carbon == NOWHERE
            score = self._fixed[rows, lane] + self._slope[rows, lane] * np.where(closed, 0, carbon)
            score[closed] = NOWHERE
            bounds[rows, lane] = np.maximum(bounds[rows, lane], score)

    def best(self, rows: IntArray | int, lanes: IntArray) -> tuple[FloatArray, IntArray]:
        """For pairs of row and lane: the least score among the windows that are free, and its start.

        Infinite where there is none. `rows` is one row or has the shape of `lanes`.
        """
        first, last = self._first[rows], self._last[rows, lanes]
        most = self._line.starts - 1  # a job may have to begin after all that is looked at
        begin = min(int(first.min()), most)
        until = min(max(int(last.max()), int(first.max())), most)
        carbon = self._carbon(rows, lanes, begin, until)
        carbon |= self._closed(rows, lanes, begin, until)
        start = carbon.argmin(axis=1)
        found = carbon[np.arange(start.size), start] < CLOSED
        found &= self._open[rows, lanes]
        start += begin
        return np.where(found, self._exact(rows, lanes, start), NOWHERE), start

    def _carbon(self, rows: IntArray | int, lanes: IntArray, begin: int, until: int) -> Int32Array:
        """The compact carbon of the windows from `begin` to `until`; 0 where the job minds no carbon."""
        compact = self._compact
        carbon: Int32Array = compact.ends[:, begin : until + 1][self._ends[rows, lanes]]
        carbon -= compact.begins[lanes, begin : until + 1]
        heedless = self._heedless[rows]
        if heedless.any():
            carbon[heedless] = 0
        return carbon

    def _closed(self, rows: IntArray | int, lanes: IntArray, begin: int, until: int) -> Int32Array:
        """CLOSED where too few slots are free or the start is out of range, 0 elsewhere; (pairs, starts)."""
        span = self._span[rows, lanes]
        spare = self._room.runs(self._level[rows, lanes], self._place[lanes], begin, until + 1)
        if begin == 0 and self._line.next_minute:
            spare[:, 0] += span - self._span_now[rows, lanes]
        spare -= span[:, None]
        if not self._is_simple:
            self._keep_in_range(spare, rows, lanes, begin, until)
        # The sign bit says closed: it is spread over the whole number.
        spare >>= 31
        spare &= CLOSED
        return spare

    def _keep_in_range(self, spare: Int32Array, rows: IntArray | int, lanes: IntArray, begin: int, until: int) -> None:
        first, last = np.reshape(self._first[rows], (-1, 1)), self._last[rows, lanes, None]
        starts = np.arange(begin, until + 1, dtype=np.int32)
        if int(last.min()) < until:
            np.minimum(spare, last - starts, out=spare, casting="same_kind")
        if int(first.max()) > begin:
            np.minimum(spare, starts - first, out=spare, casting="same_kind")

    def _exact(self, rows: IntArray | int, lanes: IntArray, start: IntArray) -> FloatArray:
        """The scores of windows."""
        zones, begin = self._zone[lanes], start * self._line.slot_minutes
        end = np.minimum(begin + self._minutes[rows, lanes], self._line.minutes)
        score = self._weighed[zones, end]
        score -= self._weighed[zones, begin]
        score *= self._slope[rows, lanes]
        score += self._fixed[rows, lanes]
        return score  # type: ignore[no-any-return]

    def everywhere(self, row: int) -> tuple[float, int, int]:
        """The best free window on any lane as score, start and lane: the first of equal ones."""
        scores, starts = self.best(row, self._lanes)
        least = float(scores.min(initial=NOWHERE))
        if least == NOWHERE:
            return NOWHERE, 0, 0
        tied = np.flatnonzero(scores == least)
        start, lane = min(zip(starts[tied].tolist(), tied.tolist(), strict=True))
        return least, start, lane

    def look(self, row: int, lane: int) -> tuple[float, int]:
        """`best` for one row on one lane."""
        first, last = int(self._first[row]), int(self._last[row, lane])
        if last < first or not self._open[row, lane]:
            return NOWHERE, -1
        span, compact, starts = self._span[row, lane], self._compact, slice(first, last + 1)
        spare = self._room.run(int(self._level[row, lane]), self._places[lane])[starts] - span
        carbon = compact.ends[self._ends[row, lane], starts] - compact.begins[lane, starts]
        if self._heedless[row]:
            carbon[:] = 0
        if first == 0 and self._line.next_minute:
            spare[0] += span - self._span_now[row, lane]
        spare >>= 31
        spare &= CLOSED
        carbon |= spare
        start = int(carbon.argmin())
        least = int(carbon[start])
        if least == CLOSED:
            return NOWHERE, -1
        # A whole number of units, so that this is the very score of the window.
        score = float(self._fixed[row, lane]) + float(self._slope[row, lane]) * (least * self._unit[lane])
        return score, first + start

    def worthwhile(self, row: int, found: tuple[float, int, int]) -> tuple[float, int, int]:
        """Of score, start and lane of the best free window: that, where it is worth its wait, or else the best that is.

        See `wait.worth_waiting`, whose answer it is.
        """
        score, start, _ = found
        gain = self._gain[row]
        if not gain or score == NOWHERE or start <= self._first[row]:
            return found
        reference, first = self._at_once(row, start)
        if start == first or score <= most_score(reference, gain, float(start - first)):
            return found
        # No window saves more than the one that was found, so that none that comes much later can save enough; and
        # on a lane that is never as good as the best at once, none can.
        until = min(start, first + int((reference - score) / (gain * abs(reference))) + 1)
        lanes = np.flatnonzero(self.unhindered[row] <= reference)
        usable, scores = self._usable(row, lanes, first, until), self._window_scores(row, lanes, first, until)
        best = least(scores, worth_waiting(scores, usable, gain))
        return found if best is None else (best[0], first + best[1], int(lanes[best[2]]))

    def is_worth(self, row: int, start: int, score: float, share: float) -> bool:
        """Whether a free window saves such a share of what its wait must gain."""
        gain = self._gain[row] * share
        if not gain or start <= self._first[row]:
            return True
        reference, first = self._at_once(row, start)
        return start == first or score <= most_score(reference, gain, float(start - first))

    def _at_once(self, row: int, until: int) -> tuple[float, int]:
        """The first start that is free on any lane, and the best score there; one is free at `until`."""
        first, lane = int(self._first[row]), int(self._best_at_once[row])
        if self._scores_at_once[row, lane] < NOWHERE:
            begin, end = self.slots(row, lane, first)
            if self._room.fits(self._places[lane], int(self.gpus[row, lane]), begin, end):
                return float(self._scores_at_once[row, lane]), first
        for last in (first, until):
            usable = self._usable(row, self._lanes, first, last)
            begin = first_usable(usable)
            if begin >= 0:
                lanes = np.flatnonzero(usable[:, begin])
                return float(self._exact(row, lanes, np.full(lanes.size, first + begin)).min()), first + begin
        return NOWHERE, until

    def _usable(self, row: int, lanes: IntArray, begin: int, until: int) -> BoolArray:
        """Which windows from `begin` to `until` are open and free, shape (lanes, starts)."""
        free: BoolArray = self._closed(row, lanes, begin, until) == 0
        free &= self._open[row, lanes][:, None]
        return free

    def _window_scores(self, row: int, lanes: IntArray, begin: int, until: int) -> FloatArray:
        """The scores of the windows from `begin` to `until`, free or not, shape (lanes, starts)."""
        scores = self._carbon(row, lanes, begin, until) * self._units[lanes, None]
        scores *= self._slope[row, lanes, None]
        scores += self._fixed[row, lanes, None]
        return scores

    @cached_property
    def _scores_at_once(self) -> FloatArray:
        """The scores of the first starts were all lanes empty, shape (jobs, lanes); infinite where one is not open."""
        rows = np.arange(len(self.jobs))[:, None]
        first = np.minimum(self._first, self._line.starts - 1)[:, None]
        is_open = self._open & (self._first[:, None] <= self._last)
        return np.where(is_open, self._exact(rows, self._lanes[None, :], first), NOWHERE)

    @cached_property
    def _best_at_once(self) -> IntArray:
        """The lane of the least of them, shape (jobs,)."""
        lanes: IntArray = self._scores_at_once.argmin(axis=1)
        return lanes

    def first_free(self, row: int) -> tuple[int, int]:
        """The first free start after the job's latest that is in time for the deadline, and its lane; -1."""
        lanes = np.flatnonzero(self._open[row])
        if not lanes.size:
            return -1, -1
        line, minutes, job = self._line, self._minutes[row, lanes], self.jobs[row]
        due = (self._looker.due[job] - minutes) // line.slot_minutes
        due = np.minimum(due, min(self._looker.problem.last_look(job), line.starts - 1))
        runs = self._room.runs(self._level[row, lanes], self._place[lanes])
        starts = np.arange(line.starts)
        free = runs[:, : line.starts] >= self._span[row, lanes, None]
        free = free & (starts > self._last[row, lanes, None]) & (starts <= due[:, None])
        if not free.any():
            return -1, -1
        start = int(free.any(axis=0).argmax())
        return start, int(lanes[free[:, start].argmax()])

    def is_open(self, row: int, lane: int, start: int) -> bool:
        """Whether a start is open to a job on a lane, were it free."""
        in_range = self._first[row] <= start <= self._last[row, lane]
        return bool(in_range and self._open[row, lane])

    def slots(self, row: int, lane: int, start: int) -> tuple[int, int]:
        """The slots that a window touches, half-open."""
        span = self._span[row, lane] if start else self._span_now[row, lane]
        return start, min(start + int(span), self._line.slots)

    def score(self, row: int, lane: int, start: int) -> float:
        """The score of one window."""
        total, begin = self._weighed[self._zone[lane]], start * self._line.slot_minutes
        end = min(begin + int(self._minutes[row, lane]), self._line.minutes)
        return float(self._fixed[row, lane] + self._slope[row, lane] * (total[end] - total[begin]))
