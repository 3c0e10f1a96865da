"""The least carbon that a run of some length can have in a zone by some start: where to look first."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from carbonfleet.placement.inputs import MOST, CapacityRuns, Carbon, IntArray, Timeline
from carbonfleet.placement.plan_inputs import PlanInputs
from carbonfleet.placement.snapshot import FloatArray

Float32Array = npt.NDArray[np.float32]
BLOCK: Final = 8
"""Starts that share a bound: a smaller block makes a larger table that is little sharper."""
EACH: Final = 256
"""Run lengths up to so many slots have a bound each; beyond, some that lie ever farther apart, for the next longer."""
APART: Final = 64
"""Of those that are longer, one in so many slots' length: a bound is lower by that share at most."""
SAFETY: Final = np.float32(1 - 1e-6)
"""Keeps a bound below what it bounds in spite of its 32 bits."""


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """For each zone, run length and block of starts: the least carbon total of a window that starts by then.

    `least` has shape (zones, rows, blocks). A length between two
    whole slots lies between their bounds: where the grid is steady, a window's total is linear in its length
    within a slot, and the least of a sum is at least the sum of the leasts; elsewhere it is at least that of the
    shorter. Start 0 counts as the begin of its slot. What a delay from start 0 must gain is part of the total.
    """

    least: Float32Array
    row: IntArray
    """By length in whole slots, from 0: the row of the longest run that is not longer."""
    per_minute: float
    """The share of the way to the next whole slot's bound that a minute more goes."""

    def until(self, zones: IntArray, whole: IntArray, part: IntArray, last: IntArray) -> FloatArray:
        """Bounds of runs of `whole` slots and `part` minutes that start by `last`; shape as `whole`."""
        whole, block = np.minimum(whole, self.row.size - 2), last // BLOCK
        low = self.least[zones, self.row[whole], block]
        high = self.least[zones, self.row[whole + 1], block]
        bound: FloatArray = low.astype(np.float64)
        bound += part * self.per_minute * (high - low)
        return bound


def minute_share(grid: Carbon, line: Timeline) -> float:
    """By how much of a slot's carbon a run grows at least with each of the slot's minutes."""
    return 1 / line.slot_minutes if grid.is_steady else 0.0


