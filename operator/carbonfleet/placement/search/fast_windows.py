"""The fast evaluator for plain jobs: their best windows on some options, with what is free now.

A plain job has a range of starts and nothing that depends on the hour but carbon: no threshold, no
segments, no budget, no hourly price. Its score on an option is `fixed + slope * carbon total`, so the best
window is the one with the least carbon.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.placement.inputs import MINUTE, NEVER, BoolArray, CapacityRuns, IntArray
from carbonfleet.placement.plan_inputs import PlanInputs
from carbonfleet.placement.search.lower_bounds import CLOSED, Bounds, Compact, Frontier, Int32Array, bounds_of
from carbonfleet.placement.search.windows import first_usable, least, most_score, worth_waiting
from carbonfleet.placement.snapshot import FloatArray

FIRST_LOOK: Final = 2
"""Options that are looked at first."""
BLOCK: Final = 256
"""Jobs whose windows are sought together: more would find more windows taken when their turn comes."""
NOWHERE: Final = float("inf")


def plain_jobs(inputs: PlanInputs) -> BoolArray:
    """Shape (jobs,): whether a quick look says all that there is to say of a job's windows."""
    plain: BoolArray = ~inputs.lost
    if inputs.price_total.size:
        plain &= ~(inputs.admitted & inputs.has_hours).any(axis=1)
    remaining_budgets = {key for key, rows in inputs.budgets_of.items() if rows}
    for row, (job, limits) in enumerate(zip(inputs.jobs, inputs.limits, strict=True)):
        spec = job.spec
        if (
            limits.is_gated
            or spec.objective.carbon_budget_kg is not None
            or spec.schedule.interruptible is not None
            or (job.incumbent is not None and job.incumbent.is_under_way)
            or (remaining_budgets and (spec.residency.data_class, job.namespace) in remaining_budgets)
        ):
            plain[row] = False
    return plain


@dataclass(frozen=True, slots=True, eq=False)
class Forms:
    """The grid of one signal in handy forms; what jobs there are does not matter to them."""

    compact: Compact
    bounds: Bounds


def forms_of(inputs: PlanInputs) -> dict[SignalKind, Forms]:
    """The forms for each signal of a inputs, for runs up to its longest; none without options."""
    if not len(inputs.options):
        return {}
    line = inputs.line
    cap = inputs.snapshot.assumptions.longest_run // MINUTE
    longest = min(int(inputs.demand.minutes_by_kind.max(initial=1)), cap)
    return {
        kind: Forms(Compact.of(grid, inputs.options.zone, line), bounds_of(grid, line, longest))
        for kind, grid in inputs.carbon.items()
    }


class WindowIndex:
    """What quick searches of a inputs's plain jobs share: the grid in handy forms, and what is free at the moment."""

    def __init__(self, inputs: PlanInputs, capacity: CapacityRuns, forms: Mapping[SignalKind, Forms]) -> None:
        self.inputs, self.capacity, self.forms = inputs, capacity, forms
        line = inputs.line
        self.longest = inputs.snapshot.assumptions.longest_run // MINUTE
        self._frontiers: dict[SignalKind, Frontier] = {}
        self.options = np.arange(len(inputs.options))
        rows = range(len(inputs.jobs))
        self.first = np.array([inputs.earliest_start(job) for job in rows], dtype=np.int64)
        latest = np.array([inputs.latest_start(job) for job in rows], dtype=np.int64)
        self.latest = np.minimum(np.maximum(latest, self.first), line.starts - 1)
        self.due = np.array([inputs.deadline_minute(job) for job in rows], dtype=np.int64)
        self.gain = np.array([inputs.gain_per_start(job) for job in rows])
        limits = [job.spec.objective.max_cost_usd for job in inputs.jobs]
        self.most_usd = np.array([NOWHERE if usd is None else usd for usd in limits])

    def frontier(self, signal: SignalKind) -> Frontier:
        """How clean free windows still are."""
        if signal not in self._frontiers:
            self._frontiers[signal] = Frontier(self.inputs, self.inputs.carbon[signal], self.capacity)
        return self._frontiers[signal]

    def at(self, jobs: IntArray) -> "WindowSearch":
        """The search for some jobs, which all weigh one signal."""
        return WindowSearch(self, jobs)

    def unhindered(self, jobs: IntArray) -> FloatArray:
        """Lower bounds of scores were all options empty, shape (jobs, options); infinite where a job can't go."""
        bounds = np.empty((jobs.size, len(self.inputs.options)))
        signals = np.array([self.inputs.jobs[job].spec.signal for job in jobs.tolist()])
        for signal in self.inputs.carbon:
            rows = np.flatnonzero(signals == signal)
            if rows.size:
                bounds[rows] = self.at(jobs[rows]).unhindered
        return bounds


