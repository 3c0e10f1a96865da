"""The cheapest way to cut a run into segments: for each option the best of all cuts, many options at once.

Dynamic programming over (segments begun, slots done, time). All segments, times and options are arrays, so that the
only loop is over the slots done. A run that has done d slots by time t has idled for t - d of them, at most as many
as the time that is free has more than the run needs: states are kept by that, and are few where a run can hardly wait.
It costs segments x slots of the run x slots that it may idle, for each option. Where that is more than is worth
spending, slots are taken together: that finds good cuts, if not always the best.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from carbonfleet.placement.inputs import BoolArray
from carbonfleet.placement.snapshot import FloatArray

MOST_STATES: Final = 40_000_000
"""Spent on one question, whatever it asks for: some tenths of a second."""
STATES_AT_ONCE: Final = 4_000_000
"""Kept in memory, at 9 bytes each: more options than fit are solved one part after the other."""
FEWEST: Final = 1_000
"""States that a step over all of them takes as long as at least."""


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
        return tuple(map(whole_slots, self.slots))

    def within(self, slots: int) -> "Cut":
        """Without pauses that so many slots have no time for: each idles a slot, and segments have a least length."""
        first = 0 if self.is_running else 1
        fits = [
            need + pauses <= slots and (pauses + first) * self.minimum_run <= need
            for pauses, need in enumerate(self.needs)
        ]
        most = max((pauses for pauses, fit in enumerate(fits) if fit), default=0)
        return replace(self, slots=self.slots[: most + 1])

    def by(self, together: int) -> "Cut":
        """The same in slots that are so many times as long; without unneeded slots no segment is too short."""
        lengths = tuple(length / together for length in self.slots)
        unneeded = (whole_slots(long) * together - need for long, need in zip(lengths, self.needs, strict=True))
        shortest = -(-(self.minimum_run + max(unneeded)) // together)
        return Cut(lengths, shortest, self.latest_begin // together, self.is_running)


def whole_slots(length: float) -> int:
    """How many slots a length touches."""
    return int(np.ceil(length - 1e-9))


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


def cheapest_cuts(
    cost: FloatArray, free: BoolArray, cut: Cut, most_states: int = MOST_STATES
) -> Iterator[Found | None]:
    """`cheapest_cut` for each row of arrays of shape (rows, slots): exact within so many states for all of them."""
    begin, end = span(free)
    begin = 0 if cut.is_running else begin
    shortest = min(cut.minimum_run, cut.needs[-1])
    cut = replace(cut, minimum_run=shortest, latest_begin=cut.latest_begin - begin).within(end - begin)
    cost, free = cost[:, begin:end], free[:, begin:end]
    if cut.needs[0] > end - begin:
        return iter([None] * cost.shape[0])
    return (one and _later(one, begin) for one in _solved(cost, free, cut, most_states))


def _solved(cost: FloatArray, free: BoolArray, cut: Cut, most_states: int) -> Iterable[Found | None]:
    if len(cut.slots) == 1:
        return unbroken(cost, free, cut)
    rows, slots = cost.shape
    together = _together(cut, rows, slots, most_states)
    return _exactly(cost, free, cut) if together == 1 else _roughly(cost, free, cut, together)


def unbroken(cost: FloatArray, free: BoolArray, cut: Cut) -> list[Found | None]:
    """Of each row the cheapest run without a pause, and of equal ones the first."""
    need, (rows, slots) = cut.needs[0], cost.shape
    begins = 1 if cut.is_running else min(slots - need, cut.latest_begin) + 1
    if begins <= 0 or need > slots or (need < cut.minimum_run and not cut.is_running):
        return [None] * rows
    totals = _running_totals(np.where(free, cost, 0.0)), _running_totals(~free)
    whole, taken = (total[:, need : need + begins] - total[:, :begins] for total in totals)
    last = cost[:, need - 1 : need - 1 + begins]
    costs = np.where(taken == 0, whole - (need - cut.slots[0]) * last, np.inf)
    best = costs.argmin(axis=1)
    least = costs[np.arange(rows), best].tolist()
    return [
        Found(one, ((begin, begin + need),)) if one < np.inf else None
        for one, begin in zip(least, best.tolist(), strict=True)
    ]


def _running_totals(values: FloatArray | BoolArray) -> FloatArray:
    total = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=total[:, 1:])
    return total


def span(free: BoolArray) -> tuple[int, int]:
    """The slots from the first to the last that is free in any row, half-open."""
    slots = np.flatnonzero(free.any(axis=0))
    return (int(slots[0]), int(slots[-1]) + 1) if slots.size else (0, 0)


def states_of(cut: Cut, slots: int) -> int:
    """How many states one row has, of so many slots. Steps of few states count as FEWEST."""
    return (cut.needs[-1] + 1) * max(FEWEST, len(cut.slots) * (slots - cut.needs[0] + 1))


def _together(cut: Cut, rows: int, slots: int, most_states: int) -> int:
    """How many slots to take together so that all states are so few: a power of two."""
    together = 1
    while together < slots:
        fewer = -(-slots // together)
        states = states_of(cut.by(together).within(fewer), fewer)
        if states <= STATES_AT_ONCE and rows * states <= most_states:
            break
        together *= 2
    return together


def _later(found: Found, slots: int) -> Found:
    return Found(found.cost, tuple((begin + slots, end + slots) for begin, end in found.segments))


def _exactly(cost: FloatArray, free: BoolArray, cut: Cut) -> Iterator[Found | None]:
    at_once = max(1, STATES_AT_ONCE // states_of(cut, cost.shape[1]))
    for begin in range(0, cost.shape[0], at_once):
        part = slice(begin, begin + at_once)
        yield from _Table(cost[part], free[part], cut).best()


def _roughly(cost: FloatArray, free: BoolArray, cut: Cut, together: int) -> Iterator[Found | None]:
    """The best cuts on slots that are taken together, or unbroken runs where these are better."""
    rows, slots = cost.shape
    shape = rows, -(-slots // together), together
    padding = ((0, 0), (0, shape[1] * together - slots))
    long_cost = np.pad(cost, padding).reshape(shape).sum(axis=2)
    long_free = np.logical_and.reduce(np.pad(free, padding).reshape(shape), axis=2)
    by = cut.by(together).within(shape[1])
    found = _exactly(long_cost, long_free, by) if by.needs[0] <= shape[1] else iter([None] * rows)
    whole = unbroken(cost, free, cut)
    for row, options in enumerate(zip(found, whole, strict=True)):
        known = [options[1], options[0] and _apart(options[0], together, cost[row], cut)]
        yield min((option for option in known if option is not None), key=lambda option: option.cost, default=None)


def _apart(found: Found, together: int, cost: FloatArray, cut: Cut) -> Found:
    """A cut of slots that were taken together, in single ones, of which those at its end may not be needed."""
    pieces = [(begin * together, end * together) for begin, end in found.segments]
    parts = len(pieces) + (cut.is_running and pieces[0][0] > 0)
    length = cut.slots[parts - 1]
    begin, _ = pieces.pop()
    left = whole_slots(length) - sum(end - begin for begin, end in pieces)
    pieces.append((begin, begin + left))
    used = sum(float(cost[begin:end].sum()) for begin, end in pieces)
    return Found(used - (whole_slots(length) - length) * float(cost[pieces[-1][1] - 1]), tuple(pieces))


class _Table:
    """The least cost of each state, for several rows: arrays of shape (slots done, rows, segments, slots idled).

    Of a run, `running` is the cost where it runs on at that time, `paused` where it has ended before it.
    """

    def __init__(self, cost: FloatArray, free: BoolArray, cut: Cut) -> None:
        self._cost, self._cut, self._needs = cost, cut, cut.needs
        self._rows, self._slots = cost.shape
        self._parts, self._most = len(self._needs), self._needs[-1]
        self._length = cut.minimum_run
        self._width = self._slots - self._needs[0] + 1
        shape = self._rows, self._parts, self._width
        beyond = np.full((self._rows, self._most), np.inf)
        self._step = np.concatenate([np.where(free, cost, np.inf), beyond], axis=1)[:, None]
        self._begin = np.concatenate([self._first_runs(free), beyond], axis=1)[:, None]
        self._began = np.zeros((self._most + 1, *shape), dtype=np.bool_)
        self._paused = np.empty((max(0, self._most - self._length + 1), *shape))
        self._ends = np.full((self._rows, self._slots + 1, self._parts), np.inf)
        self._fill(np.full(shape, np.inf))

    def _first_runs(self, free: BoolArray) -> FloatArray:
        """By the time of its end, what the least run costs with which a segment begins."""
        total, taken = _running_totals(np.where(free, self._cost, 0.0)), _running_totals(~free)
        length, runs = self._length, np.full(total.shape, np.inf)
        if length <= self._slots:
            clear = taken[:, length:] == taken[:, :-length]
            runs[:, length:] = np.where(clear, total[:, length:] - total[:, :-length], np.inf)
        return runs

    def _fill(self, running: FloatArray) -> None:
        """All states, by the slots done; `running` has shape (rows, segments, slots idled)."""
        is_running = self._cut.is_running
        if is_running:
            running[:, 0, 0] = 0
        ending = dict[int, list[int]]()
        for part, need in enumerate(self._needs):
            ending.setdefault(need, []).append(part)
        for done in range(self._most + 1):
            parts = min(self._parts, done // self._length + is_running)  # so many can have begun
            if done:
                self._step_on(running[:, :parts], done)
            if done <= self._most - self._length:
                paused = self._paused[done, :, :parts]
                paused[..., 0] = np.inf
                np.minimum.accumulate(running[:, :parts, :-1], axis=2, out=paused[..., 1:])
            for part in ending.get(done, ()):
                self._end(running[:, part], part)

    def _step_on(self, running: FloatArray, done: int) -> None:
        """One slot more: by running on, or by beginning, and where the latter is less."""
        times, before = slice(done, done + self._width), done - self._length
        running += self._step[:, :, done - 1 : done - 1 + self._width]
        if before < 0:
            return
        if not before and not self._cut.is_running:
            waits = np.arange(self._width) <= self._cut.latest_begin
            first = np.where(waits, self._begin[:, 0, times], np.inf)
            self._began[done, :, 0] = first < running[:, 0]
            np.minimum(running[:, 0], first, out=running[:, 0])
        parts = running.shape[1]
        begun = self._begin[:, :, times] + self._paused[before, :, : parts - 1]
        np.less(begun, running[:, 1:], out=self._began[done, :, 1:parts])
        np.minimum(running[:, 1:], begun, out=running[:, 1:])

    def _end(self, running: FloatArray, part: int) -> None:
        need = self._needs[part]
        unused, width = need - self._cut.slots[part], self._slots - need + 1
        self._ends[:, need:, part] = running[:, :width] - unused * self._cost[:, need - 1 :]

    def best(self) -> Iterator[Found | None]:
        """Of each row the best run: the least cost, then the first end, then the fewest segments."""
        ends = self._ends.reshape(self._rows, -1)
        for row, least in enumerate(ends.argmin(axis=1).tolist()):
            time, part = divmod(least, self._parts)
            cost = float(ends[row, least])
            yield Found(cost, self._segments(row, part, time)) if np.isfinite(cost) else None

    def _segments(self, row: int, part: int, end: int) -> tuple[tuple[int, int], ...]:
        """Follow the best run from its end to its begin."""
        done, found = self._needs[part], list[tuple[int, int]]()
        while part >= 0:
            idled = end - done
            begun = np.flatnonzero(self._began[: done + 1, row, part, idled])
            if not begun.size:  # it ran already
                found.append((0, end))
                break
            done = int(begun[-1]) - self._length
            found.append((done + idled, end))
            part -= 1
            if part >= 0:
                waited = self._paused[done, row, part, : idled + 1]
                end = done + int((waited == waited[idled]).argmax()) - 1
        return tuple((begin, end) for begin, end in reversed(found) if begin < end)
