"""The cheapest way to cut a run into segments: for each lane the best of all cuts, many lanes at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from carbonfleet.placement.rules import BoolArray
from carbonfleet.placement.snapshot import FloatArray

MOST_CELLS: Final = 2_000_000
"""Of a table of costs: more rows than fit are solved one part after the other."""


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

    @property
    def needs(self) -> tuple[int, ...]:
        """Whole slots that the lengths touch."""
        return tuple(int(np.ceil(length - 1e-9)) for length in self.slots)


@dataclass(frozen=True, slots=True)
class Found:
    """Segments as half-open slots, and the cost of all of them; the last slot counts for its part."""

    cost: float
    segments: tuple[tuple[int, int], ...]


def cheapest_cut(cost: FloatArray, free: BoolArray, cut: Cut) -> Found | None:
    """The segments with the least cost; of equal ones those that end first. None if there are none.

    `cost` and `free` have shape (slots,): what running in a slot costs, and whether it is free.
    """
    return next(cheapest_cuts(cost[None], free[None], cut))


def cheapest_cuts(cost: FloatArray, free: BoolArray, cut: Cut) -> Iterator[Found | None]:
    """`cheapest_cut` for each row of arrays of shape (rows, slots)."""
    together = max(1, MOST_CELLS // (len(cut.slots) * max(cut.needs) * (cost.shape[1] + 1)))
    for begin in range(0, cost.shape[0], together):
        part = slice(begin, begin + together)
        table = _Table(cost[part], free[part], cut)
        yield from (table.best(row) for row in range(table.rows))


class _Table:
    """The least cost of each state, by dynamic programming: exact.

    A state is (parts begun, slots done, time), with the time as a boundary of slots; all times and rows at once.
    Of a run, `running` is the cost where it runs on at that time, `paused` where it has ended before it.
    """

    def __init__(self, cost: FloatArray, free: BoolArray, cut: Cut) -> None:
        self._cost, self._cut, self._needs = cost, cut, cut.needs
        self.rows, self._slots = cost.shape
        self._length = min(cut.minimum_run, max(self._needs))
        self._step = np.where(free, cost, np.inf)
        self._begin = self._first_runs(free)
        shape = self.rows, self._slots + 1
        waiting = np.where(np.arange(self._slots + 1) <= cut.latest_begin, 0.0, np.inf)
        self._never = np.full(shape, np.inf)
        self._paused = [{0: self._never if cut.is_running else np.broadcast_to(waiting, shape)}]
        self._began: list[dict[int, BoolArray]] = [{}]
        self._ends: list[FloatArray] = []
        """For each number of parts: the cost of a run that ends at each time, shape (rows, slots)."""
        for need, length in zip(self._needs, cut.slots, strict=True):
            self._add_part(need, need - length)

    def _first_runs(self, free: BoolArray) -> FloatArray:
        """By the time of its end, what the least run costs with which a segment begins."""
        total = np.zeros((self.rows, self._slots + 1))
        np.cumsum(np.where(free, self._cost, 0), axis=1, out=total[:, 1:])
        taken = np.zeros((self.rows, self._slots + 1), dtype=np.int64)
        np.cumsum(~free, axis=1, out=taken[:, 1:])
        length, runs = self._length, np.full(total.shape, np.inf)
        if length <= self._slots:
            clear = taken[:, length:] == taken[:, :-length]
            runs[:, length:] = np.where(clear, total[:, length:] - total[:, :-length], np.inf)
        return runs

    def _add_part(self, need: int, unused: float) -> None:
        """The states with one part more than so far."""
        before, most = self._paused[-1], max(self._needs)
        paused: dict[int, FloatArray] = {}
        began: dict[int, BoolArray] = {}
        end = running = self._running_already() if len(self._paused) == 1 else self._never
        for done in range(most + 1):
            if done:
                running, begun = self._step_on(running, before.get(done - self._length))
                began |= {done: begun} if begun is not None else {}
            if done <= most - self._length:
                paused[done] = _after(running)
            if done == need:
                end = running
        self._paused.append(paused)
        self._began.append(began)
        self._ends.append(end[:, 1:] - unused * self._cost)

    def _running_already(self) -> FloatArray:
        running = self._never.copy()
        if self._cut.is_running:
            running[:, 0] = 0
        return running

    def _step_on(self, running: FloatArray, paused: FloatArray | None) -> tuple[FloatArray, BoolArray | None]:
        """One slot more: by running on, or by beginning; and where the latter is less."""
        on = self._never.copy()
        np.add(running[:, :-1], self._step, out=on[:, 1:])
        if paused is None:
            return on, None
        begun = self._begin.copy()
        begun[:, self._length :] += paused[:, : -self._length]
        is_begun = begun < on
        return np.minimum(on, begun, out=on), is_begun

    def best(self, row: int) -> Found | None:
        """The best run in a row: the least cost, then the first end, then the fewest parts."""
        ends = np.array([end[row] for end in self._ends])
        slot, parts = divmod(int(ends.T.argmin()), len(self._ends))
        cost = float(ends[parts, slot])
        if not np.isfinite(cost):
            return None
        return Found(cost, self._segments(row, parts + 1, slot + 1))

    def _segments(self, row: int, parts: int, end: int) -> tuple[tuple[int, int], ...]:
        """Follow the best run from its end to its begin."""
        done, found = self._needs[parts - 1], []
        while parts:
            time = end
            while time and not ((begun := self._began[parts].get(done)) is not None and begun[row, time]):
                time, done = time - 1, done - 1
            if not time:  # it ran already
                found.append((0, end))
                break
            begin, done, parts = time - self._length, done - self._length, parts - 1
            found.append((begin, end))
            if parts:
                waited = self._paused[parts][done][row, : begin + 1]
                end = int((waited == waited[begin]).argmax()) - 1
        return tuple((begin, end) for begin, end in reversed(found) if begin < end)


def _after(running: FloatArray) -> FloatArray:
    """By time, the least cost of a run that ended at an earlier one."""
    paused = np.full(running.shape, np.inf)
    np.minimum.accumulate(running[:, :-1], axis=1, out=paused[:, 1:])
    return paused