class WindowSearch:
    """Bounds and best windows of some jobs. Its arrays have shape (jobs, options); a row is one of the jobs."""

    def __init__(self, index: WindowIndex, jobs: IntArray) -> None:
        inputs, self.jobs, self._line = index.inputs, jobs.tolist(), index.inputs.line
        self._index, self._capacity, self._options = index, index.capacity, index.options
        self.signal = inputs.jobs[self.jobs[0]].spec.signal
        grid = inputs.carbon[self.signal]
        self._compact, self._weighed = index.forms[self.signal].compact, grid.weighed
        self._zone, self._capacity_row = inputs.options.zone, inputs.options.capacity_row
        self._capacity_rows: list[int] = self._capacity_row.tolist()
        terms = inputs.demand.at(jobs[:, None], self._options)
        self._fixed, self._slope, self._minutes = terms.fixed, terms.slope, terms.minutes
        self.gpus = terms.gpus
        slot, kind = self._line.slot_minutes, inputs.demand.kind
        minutes = inputs.demand.minutes_by_kind[jobs]
        whole, part = np.divmod(minutes, slot)
        self._whole, self._part = whole[:, kind], part[:, kind]
        self._ends = self._compact.rows(self._options, self._whole, self._part)
        self._units = grid.unit[self._zone]
        self._unit: list[float] = self._units.tolist()
        self._span = (whole + (part > 0)).astype(np.int32)[:, kind]
        self._span_now = (-(-(minutes + self._line.next_minute) // slot)).astype(np.int32)[:, kind]
        self._level = self._capacity.levels(inputs.demand.gpus_by_kind[jobs])[:, kind]
        self._heedless = (self._slope == 0).all(axis=1)
        self._first, self._last = index.first[jobs], self._last_starts(index, jobs)
        self._is_simple = bool((self._first == 0).all() and (self._last == self._line.starts - 1).all())
        within = (terms.usd <= index.most_usd[jobs, None]) & (terms.minutes <= index.longest)
        self._gain: list[float] = index.gain[jobs].tolist()
        self._open: BoolArray = within & inputs.known[self.signal] & inputs.admitted[jobs] & (self._last >= 0)
        self.unhindered = self._scores(
            index.forms[self.signal].bounds.until(self._zone, self._whole, self._part, np.maximum(self._last, 0))
        )
        """Lower bounds of the scores were all options empty; infinite where a job can't go."""

    def _last_starts(self, index: WindowIndex, jobs: IntArray) -> IntArray:
        """The last start of a job's own will that is in time for its deadline; -1 is none."""
        last = np.broadcast_to(index.latest[jobs, None], self._minutes.shape)
        due = index.due[jobs, None]
        if (due < NEVER).any():
            ahead = (due - self._minutes) // self._line.slot_minutes
            at_once = np.where(self._line.next_minute + self._minutes <= due, 0, -1)
            last = np.minimum(last, np.where(ahead >= 1, ahead, at_once))
        return np.where(index.first[jobs, None] <= last, last, -1)

    def _scores(self, carbon: FloatArray) -> FloatArray:
        """Scores from the least carbon on each option; infinite where a job can't go."""
        closed = ~self._open | (carbon == NOWHERE)
        score: FloatArray = self._fixed + self._slope * np.where(closed, 0, carbon)
        score[closed] = NOWHERE
        return score

    def bounds(self) -> FloatArray:
        """Lower bounds of the scores with what is free now."""
        frontier = self._index.frontier(self.signal)
        carbon = frontier.bounds(self._whole, self._part, self._level, self._options)
        return np.maximum(self.unhindered, self._scores(carbon))

    def sharpen(self, bounds: FloatArray, row: int, option: int) -> None:
        """Raise the bounds of the jobs after a row on an option on which windows were taken since they were found.

        Only of those that take as many GPUs as the row.
        """
        level = int(self._level[row, option])
        frontier = self._index.frontier(self.signal)
        if row + 1 < len(self.jobs) and frontier.is_stale(option, level):
            frontier.renew(option, level)
            rows = np.flatnonzero(self._level[row + 1 :, option] == level) + (row + 1)
            carbon = frontier.bounds(self._whole[rows, option], self._part[rows, option], level, option)
            closed = carbon == NOWHERE
            score = self._fixed[rows, option] + self._slope[rows, option] * np.where(closed, 0, carbon)
            score[closed] = NOWHERE
            bounds[rows, option] = np.maximum(bounds[rows, option], score)

    def best(self, rows: IntArray | int, options: IntArray) -> tuple[FloatArray, IntArray]:
        """For pairs of row and option: the least score among the windows that are free, and its start.

        Infinite where there is none. `rows` is one row or has the shape of `options`.
        """
        first, last = self._first[rows], self._last[rows, options]
        most = self._line.starts - 1  # a job may have to begin after all that is looked at
        begin = min(int(first.min()), most)
        until = min(max(int(last.max()), int(first.max())), most)
        carbon = self._carbon(rows, options, begin, until)
        carbon |= self._closed(rows, options, begin, until)
        start = carbon.argmin(axis=1)
        found = carbon[np.arange(start.size), start] < CLOSED
        found &= self._open[rows, options]
        start += begin
        return np.where(found, self._exact(rows, options, start), NOWHERE), start

    def _carbon(self, rows: IntArray | int, options: IntArray, begin: int, until: int) -> Int32Array:
        """The compact carbon of the windows from `begin` to `until`; 0 where the job minds no carbon."""
        compact = self._compact
        carbon: Int32Array = compact.ends[:, begin : until + 1][self._ends[rows, options]]
        carbon -= compact.begins[options, begin : until + 1]
        heedless = self._heedless[rows]
        if heedless.any():
            carbon[heedless] = 0
        return carbon

    def _closed(self, rows: IntArray | int, options: IntArray, begin: int, until: int) -> Int32Array:
        """CLOSED where too few slots are free or the start is out of range, 0 elsewhere; (pairs, starts)."""
        span = self._span[rows, options]
        spare = self._capacity.runs(self._level[rows, options], self._capacity_row[options], begin, until + 1)
        if begin == 0 and self._line.next_minute:
            spare[:, 0] += span - self._span_now[rows, options]
        spare -= span[:, None]
        if not self._is_simple:
            self._keep_in_range(spare, rows, options, begin, until)
        # The sign bit says closed: it is spread over the whole number.
        spare >>= 31
        spare &= CLOSED
        return spare

    def _keep_in_range(
        self, spare: Int32Array, rows: IntArray | int, options: IntArray, begin: int, until: int
    ) -> None:
        first, last = np.reshape(self._first[rows], (-1, 1)), self._last[rows, options, None]
        starts = np.arange(begin, until + 1, dtype=np.int32)
        if int(last.min()) < until:
            np.minimum(spare, last - starts, out=spare, casting="same_kind")
        if int(first.max()) > begin:
            np.minimum(spare, starts - first, out=spare, casting="same_kind")

    def _exact(self, rows: IntArray | int, options: IntArray, start: IntArray) -> FloatArray:
        """The scores of windows."""
        zones, begin = self._zone[options], start * self._line.slot_minutes
        end = np.minimum(begin + self._minutes[rows, options], self._line.minutes)
        score = self._weighed[zones, end]
        score -= self._weighed[zones, begin]
        score *= self._slope[rows, options]
        score += self._fixed[rows, options]
        return score  # type: ignore[no-any-return]

    def everywhere(self, row: int) -> tuple[float, int, int]:
        """The best free window on any option as score, start and option: the first of equal ones."""
        scores, starts = self.best(row, self._options)
        least = float(scores.min(initial=NOWHERE))
        if least == NOWHERE:
            return NOWHERE, 0, 0
        tied = np.flatnonzero(scores == least)
        start, option = min(zip(starts[tied].tolist(), tied.tolist(), strict=True))
        return least, start, option

    def best_on(self, row: int, option: int) -> tuple[float, int]:
        """`best` for one row on one option."""
        first, last = int(self._first[row]), int(self._last[row, option])
        if last < first or not self._open[row, option]:
            return NOWHERE, -1
        span, compact, starts = self._span[row, option], self._compact, slice(first, last + 1)
        spare = self._capacity.run(int(self._level[row, option]), self._capacity_rows[option])[starts] - span
        carbon = compact.ends[self._ends[row, option], starts] - compact.begins[option, starts]
        if self._heedless[row]:
            carbon[:] = 0
        if first == 0 and self._line.next_minute:
            spare[0] += span - self._span_now[row, option]
        spare >>= 31
        spare &= CLOSED
        carbon |= spare
        start = int(carbon.argmin())
        least = int(carbon[start])
        if least == CLOSED:
            return NOWHERE, -1
        # A whole number of units, so that this is the very score of the window.
        score = float(self._fixed[row, option]) + float(self._slope[row, option]) * (least * self._unit[option])
        return score, first + start

    def worthwhile(self, row: int, found: tuple[float, int, int]) -> tuple[float, int, int]:
        """Score, start and option of the best free window, where it is worth its wait, or else the best that is.

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
        # on an option that is never as good as the best at once, none can.
        until = min(start, first + int((reference - score) / (gain * abs(reference))) + 1)
        options = np.flatnonzero(self.unhindered[row] <= reference)
        usable, scores = self._usable(row, options, first, until), self._window_scores(row, options, first, until)
        best = least(scores, worth_waiting(scores, usable, gain))
        return found if best is None else (best[0], first + best[1], int(options[best[2]]))

    def is_worth(self, row: int, start: int, score: float, share: float) -> bool:
        """Whether a free window saves such a share of what its wait must gain."""
        gain = self._gain[row] * share
        if not gain or start <= self._first[row]:
            return True
        reference, first = self._at_once(row, start)
        return start == first or score <= most_score(reference, gain, float(start - first))

    def _at_once(self, row: int, until: int) -> tuple[float, int]:
        """The first start that is free on any option, and the best score there; one is free at `until`."""
        first, scores = int(self._first[row]), self._scores_at_once[row]
        option = int(scores.argmin())
        if scores[option] < NOWHERE:
            begin, end = self.slots(row, option, first)
            if self._capacity.fits(self._capacity_rows[option], int(self.gpus[row, option]), begin, end):
                return float(scores[option]), first
            free = self._capacity.runs(self._level[row], self._capacity_row, first, first + 1)[:, 0]
            span = self._span[row] if first else self._span_now[row]
            least_free = float(np.where(free >= span, scores, NOWHERE).min())
            if least_free < NOWHERE:
                return least_free, first
        usable = self._usable(row, self._options, first, until)
        begin = first_usable(usable)
        if begin < 0:
            return NOWHERE, until
        options = np.flatnonzero(usable[:, begin])
        return float(self._exact(row, options, np.full(options.size, first + begin)).min()), first + begin

    def _usable(self, row: int, options: IntArray, begin: int, until: int) -> BoolArray:
        """Which windows from `begin` to `until` are open and free, shape (options, starts)."""
        free: BoolArray = self._closed(row, options, begin, until) == 0
        free &= self._open[row, options][:, None]
        return free

    def _window_scores(self, row: int, options: IntArray, begin: int, until: int) -> FloatArray:
        """The scores of the windows from `begin` to `until`, free or not, shape (options, starts)."""
        scores = self._carbon(row, options, begin, until) * self._units[options, None]
        scores *= self._slope[row, options, None]
        scores += self._fixed[row, options, None]
        return scores

    @cached_property
    def _scores_at_once(self) -> FloatArray:
        """Scores of the first starts were all options empty, shape (jobs, options); infinite where one is not open."""
        rows = np.arange(len(self.jobs))[:, None]
        first = np.minimum(self._first, self._line.starts - 1)[:, None]
        is_open = self._open & (self._first[:, None] <= self._last)
        return np.where(is_open, self._exact(rows, self._options[None, :], first), NOWHERE)

    def first_free(self, row: int) -> tuple[int, int]:
        """The first free start after the job's latest that is in time for the deadline, and its option; -1."""
        options = np.flatnonzero(self._open[row])
        if not options.size:
            return -1, -1
        line, minutes, job = self._line, self._minutes[row, options], self.jobs[row]
        due = (self._index.due[job] - minutes) // line.slot_minutes
        due = np.minimum(due, min(self._index.inputs.last_look(job), line.starts - 1))
        runs = self._capacity.runs(self._level[row, options], self._capacity_row[options])
        starts = np.arange(line.starts)
        free = runs[:, : line.starts] >= self._span[row, options, None]
        free = free & (starts > self._last[row, options, None]) & (starts <= due[:, None])
        if not free.any():
            return -1, -1
        start = int(free.any(axis=0).argmax())
        return start, int(options[free[:, start].argmax()])

    def is_open(self, row: int, option: int, start: int) -> bool:
        """Whether a start is open to a job on an option, were it free."""
        in_range = self._first[row] <= start <= self._last[row, option]
        return bool(in_range and self._open[row, option])

    def slots(self, row: int, option: int, start: int) -> tuple[int, int]:
        """The slots that a window touches, half-open."""
        span = self._span[row, option] if start else self._span_now[row, option]
        return start, min(start + int(span), self._line.slots)

    def score(self, row: int, option: int, start: int) -> float:
        """The score of one window."""
        total, begin = self._weighed[self._zone[option]], start * self._line.slot_minutes
        end = min(begin + int(self._minutes[row, option]), self._line.minutes)
        return float(self._fixed[row, option] + self._slope[row, option] * (total[end] - total[begin]))