def bounds_of(totals: FloatArray, line: Timeline, longest_minutes: int, gain: float, per_minute: float) -> Bounds:
    """The table for running totals by zone and minute, for runs up to the longest, whose delay must gain such a share
    for each start.
    """
    totals = totals[:, :: line.slot_minutes]
    lengths = _lengths(min(longest_minutes // line.slot_minutes + 2, line.slots - line.starts + 1))
    edges = np.arange(0, line.starts, BLOCK)
    least = np.empty((totals.shape[0], lengths.size, edges.size), dtype=np.float32)
    for row, total in enumerate(totals):
        ends = sliding_window_view(total, line.starts)
        for begin in range(0, lengths.size, EACH):
            part = lengths[begin : begin + EACH]
            windows = ends[part] - total[: line.starts]
            add_delay(windows, gain)
            least[row, begin : begin + EACH] = np.minimum.reduceat(windows, edges, axis=1)
    least *= SAFETY
    row_of = np.searchsorted(lengths, np.arange(lengths[-1] + 1), side="right") - 1
    return Bounds(np.minimum.accumulate(least, axis=2), row_of, per_minute)


def add_delay(windows: FloatArray, gain: float) -> None:
    """Add what a delay must gain to the carbon totals of windows that may begin now, shape (..., starts).

    That is at most what it is in scores, where a share of their fixed part comes on top.
    """
    if gain:
        windows += gain * windows[..., :1] * np.arange(windows.shape[-1])


def _lengths(count: int) -> IntArray:
    """Of the first so many lengths in whole slots those that have a bound, the last among them."""
    lengths = list(range(min(EACH, count)))
    while lengths[-1] < count - 1:
        lengths.append(min(count - 1, lengths[-1] + lengths[-1] // APART))
    return np.array(lengths, dtype=np.int64)


Int32Array = npt.NDArray[np.int32]
CLOSED: Final = np.int32(2 * MOST + 1)
"""All bits: stands above every total, with what a delay must gain."""


@dataclass(frozen=True, slots=True, eq=False)
class Compact:
    """Weighed carbon totals as 32-bit whole numbers, laid out for quick looks.

    So scaled that the sum of the totals at the ends of a run of all its likely lengths, less that at its begin, is
    their mean in each zone's unit.
    """

    ends: Int32Array
    """A view: row r holds, for all starts, the totals at the end of windows of the length that r stands for."""
    begins: Int32Array
    """So many times the totals at the begin of each start's slot, shape (options, starts)."""
    stride: int
    """Rows of `ends` for each zone and minute within a slot."""
    zone: IntArray
    slot_minutes: int

    @classmethod
    def of(cls, grid: Carbon, zone: IntArray, line: Timeline) -> "Compact":
        """The compact form of a grid; `zone` is that of each option."""
        totals = (grid.weighed / (grid.unit[:, None] * grid.lengths)).astype(np.int32)
        padding = np.repeat(totals[:, -1:], line.slot_minutes - 1, axis=1)
        phased = np.concatenate([totals, padding], axis=1).reshape(len(totals), -1, line.slot_minutes)
        stride = phased.shape[1]
        flat = np.append(phased.transpose(0, 2, 1).ravel(), np.zeros(line.starts, dtype=np.int32))
        ends = sliding_window_view(flat, line.starts)
        begins = ends[zone * line.slot_minutes * stride] * np.int32(grid.lengths)
        return cls(ends, begins, stride, zone, line.slot_minutes)

    def rows(self, options: IntArray | int, whole: IntArray, part: IntArray) -> IntArray:
        """The rows of `ends` for runs of `whole` slots and `part` minutes on options; shape as these."""
        rows: IntArray = (self.zone[options] * self.slot_minutes + part) * self.stride + np.minimum(
            whole, self.stride - 1
        )
        return rows


INFINITE: Final = np.float32(np.inf).view(np.int32)
KEPT: Final = 64
"""Lengths are kept up to so many slots; a longer run is taken for several."""


class Frontier:
    """For each option and level of GPUs: the least carbon of a free window of n slots, with what its delay must gain.

    A run of n slots and a part f lies in a free window of n + 1 slots, one without a part in n. Where the grid is
    steady its total is linear in f, so that it is at least (1 - f) of the least of n and f of that of n + 1. A longer
    run is at least the sum of the leasts of the runs that it consists of.
    """

    def __init__(self, inputs: PlanInputs, grid: Carbon, capacity: CapacityRuns, gain: float) -> None:
        line = inputs.line
        self._capacity, self._capacity_row, self._starts = capacity, inputs.options.capacity_row, line.starts
        longest = max(2, int(inputs.demand.minutes_by_kind.max(initial=1)) // line.slot_minutes + 1)
        self._lengths = np.arange(min(KEPT, longest, line.slots - line.starts) + 1, dtype=np.int32)
        self._most, self._per_minute = self._lengths.size - 1, minute_share(grid, line)
        totals = grid.weighed[inputs.options.zone, :: line.slot_minutes]
        windows = sliding_window_view(totals, line.starts, axis=1)[:, self._lengths]
        windows = windows - totals[:, None, : line.starts]
        add_delay(windows, gain)
        self._sums = (windows * SAFETY).astype(np.float32)
        self._least = np.empty((capacity.level_count, len(inputs.options), self._lengths.size), dtype=np.float32)
        options = range(len(inputs.options))
        self._seen = [[-1] * capacity.level_count for _ in options]
        self._releases = [-1] * len(options)
        self.renew_released()

    def bounds(self, whole: IntArray, part: IntArray, levels: IntArray | int, options: IntArray | int) -> FloatArray:
        """Lower bounds of the carbon totals of the best free windows of runs; shape as `whole`.

        Each run is taken for so many of the longest kept length, and some slots and a part.
        """
        times = None
        if int(whole.max(initial=0)) >= self._most:
            times, whole = np.divmod(whole, self._most)
        low = self._least[levels, options, whole]
        high = self._least[levels, options, whole + 1]
        # A run of whole slots needs no more than these: it fits into a gap of exactly its length.
        closed = np.isinf(np.where(part > 0, high, low))
        high[np.isinf(high)] = 0
        low[closed] = 0
        bound: FloatArray = low + (part * self._per_minute) * (high - low)
        if times is not None:
            most = self._least[levels, options, self._most]
            closed |= (most == np.inf) & (times > 0)
            bound += times * np.where(np.isinf(most), 0, most)
        bound[closed] = np.inf
        return bound

    def renew_released(self) -> None:
        """Find the leasts anew where GPUs were given back since: they would be no lower bounds any more."""
        for option, row in enumerate(self._capacity_row.tolist()):
            if self._releases[option] != self._capacity.releases[row]:
                self._releases[option] = self._capacity.releases[row]
                for level in range(self._capacity.level_count):
                    self.renew(option, level)

    def is_stale(self, option: int, level: int) -> bool:
        """Whether windows were taken on an option since its leasts were found: they still are lower bounds."""
        return self._seen[option][level] != self._capacity.version[int(self._capacity_row[option])]

    def renew(self, option: int, level: int) -> None:
        """Find the leasts of an option anew, for one level."""
        place = int(self._capacity_row[option])
        self._seen[option][level] = self._capacity.version[place]
        # Bits of positive floats are in their order; where it is closed, those of infinity are set, above all others.
        bits = self._lengths[:, None] - 1 - self._capacity.run(level, place)[: self._starts]
        np.invert(bits, out=bits)
        bits >>= 31
        bits &= INFINITE
        bits |= self._sums[option].view(np.int32)
        self._least[level, option] = np.minimum(bits.min(axis=1), INFINITE).view(np.float32)
