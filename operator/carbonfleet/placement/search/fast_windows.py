"""The fast evaluator for plain jobs: their best windows on some options, with what is free now.

A plain job minds carbon and has a range of starts, and nothing else depends on the hour (`plain_jobs`). Its score on an
option is `fixed + slope * carbon total`, so the best window is the one with the least carbon.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Final

import numpy as np

from carbonfleet.placement.inputs import MOST, NEVER, BoolArray, IntArray
from carbonfleet.placement.search.choice import Choice
from carbonfleet.placement.search.lower_bounds import (
    CLOSED,
    Int32Array,
)
from carbonfleet.placement.search.window_index import WindowIndex
from carbonfleet.placement.search.windows import Delay, delay_of
from carbonfleet.placement.snapshot import FloatArray

FIRST_LOOK: Final = 4
"""Options that are looked at first."""
BLOCK: Final = 256
"""Jobs whose windows are sought together: more would find more windows taken when their turn comes."""
NOWHERE: Final = float("inf")
TINY: Final = 1e-12


def unhindered(index: WindowIndex, jobs: IntArray) -> FloatArray:
    """Lower bounds of scores were all options empty, shape (jobs, options); infinite where a job can't go."""
    bounds = np.empty((jobs.size, len(index.inputs.options)))
    for weighing in index.inputs.weighs.values():
        rows = np.flatnonzero(weighing[jobs])
        if rows.size:
            bounds[rows] = WindowSearch(index, jobs[rows]).unhindered
    return bounds


