"""The least carbon that a run of some length can have in a zone, as a table: which lanes to look at first."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from carbonfleet.placement.grid import Carbon, IntArray, Timeline
from carbonfleet.placement.snapshot import FloatArray

COARSE: Final = 8
"""The table knows latest starts in steps of so many slots: a finer one would be larger and little sharper."""


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """For each zone, run length n and latest start: the least carbon total over the starts up to it.

    `least` has shape (zones, lengths, steps), where lengths are whole slots from 0 and step k stands for
    the starts before (k + 1) * COARSE. A length between two whole slots lies between their bounds, since
    a window's total is linear in its length within a slot, and the least of a sum is at least the sum of
    the leasts.
    """

    least: FloatArray
    slot_minutes: int

    def at(self, zones: IntArray, whole: IntArray, part: IntArray, last: IntArray) -> FloatArray:
        """A lower bound for runs of `whole` slots and `part` minutes that start by `last`; they broadcast."""
        whole = np.minimum(whole, self.least.shape[1] - 2)
        step = np.clip(last // COARSE, 0, self.least.shape[2] - 1)
        share = part / self.slot_minutes
        low = self.least[zones, whole, step]
        bound: FloatArray = low + share * (self.least[zones, whole + 1, step] - low)
        return bound


def bounds_of(grid: Carbon, line: Timeline, longest_minutes: int) -> Bounds:
    """The table for all zones, for runs up to the longest. Start 0 counts as the begin of its slot."""
    totals = grid.weighed[:, :: line.slot_minutes]
    lengths = min(longest_minutes // line.slot_minutes + 2, line.slots - line.starts + 1)
    steps = -(-line.starts // COARSE)
    least = np.empty((totals.shape[0], lengths, steps))
    ends = np.minimum(np.arange(1, steps + 1) * COARSE, line.starts) - 1
    for row, total in enumerate(totals):
        shifted = np.lib.stride_tricks.sliding_window_view(total, line.starts)[:lengths]
        sums = shifted - total[: line.starts]
        least[row] = np.minimum.accumulate(sums, axis=1)[:, ends]
    return Bounds(least, line.slot_minutes)
