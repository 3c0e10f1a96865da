"""How long from each slot on enough GPUs are free, kept up to date while windows are taken."""

import numpy as np

from carbonfleet.placement.capacity import Capacity, Runs, runs
from carbonfleet.placement.grid import IntArray


class Room:
    """Runs of free slots for each number of GPUs that is asked for, over a capacity."""

    def __init__(self, capacity: Capacity, gpus: IntArray, biggest: int) -> None:
        """`gpus` are the numbers that jobs ask for, of any shape; those beyond the biggest pool count as one."""
        self._free = capacity.free
        self._gpus = np.unique(np.minimum(gpus, biggest + 1))
        rows, slots = capacity.free.shape
        self._most = int(self._gpus[self._gpus <= biggest].max(initial=1))
        self.version: list[int] = [0] * rows
        """Of each row: how often its runs have changed."""
        self._runs = np.empty((self._gpus.size, rows, slots), dtype=np.int32)
        self._stale = set(range(rows))

    def runs(self, levels: IntArray, rows: IntArray, begin: int = 0, end: int | None = None) -> Runs:
        """Slots in a row that are free from each slot in [begin, end) on, at the levels of some rows; (rows, slots)."""
        if self._stale:
            for row in self._stale.intersection(rows.tolist()):
                self._renew(row)
        runs: Runs = self._runs[levels, rows, begin:end]
        return runs

    def runs_of(self, rows: IntArray, gpus: IntArray) -> Runs:
        """The same for each row and the GPUs that are asked for there."""
        return self.runs(self.levels(gpus), rows)

    def run(self, level: int, row: int) -> Runs:
        """The runs of one row at one level, shape (slots,)."""
        if row in self._stale:
            self._renew(row)
        runs: Runs = self._runs[level, row]
        return runs

    @property
    def is_ample(self) -> bool:
        """Whether every row has in every slot what the largest job that fits asks for: nobody was in another's way."""
        return bool(self._free.min() >= self._most)

    @property
    def level_count(self) -> int:
        """How many numbers of GPUs are told apart."""
        return self._gpus.size

    def levels(self, gpus: IntArray) -> IntArray:
        """Which level answers for so many GPUs."""
        levels: IntArray = np.searchsorted(self._gpus, np.minimum(gpus, self._gpus[-1]))
        return levels

    def fits(self, row: int, gpus: int, first: int, end: int) -> bool:
        """Whether GPUs are free on a row in the slots [first, end)."""
        return bool(self._free[row, first:end].min() >= gpus)

    def take(self, row: int, gpus: int, first: int, end: int) -> None:
        """Reserve GPUs on a row; a negative number gives them back."""
        free = self._free[row, first:end]
        free -= gpus
        if free.min() - max(0, -gpus) < self._most:
            self.version[row] += 1
            self._stale.add(row)

    def _renew(self, row: int) -> None:
        self._stale.discard(row)
        self._runs[:, row] = runs(self._free[row], self._gpus[:, None])
