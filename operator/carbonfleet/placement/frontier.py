"""How clean the free windows of each lane still are: bounds that rise while a crowd takes the best ones."""

from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from carbonfleet.placement.bounds import SAFETY, minute_share
from carbonfleet.placement.grid import Carbon, IntArray
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.room import Room
from carbonfleet.placement.snapshot import FloatArray

KEPT: Final = 64
"""Lengths are kept up to so many slots; a longer run is taken for several."""


class Frontier:
    """For each lane and level of GPUs: the least carbon of a free window of n slots, at any start.

    A run of n slots and a part f lies in a free window of n + 1 slots. Where the grid is steady its total is
    linear in f, so that it is at least (1 - f) of the least of n and f of that of n + 1. A longer run is at least
    the sum of the leasts of the runs that it consists of.
    """

    def __init__(self, problem: Problem, grid: Carbon, room: Room) -> None:
        line = problem.line
        self._room, self._place, self._starts = room, problem.lanes.place, line.starts
        longest = max(2, int(problem.demand.minutes_by_kind.max(initial=1)) // line.slot_minutes + 1)
        self._lengths = np.arange(min(KEPT, longest, line.slots - line.starts) + 1, dtype=np.int32)
        self._most, self._per_minute = self._lengths.size - 1, minute_share(grid, line)
        totals = grid.weighed[problem.lanes.zone, :: line.slot_minutes]
        windows = sliding_window_view(totals, line.starts, axis=1)[:, self._lengths]
        self._sums = ((windows - totals[:, None, : line.starts]) * SAFETY).astype(np.float32)
        self._least = np.empty((room.level_count, len(problem.lanes), self._lengths.size), dtype=np.float32)
        lanes = range(len(problem.lanes))
        self._seen = [[-1] * room.level_count for _ in lanes]
        for lane in lanes:
            for level in range(room.level_count):
                self.renew(lane, level)

    def bounds(self, whole: IntArray, part: IntArray, levels: IntArray | int, lanes: IntArray | int) -> FloatArray:
        """Lower bounds of the carbon totals of the best free windows of runs; shape as `whole`.

        Each run is taken for so many of the longest kept length, and some slots and a part.
        """
        times = None
        if int(whole.max(initial=0)) >= self._most:
            times, whole = np.divmod(whole, self._most)
        low = self._least[levels, lanes, whole]
        high = self._least[levels, lanes, whole + 1]
        closed = high == np.inf
        high[closed] = 0
        low[closed] = 0
        bound: FloatArray = low + (part * self._per_minute) * (high - low)
        if times is not None:
            most = self._least[levels, lanes, self._most]
            closed |= (most == np.inf) & (times > 0)
            bound += times * np.where(np.isinf(most), 0, most)
        bound[closed] = np.inf
        return bound

    def is_stale(self, lane: int, level: int) -> bool:
        """Whether windows were taken on a lane since its leasts were found: they still are lower bounds."""
        return self._seen[lane][level] != self._room.version[int(self._place[lane])]

    def renew(self, lane: int, level: int) -> None:
        """Find the leasts of a lane anew, for one level."""
        place = int(self._place[lane])
        self._seen[lane][level] = self._room.version[place]
        free = self._room.run(level, place)[: self._starts] >= self._lengths[:, None]
        self._least[level, lane] = np.minimum.reduce(self._sums[lane], axis=1, where=free, initial=np.inf)
