"""Free GPUs over time: of each pool, and of each quota that policies set."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carbonfleet.placement.grid import IntArray, Timeline
from carbonfleet.placement.lanes import Lanes
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


def capacity_of(snapshot: Snapshot, lanes: Lanes, line: Timeline, quotas: Sequence[Quota]) -> Capacity:
    """What pools have, less what is reserved and what others use there; quotas as given.

    GPUs that a spoke reports as taken and that no reservation explains belong to others; they are taken
    to stay so.
    """
    places = int(lanes.place.max(initial=-1)) + 1
    free = np.zeros((places + len(quotas), line.slots), dtype=np.int64)
    free[places:] = np.array([quota.gpus for quota in quotas], dtype=np.int64).reshape(-1, 1)
    row_of: dict[tuple[str, str], int] = {}
    for lane in lanes.lanes:
        row_of[lane.cluster, lane.pool.name] = lane.place
        free[lane.place] = lane.pool.gpus
    capacity = Capacity(free)
    for reservation in snapshot.reservations:
        rows = [places + i for i, quota in enumerate(quotas) if quota.covers(reservation.namespace)]
        row = row_of.get((reservation.cluster, reservation.pool))
        if row is not None:
            rows.append(row)
        capacity.take(rows, reservation.gpus, *slots_of(reservation, line))
    for lane in lanes.lanes:
        _deduct_others(lane.spoke.free_gpus, lane.pool.name, free[lane.place])
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
