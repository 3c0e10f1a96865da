"""How clean the free windows of each lane still are: bounds that rise while a crowd takes the best ones."""

from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from carbonfleet.placement.bounds import SAFETY
from carbonfleet.placement.grid import Carbon, IntArray
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.room import Room
from carbonfleet.placement.snapshot import FloatArray

KEPT: Final = 64
"""Lengths are kept up to so many slots; a longer run is taken for several."""


class Frontier:
    """For each lane and level of GPUs: the least carbon of a free window of n slots, at any start.

    A run of n slots and a part f lies in a free window of n + 1 slots, and its total is linear in f, so it
    is at least (1 - f) of the least of n and f of that of n + 1. A longer run is at least the sum of the
    leasts of the runs that it consists of.
    """

    def __init__(self, problem: Problem, grid: Carbon, room: Room) -> None:
        line = problem.line
        self._room, self._place, self._starts = room, problem.lanes.place, line.starts
        longest = max(2, int(problem.terms.minutes.max(initial=1)) // line.slot_minutes + 1)
        self._lengths = np.arange(min(KEPT, longest, line.slots - line.starts) + 1, dtype=np.int32)
        totals = grid.weighed[problem.lanes.zone, :: line.slot_minutes]
        windows = sliding_window_view(totals, line.starts, axis=1)[:, self._lengths]
        self._sums = ((windows - totals[:, None, : line.starts]) * SAFETY).astype(np.float32)
        self._least = np.empty((room.level_count, len(problem.lanes), self._lengths.size), dtype=np.float32)
        self._lanes = np.arange(len(problem.lanes))
        self._seen = [[-1] * room.level_count for _ in self._lanes]
        self._split(problem)
        for lane in self._lanes.tolist():
            for level in range(room.level_count):
                self.renew(lane, level)

    def _split(self, problem: Problem) -> None:
        """Each run as so many of the longest kept length, and some slots and a part; shape (jobs, lanes)."""
        most = self._lengths.size - 1
        whole, part = np.divmod(problem.terms.minutes, problem.line.slot_minutes)
        self._times, self._whole = np.divmod(whole, most)
        self._part = part / problem.line.slot_minutes
        self._is_long = bool(self._times.any())
        self._most = most

    def bounds(self, jobs: IntArray, levels: IntArray) -> FloatArray:
        """Lower bounds of the carbon totals of the best free windows of some jobs, shape (jobs, lanes)."""
        return self._at(jobs[:, None], levels, self._lanes)

    def column(self, jobs: IntArray, level: int, lane: int) -> FloatArray:
        """The same for jobs of one level on one lane, shape (jobs,)."""
        return self._at(jobs, level, lane)

    def _at(self, jobs: IntArray, levels: IntArray | int, lanes: IntArray | int) -> FloatArray:
        whole = self._whole[jobs, lanes]
        low = self._least[levels, lanes, whole]
        high = self._least[levels, lanes, whole + 1]
        closed = high == np.inf
        high[closed] = 0
        low[closed] = 0
        bound: FloatArray = low + self._part[jobs, lanes] * (high - low)
        if self._is_long:
            times, most = self._times[jobs, lanes], self._least[levels, lanes, self._most]
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
        self._least[level, lane] = np.where(free, self._sums[lane], np.float32(np.inf)).min(axis=1)