class WindowSearch:
    """Bounds and best windows of some jobs of one signal. Arrays have shape (jobs, options); a row is a job's."""

    def __init__(self, index: WindowIndex, jobs: IntArray) -> None:
        inputs, self.jobs, self._line = index.inputs, jobs.tolist(), index.inputs.line
        self._index, self._capacity, self._options = index, index.capacity, index.options
        self.signal = inputs.jobs[self.jobs[0]].spec.signal
        grid = inputs.carbon[self.signal]
        self._compact, self._weighed = index.compact(self.signal), grid.weighed
        self._zone, self._capacity_row = inputs.options.zone, inputs.options.capacity_row
        self._capacity_rows: list[int] = self._capacity_row.tolist()
        terms = inputs.demand.at(jobs[:, None], self._options)
        self._fixed, self._slope, self._minutes = terms.fixed, terms.slope, terms.minutes
        self.gpus, self._usd = terms.gpus, terms.usd
        slot, kind = self._line.slot_minutes, inputs.demand.kind
        minutes, lengths = inputs.demand.minutes_by_kind[jobs], inputs.demand.lengths_by_kind[:, jobs]
        whole, part = np.divmod(minutes, slot)
        self._lengths = terms.lengths
        self._whole, self._part = (each[:, :, kind] for each in np.divmod(lengths, slot))
        self._free_whole, self._free_part = self._whole, self._part
        if len(lengths) > 1:  # of a run that may take longer than declared only the declared length is sure to be free
            free = np.divmod(np.minimum(lengths, minutes), slot)
            self._free_whole, self._free_part = (each[:, :, kind] for each in free)
        self._ends, *self._more_ends = self._compact.rows(self._options, self._whole, self._part)
        self._units = grid.unit[self._zone]
        self._unit: list[float] = self._units.tolist()
        self._span = (whole + (part > 0)).astype(np.int32)[:, kind]
        self._span_now = (-(-(minutes + self._line.next_minute) // slot)).astype(np.int32)[:, kind]
        self._level = self._capacity.levels(inputs.demand.gpus_by_kind[jobs])[:, kind]
        self._first, self._last = index.first[jobs], self._last_starts(index, jobs)
        self._is_simple = bool((self._first == 0).all() and (self._last == self._line.starts - 1).all())
        within = (terms.usd <= index.most_usd[jobs, None]) & (terms.minutes <= index.longest)
        self._delay = self._delays(index.gain[jobs])
        self._has_delay = bool(index.gain[jobs].any())
        self._starts = np.arange(self._line.starts, dtype=np.int32)
        self._is_short_delay = int(self._delay.units.max(initial=0)) * self._line.starts <= MOST
        # Where no product leaves 32 bits, it is made in them.
        self._delay_units = self._delay.units.astype(np.int32 if self._is_short_delay else np.int64)
        self._open: BoolArray = within & inputs.known[self.signal] & inputs.admitted[jobs] & (self._last >= 0)
        self._common_gain = index.common_gain(jobs)
        self.unhindered = self._unhindered(self._common_gain)
        """Lower bounds of the scores were all options empty; infinite where a job can't go."""

    def _unhindered(self, gain: float) -> FloatArray:
        bounds = self._index.bounds(self.signal, gain)
        return self._scores(_mean(bounds.until(self._zone, self._whole, self._part, np.maximum(self._last, 0))))

    @cached_property
    def bare(self) -> FloatArray:
        """The same without what a delay must gain."""
        return self._unhindered(0.0)

    def _delays(self, gain: FloatArray) -> Delay:
        """What delays must gain, shape (jobs, options)."""
        begin = np.minimum(self._first, self._line.starts - 1)[:, None] * self._line.slot_minutes
        at_once = self._total(self._zone, begin, self._lengths)
        at_once *= self._slope
        at_once += self._fixed
        return delay_of(at_once, self._slope, self._units, gain[:, None])

    def _total(self, zones: IntArray, begin: IntArray, lengths: IntArray) -> FloatArray:
        """The mean carbon total of runs from some minutes on over their likely lengths, the first axis of `lengths`."""
        total = _mean(self._weighed[zones, np.minimum(begin + lengths, self._line.minutes)])
        total -= self._weighed[zones, begin]
        return total

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
        frontier = self._index.frontier(self.signal, self._common_gain)
        frontier.renew_released()
        carbon = frontier.bounds(self._free_whole, self._free_part, self._level, self._options)
        return np.maximum(self.unhindered, self._scores(_mean(carbon)))

    def sharpen(self, bounds: FloatArray, row: int, option: int) -> None:
        """Raise the bounds of the jobs after a row on an option on which windows were taken since they were found.

        Only of those that take as many GPUs as the row.
        """
        level = int(self._level[row, option])
        frontier = self._index.frontier(self.signal, self._common_gain)
        if row + 1 < len(self.jobs) and frontier.is_stale(option, level):
            frontier.renew(option, level)
            rows = np.flatnonzero(self._level[row + 1 :, option] == level) + (row + 1)
            free = self._free_whole[:, rows, option], self._free_part[:, rows, option]
            carbon = _mean(frontier.bounds(*free, level, option))
            closed = carbon == NOWHERE
            score = self._fixed[rows, option] + self._slope[rows, option] * np.where(closed, 0, carbon)
            score[closed] = NOWHERE
            bounds[rows, option] = np.maximum(bounds[rows, option], score)

    def has_window(self, row: int, options: IntArray) -> BoolArray:
        """Whether any window of a job is open and free, on some options; shape as these."""
        first = int(self._first[row])
        level, span = self._level[row, options], (self._span if first else self._span_now)[row, options]
        found: BoolArray = self._capacity.runs(level, self._capacity_row[options], first, first + 1)[:, 0] >= span
        found &= first <= self._last[row, options]
        if (rest := np.flatnonzero(~found)).size:
            found[rest] = self.open_windows(row, options[rest]).any(axis=1)
        found &= self._open[row, options]
        return found

    def open_windows(self, row: int, options: IntArray) -> BoolArray:
        """Which windows of a job are open and free, on some options; shape (options, starts)."""
        free: BoolArray = self._closed(row, options, 0, self._line.starts - 1) == 0
        return free & self._open[row, options, None]

    def best(self, rows: IntArray | int, options: IntArray) -> tuple[FloatArray, IntArray]:
        """For pairs of row and option: the least score among the windows that are free, and its start.

        Infinite where there is none. `rows` is one row or has the shape of `options`.
        """
        first, last = self._first[rows], self._last[rows, options]
        most = self._line.starts - 1  # a job may have to begin after all that is looked at
        begin, until = min(int(first.min()), most), min(max(int(last.max()), int(first.max())), most)
        carbon = self._carbon(rows, options, begin, until)
        carbon |= self._closed(rows, options, begin, until)
        start = carbon.argmin(axis=1)
        found = carbon[np.arange(start.size), start] < CLOSED
        found &= self._open[rows, options]
        start += begin
        return np.where(found, self._exact(rows, options, start), NOWHERE), start

    def _carbon(self, rows: IntArray | int, options: IntArray, begin: int, until: int) -> Int32Array:
        """The compact carbon of the windows from `begin` to `until`."""
        compact = self._compact
        ends = compact.ends[:, begin : until + 1]
        carbon: Int32Array = ends[self._ends[rows, options]]
        for more in self._more_ends:
            carbon += ends[more[rows, options]]
        carbon -= compact.begins[options, begin : until + 1]
        if self._has_delay:
            later = self._starts[begin : until + 1]
            if not self._is_simple:
                later = np.maximum(later - np.reshape(self._first[rows], (-1, 1)), 0, dtype=np.int32)
            self._add_delay(carbon, self._delay_units[rows, options][:, None], later)
        return carbon

    def _add_delay(self, carbon: Int32Array, units: IntArray, later: Int32Array) -> None:
        """Add what delays of so many starts must gain, at so many units for each."""
        delay = units * later
        carbon += delay if self._is_short_delay else np.minimum(delay, MOST).astype(np.int32)

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
        score = self._total(self._zone[options], start * self._line.slot_minutes, self._lengths[:, rows, options])
        if self._has_delay:
            later = np.maximum(start - self._first[rows], 0)
            score += np.minimum(self._delay.units[rows, options] * later, MOST) * self._units[options]
        score *= self._slope[rows, options]
        score += self._fixed[rows, options]
        return score

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
        for more in self._more_ends:
            carbon += compact.ends[more[row, option], starts]
        if self._has_delay:
            self._add_delay(carbon, self._delay_units[row, option], self._starts[: carbon.size])
        if first == 0 and self._line.next_minute:
            spare[0] += span - self._span_now[row, option]
        spare >>= 31
        spare &= CLOSED
        carbon |= spare
        start = int(carbon.argmin())
        least = int(carbon[start])
        if least == CLOSED:
            return NOWHERE, -1
        return self._score_of(row, option, least), first + start

    def preferred(self, rows: IntArray, choices: Sequence[Choice], bounds: FloatArray) -> list[Choice]:
        """Of the free windows that count as equal to each row's choice the cheaper, then the earlier.

        `bounds` are of these rows: no free window scores below them.
        """
        most = np.array([choice.score for choice in choices]) * self._index.equal
        row, options, until = self._preferable(rows, choices, most, bounds)
        job = rows[row]
        carbon = self._carbon(job, options, 0, until)
        carbon |= self._closed(job, options, 0, until)
        equal = carbon <= self._most_units(job, options, most[row])[:, None]
        pairs = np.flatnonzero(equal.any(axis=1) & self._open[job, options])
        row, options, start, cents = (
            row[pairs],
            options[pairs],
            equal[pairs].argmax(axis=1),
            self._cents[job, options][pairs],
        )
        order = np.lexsort((options, start, cents, row))
        chosen = order[np.unique(row[order], return_index=True)[1]]
        found = list(choices)
        scores = self._exact(job[pairs][chosen], options[chosen], start[chosen]).tolist()
        places = zip(row[chosen].tolist(), options[chosen].tolist(), start[chosen].tolist(), scores, strict=True)
        for at, option, begin, score in places:
            if (option, begin) != (found[at].option, found[at].start):
                found[at] = Choice(option, begin, score)
        return found

    def preferred_to(self, row: int, choice: Choice, bounds: FloatArray) -> Choice:
        """`preferred` for one row, whose bounds have shape (options,); its choice where no window counts as equal."""
        most, cents = choice.score * self._index.equal, self._cents[row]
        options = np.flatnonzero((bounds <= most) & (cents <= cents[choice.option]))
        if not options.size:
            return choice
        until = self._line.starts - 1 if (cents[options] < cents[choice.option]).any() else choice.start
        carbon = self._carbon(row, options, 0, until)
        carbon |= self._closed(row, options, 0, until)
        equal = carbon <= self._most_units(row, options, most)[:, None]
        starts = equal.argmax(axis=1)
        found = np.flatnonzero(equal[np.arange(starts.size), starts] & self._open[row, options])
        places = zip(cents[options[found]].tolist(), starts[found].tolist(), found.tolist(), strict=True)
        best = min(places, default=None)
        if best is None:
            return choice
        _, start, at = best
        option = int(options[at])
        if (option, start) == (choice.option, choice.start):
            return choice
        return Choice(option, start, self._score_of(row, option, int(carbon[at, start])))

    def _score_of(self, row: int, option: int, units: int) -> float:
        """The score of a window from its compact carbon: a whole number of units, so that it is the very score."""
        return float(self._fixed[row, option]) + float(self._slope[row, option]) * (units * self._unit[option])

    @cached_property
    def _cents(self) -> FloatArray:
        """Costs in USD, to the cent."""
        cents: FloatArray = np.round(self._usd, 2)
        return cents

    def _most_units(self, rows: IntArray | int, options: IntArray, most: FloatArray | float) -> FloatArray:
        """How much compact carbon a window may have to score at most so much."""
        per_unit, over = self._slope[rows, options] * self._units[options], most - self._fixed[rows, options]
        # A hair more, so that a window whose score was worked out exactly is within its own.
        units = np.divide(over, per_unit, out=np.full(over.shape, float(MOST)), where=per_unit > 0) * (1 + TINY)
        least: FloatArray = np.minimum(units, MOST)
        return least

    def _preferable(
        self, rows: IntArray, choices: Sequence[Choice], most: FloatArray, bounds: FloatArray
    ) -> tuple[IntArray, IntArray, int]:
        """Pairs of row and option that may have a window which is preferred to a row's choice, and until which start.

        It scores at most so much and is cheaper; or it costs as much, and begins no later.
        """
        row, options = np.nonzero(bounds <= most[:, None])
        own, start = np.array([(choice.option, choice.start) for choice in choices]).T
        cents = self._cents[rows]
        saved = cents[np.arange(rows.size), own][row] - cents[row, options]
        job, last = rows[row], np.where(saved > 0, self._line.starts - 1, start[row])
        last = np.minimum(last, self._last[job, options])
        by_start = self._index.bounds(self.signal, self._common_gain)
        run = self._whole[:, job, options], self._part[:, job, options]
        least = _mean(by_start.until(self._zone[options], *run, last))
        least = self._fixed[job, options] + self._slope[job, options] * least
        pairs = np.flatnonzero((saved >= 0) & (least <= most[row]))
        return row[pairs], options[pairs], int(last[pairs].max(initial=0))

    def waiting(self, row: int, choice: Choice) -> float:
        """The part of a choice's score that its delay must gain."""
        return float(self._delay.per_start[row, choice.option]) * max(0, choice.start - int(self._first[row]))

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
        return float(self._exact(row, np.array([option]), np.array([start]))[0])


def _mean(by_length: FloatArray) -> FloatArray:
    """The mean over the likely lengths of runs, the first axis; exact, since these are a power of two."""
    mean: FloatArray = by_length[0] if len(by_length) == 1 else by_length.mean(axis=0)
    return mean
