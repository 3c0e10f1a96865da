"""How long from each slot on enough GPUs are free, kept up to date while windows are taken."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from carbonfleet.placement.capacity import Capacity
from carbonfleet.placement.grid import IntArray

Runs = npt.NDArray[np.signedinteger]


class Room:
    """Runs of free slots for each number of GPUs that is asked for, over a capacity."""

    def __init__(self, capacity: Capacity, gpus: Iterable[int]) -> None:
        self._capacity = capacity
        self._gpus = np.array(sorted(set(gpus)) or [1], dtype=np.int64)
        self._level = {count: level for level, count in enumerate(self._gpus.tolist())}
        rows, slots = capacity.free.shape
        self.dtype = np.int16 if slots < 2**15 else np.int32
        self._slots = np.arange(slots, dtype=self.dtype)
        self._most = int(self._gpus[-1])
        self._runs = np.empty((self._gpus.size, rows, slots), dtype=self.dtype)
        for row in range(rows):
            self._renew(row)

    def runs(self, gpus: IntArray, rows: IntArray) -> Runs:
        """Slots in a row that have so many GPUs free, from each slot on; shape (len(rows), slots)."""
        if gpus.size and (gpus == gpus[0]).all():
            runs: Runs = self._runs[self._level[int(gpus[0])]][rows]
        else:
            runs = self._runs[np.searchsorted(self._gpus, gpus), rows]
        return runs

    def take(self, row: int, gpus: int, first: int, end: int) -> None:
        """Reserve GPUs on a row; a negative number gives them back."""
        free = self._capacity.free[row, first:end]
        free -= gpus
        if int(free.min()) - max(0, -gpus) < self._most:
            self._renew(row)

    def _renew(self, row: int) -> None:
        free, slots = self._capacity.free[row], self._slots
        blocked = np.where(free < self._gpus[:, None], slots, slots.size).astype(self.dtype)
        self._runs[:, row] = np.minimum.accumulate(blocked[:, ::-1], axis=1)[:, ::-1] - slots
