"""Carbon totals in 32 bits, laid out so that all windows of one length are a slice."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from carbonfleet.placement.grid import MOST, Carbon, IntArray, Timeline

Int32Array = npt.NDArray[np.int32]
CLOSED: Final = np.int32(MOST + 1)
"""Stands above every total."""


@dataclass(frozen=True, slots=True, eq=False)
class Compact:
    """Weighed carbon totals as 32-bit whole numbers, each zone in its unit, laid out for quick looks."""

    ends: Int32Array
    """A view: row r holds, for all starts, the totals at the end of windows of the length that r stands for."""
    begins: Int32Array
    """The totals at the begin of each start's slot, shape (lanes, starts)."""
    stride: int
    """Rows of `ends` for each zone and minute within a slot."""
    zone: IntArray
    slot_minutes: int

    @classmethod
    def of(cls, grid: Carbon, zone: IntArray, line: Timeline) -> "Compact":
        """The compact form of a grid; `zone` is that of each lane."""
        totals = (grid.weighed / grid.unit[:, None]).astype(np.int32)
        padding = np.repeat(totals[:, -1:], line.slot_minutes - 1, axis=1)
        phased = np.concatenate([totals, padding], axis=1).reshape(len(totals), -1, line.slot_minutes)
        stride = phased.shape[1]
        flat = np.append(phased.transpose(0, 2, 1).ravel(), np.zeros(line.starts, dtype=np.int32))
        ends = sliding_window_view(flat, line.starts)
        begins = ends[zone * line.slot_minutes * stride]
        return cls(ends, begins, stride, zone, line.slot_minutes)

    def rows(self, lanes: IntArray | int, whole: IntArray, part: IntArray) -> IntArray:
        """The rows of `ends` for runs of `whole` slots and `part` minutes on lanes; shape as these."""
        rows: IntArray = (self.zone[lanes] * self.slot_minutes + part) * self.stride + np.minimum(
            whole, self.stride - 1
        )
        return rows
