"""Free GPUs over time: of each pool, and of each quota that policies set."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carbonfleet.placement.inputs.options import Options
from carbonfleet.placement.inputs.timeline import IntArray, Timeline
from carbonfleet.placement.snapshot import Reservation, Snapshot

Runs = npt.NDArray[np.int32]
"""How many slots from each on are free."""


@dataclass(frozen=True, slots=True)
class Quota:
    """GPUs that the namespaces in a scope may use at the same time."""

    gpus: int
    covers: Callable[[str], bool]
    """Whether a namespace counts against it."""


@dataclass(slots=True, eq=False)
class Capacity:
    """Free GPUs, shape (rows, slots): first a row for each pool, then one for each quota."""

    free: IntArray

    def runs(self, rows: IntArray, gpus: IntArray) -> Runs:
        """For each row and slot, how many slots from there on have `gpus` free; shape (rows, slots)."""
        return runs(self.free[rows], gpus[:, None])

    def take(self, rows: Iterable[int], gpus: int, first: int, end: int) -> None:
        """Reserve GPUs; a negative number gives them back."""
        for row in rows:
            self.free[row, first:end] -= gpus


def runs(free: IntArray | npt.NDArray[np.int32], gpus: int | IntArray) -> Runs:
    """From each slot on, how many slots have `gpus` free; any shape (..., slots)."""
    slots = free.shape[-1]
    index = np.arange(slots, dtype=np.int32)
    blocked = np.where(free < gpus, index, np.int32(slots))
    found: Runs = np.minimum.accumulate(blocked[..., ::-1], axis=-1)[..., ::-1] - index
    return found


def capacity_of(snapshot: Snapshot, options: Options, line: Timeline, quotas: Sequence[Quota]) -> Capacity:
    """What pools have, less what is reserved and what others use there; quotas as given.

    GPUs that a spoke reports as taken and that no reservation explains belong to others; they are taken
    to stay so.
    """
    places = int(options.capacity_row.max(initial=-1)) + 1
    free = np.zeros((places + len(quotas), line.slots), dtype=np.int64)
    free[places:] = np.array([quota.gpus for quota in quotas], dtype=np.int64).reshape(-1, 1)
    row_of: dict[tuple[str, str], int] = {}
    for option in options.entries:
        row_of[option.cluster, option.pool.name] = option.capacity_row
        free[option.capacity_row] = option.pool.gpus
    capacity = Capacity(free)
    for reservation in snapshot.reservations:
        rows = [places + i for i, quota in enumerate(quotas) if quota.covers(reservation.namespace)]
        row = row_of.get((reservation.cluster, reservation.pool))
        if row is not None:
            rows.append(row)
        capacity.take(rows, reservation.gpus, *slots_of(reservation, line))
    for option in options.entries:
        _deduct_others(option.spoke.free_gpus, option.pool.name, free[option.capacity_row])
    return capacity


def _deduct_others(reported: Mapping[str, int] | None, pool: str, free: IntArray) -> None:
    """Bring a pool's row down to what its spoke reports as free now, in every slot."""
    seen = None if reported is None else reported.get(pool)
    if seen is not None:
        free -= max(0, int(free[0]) - seen)


def slots_of(reservation: Reservation, line: Timeline) -> tuple[int, int]:
    """The slots that a reservation touches, half-open and within the timeline.

    One that should have ended still holds its GPUs now.
    """
    first = max(0, line.minute(reservation.start) // line.slot_minutes)
    end = -(-line.minute_after(reservation.end) // line.slot_minutes)
    return min(first, line.slots), min(max(end, first + 1, 1), line.slots)


class CapacityRuns:
    """Runs of free slots for each number of GPUs that is asked for, over a capacity."""

    def __init__(self, capacity: Capacity, gpus: IntArray, biggest: int) -> None:
        """`gpus` are the numbers that jobs ask for, of any shape; those beyond the biggest pool count as one."""
        self._free = capacity.free
        self._gpus = np.unique(np.minimum(gpus, biggest + 1))
        rows, slots = capacity.free.shape
        self._most = int(self._gpus[self._gpus <= biggest].max(initial=1))
        self.version: list[int] = [0] * rows
        """Of each row: how often its runs have changed."""
        self.releases: list[int] = [0] * rows
        """Of each row: how often GPUs were given back, so that windows may have become better."""
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
            self.releases[row] += gpus < 0
            self._stale.add(row)

    def _renew(self, row: int) -> None:
        self._stale.discard(row)
        self._runs[:, row] = runs(self._free[row], self._gpus[:, None])
