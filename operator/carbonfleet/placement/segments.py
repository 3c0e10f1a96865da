"""The cheapest way to cut a run into segments: a shortest path over slots, for a few lanes at once."""

from dataclasses import dataclass

import numpy as np

from carbonfleet.placement.rules import BoolArray
from carbonfleet.placement.snapshot import FloatArray


@dataclass(frozen=True, slots=True)
class Cut:
    """What a run that may be interrupted asks for, in slots."""

    slots: tuple[float, ...]
    """Length with one segment, two, ...: each pause adds its overhead. The last slot may be a part."""
    minimum_run: int
    latest_begin: int
    """The last slot in which the first segment may begin."""
    is_running: bool = False
    """It runs already: the first segment goes on from slot 0 without a begin."""


@dataclass(frozen=True, slots=True)
class Found:
    """Segments as half-open slots, and the cost of all of them; the last slot counts for its part."""

    row: int
    cost: float
    segments: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Backpointers: how the best way to a state came about. Arrays of shape (slots + 1, rows, parts, done)."""

    began: BoolArray
    """The run up to here began `minimum_run` slots ago, and was not extended."""
    stopped: BoolArray
    """The pause up to here began one slot ago."""


def cheapest_cut(cost: FloatArray, free: BoolArray, cut: Cut) -> Found | None:
    """The segments with the least cost on the best row; None if there is none.

    `cost` and `free` have shape (rows, slots): what running in a slot costs, and whether it is free.
    Exact: dynamic programming over (slot, segments so far, slots done, running or paused).
    """
    needs = [int(np.ceil(length - 1e-9)) for length in cut.slots]
    state = _Walk(cost, free, cut, max(needs))
    best: tuple[float, int, int, int] | None = None
    for slot in range(cost.shape[1] + 1):
        ended = _ended(state, slot, cost, cut, needs)
        if ended is not None and (best is None or ended < best):
            best = ended
        if slot < cost.shape[1]:
            state.step(slot)
    return None if best is None else _trace(state.table, best, cut, needs)


def _ended(
    state: "_Walk", slot: int, cost: FloatArray, cut: Cut, needs: list[int]
) -> tuple[float, int, int, int] | None:
    """The best run that ends at a slot: cost, slot, parts, row."""
    if slot == 0:
        return None
    best = None
    for parts, (length, need) in enumerate(zip(cut.slots, needs, strict=True), start=1):
        unused = need - length
        total = state.running[:, parts, need] - unused * cost[:, slot - 1]
        row = int(total.argmin())
        if np.isfinite(total[row]) and (best is None or total[row] < best[0]):
            best = (float(total[row]), slot, parts, row)
    return best


class _Walk:
    """The least cost of each state at the present slot, arrays of shape (rows, parts, done)."""

    def __init__(self, cost: FloatArray, free: BoolArray, cut: Cut, most: int) -> None:
        rows, slots = cost.shape
        shape = rows, len(cut.slots) + 1, most + 1
        self._cost, self._free, self._cut = np.where(free, cost, np.inf), free, cut
        self._total = np.concatenate([np.zeros((rows, 1)), np.cumsum(np.where(free, cost, 0), axis=1)], axis=1)
        index = np.arange(slots)
        blocked = np.where(free, slots, index)
        self._room = np.minimum.accumulate(blocked[:, ::-1], axis=1)[:, ::-1] - index
        self.running, self._paused = np.full(shape, np.inf), np.full(shape, np.inf)
        if cut.is_running:
            self.running[:, 1, 0] = 0
        else:
            self._paused[:, 0, 0] = 0
        self._begun: dict[int, FloatArray] = {}
        self.table = _Table(np.zeros((slots + 1, *shape), np.bool_), np.zeros((slots + 1, *shape), np.bool_))

    def step(self, slot: int) -> None:
        """From the begin of a slot to its end: run on, begin, stop or stay paused."""
        self._begin(slot)
        on = np.full_like(self.running, np.inf)
        on[:, :, 1:] = self.running[:, :, :-1] + self._cost[:, slot, None, None]
        begun = self._begun.pop(slot + 1, None)
        if begun is not None:
            np.less(begun, on, out=self.table.began[slot + 1])
            np.minimum(on, begun, out=on)
        np.less(self.running, self._paused, out=self.table.stopped[slot + 1])
        self._paused = np.minimum(self._paused, self.running)
        if slot >= self._cut.latest_begin:
            self._paused[:, 0] = np.inf
        self.running = on

    def _begin(self, slot: int) -> None:
        """Begin a segment, which lasts the minimum run at least, or what is left to do."""
        for length in self._lengths():
            if slot + length >= self.table.began.shape[0]:
                continue
            open_rows = self._room[:, slot] >= length
            if not open_rows.any():
                continue
            price = np.where(open_rows, self._total[:, slot + length] - self._total[:, slot], np.inf)
            begun = self._begun.setdefault(slot + length, np.full_like(self.running, np.inf))
            ahead = np.full_like(begun, np.inf)
            ahead[:, 1:, length:] = self._paused[:, :-1, :-length] + price[:, None, None]
            np.minimum(begun, ahead, out=begun)

    def _lengths(self) -> tuple[int, ...]:
        return (min(self._cut.minimum_run, self.running.shape[2] - 1),)


def _trace(table: _Table, best: tuple[float, int, int, int], cut: Cut, needs: list[int]) -> Found:
    """Follow the backpointers from the end to the begin."""
    cost, slot, parts, row = best
    done, end = needs[parts - 1], slot
    length = min(cut.minimum_run, table.began.shape[3] - 1)
    segments = []
    while True:
        if table.began[slot, row, parts, done]:
            slot, done = slot - length, done - length
            segments.append((slot, end))
            parts -= 1
            if parts == 0:
                break
            while not table.stopped[slot, row, parts, done]:
                slot -= 1
            slot -= 1
            end = slot
        elif slot == 0:
            segments.append((0, end))
            break
        else:
            slot, done = slot - 1, done - 1
    return Found(row, cost, tuple(reversed([segment for segment in segments if segment[0] < segment[1]])))
