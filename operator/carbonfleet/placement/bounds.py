"""The least carbon that a run of some length can have in a zone by some start: where to look first."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from carbonfleet.placement.grid import Carbon, IntArray, Timeline
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
    shorter. Start 0 counts as the begin of its slot.
    """

    least: Float32Array
    row: IntArray
    """By length in whole slots, from 0: the row of the longest run that is not longer."""
    per_minute: float
    """The share of the way to the next whole slot's bound that a minute more goes."""

    def until(self, zones: IntArray, whole: IntArray, part: IntArray, last: IntArray) -> FloatArray:
        """Bounds of runs of `whole` slots and `part` minutes that start by `last`; shape (runs, lanes)."""
        whole, block = np.minimum(whole, self.row.size - 2), last // BLOCK
        low = self.least[zones, self.row[whole], block]
        high = self.least[zones, self.row[whole + 1], block]
        bound: FloatArray = low.astype(np.float64)
        bound += part * self.per_minute * (high - low)
        return bound


def minute_share(grid: Carbon, line: Timeline) -> float:
    """By how much of a slot's carbon a run grows at least with each of the slot's minutes."""
    return 1 / line.slot_minutes if grid.is_steady else 0.0


def bounds_of(grid: Carbon, line: Timeline, longest_minutes: int) -> Bounds:
    """The table for all zones, for runs up to the longest."""
    totals = grid.weighed[:, :: line.slot_minutes]
    lengths = _lengths(min(longest_minutes // line.slot_minutes + 2, line.slots - line.starts + 1))
    edges = np.arange(0, line.starts, BLOCK)
    least = np.empty((totals.shape[0], lengths.size, edges.size), dtype=np.float32)
    for row, total in enumerate(totals):
        ends = sliding_window_view(total, line.starts)
        for begin in range(0, lengths.size, EACH):
            part = lengths[begin : begin + EACH]
            windows = ends[part] - total[: line.starts]
            least[row, begin : begin + EACH] = np.minimum.reduceat(windows, edges, axis=1)
    least *= SAFETY
    row_of = np.searchsorted(lengths, np.arange(lengths[-1] + 1), side="right") - 1
    return Bounds(np.minimum.accumulate(least, axis=2), row_of, minute_share(grid, line))


def _lengths(count: int) -> IntArray:
    """Of the first so many lengths in whole slots those that have a bound, the last among them."""
    lengths = list(range(min(EACH, count)))
    while lengths[-1] < count - 1:
        lengths.append(min(count - 1, lengths[-1] + lengths[-1] // APART))
    return np.array(lengths, dtype=np.int64)
