"""The option on which a run that may be cut costs least: branch and bound over options."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from carbonfleet.placement.inputs import BoolArray, IntArray
from carbonfleet.placement.search.choice import Choice
from carbonfleet.placement.search.interruptible.segments import (
    MOST_STATES,
    Cut,
    Found,
    cheapest_cut,
    cheapest_cuts,
    span,
    states_of,
)
from carbonfleet.placement.snapshot import FloatArray

OPTIONS_AT_ONCE: Final = 2
"""Options that are solved together, in the order of their bounds."""
PRICES: Final = (1.03, 1.0, 1.08, 1.15)
"""Of slots, for bounds: times the marginal one. Each pause costs, so that the best are a little above it."""
SAFETY: Final = 1 - 1e-6
"""Keeps a bound below what it bounds in spite of its 32 bits."""
BOUNDED: Final = 5
"""Segments that lower bounds tell apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    """What running in each slot would cost a job. Arrays of shape (options, slots) unless said otherwise."""

    score: FloatArray
    """USD for a full slot."""
    once: FloatArray
    """USD whatever the hours, shape (options,)."""
    free: BoolArray


def best_over(slots: Slots, cuts: Mapping[int, Cut], choice_at: Callable[[int, Found], Choice | None]) -> Choice | None:
    """The choice with the least score over the options that are asked for, and of equal ones the first.

    `choice_at` makes one of the best cut of an option, with the score `cost + once`; None where it is not allowed.
    Options come in the order of their bounds, until none that is left can be better. Each has a share of what may be
    spent, and those that come first have all that is left beside.
    """
    bounds, found = _Bounds.of(slots, cuts), None
    share, left = MOST_STATES // (2 * max(1, bounds.options.size)), MOST_STATES
    while bounds.options.size:
        now, bounds = bounds.parted(1 if found is None else OPTIONS_AT_ONCE)
        asked = {option: cuts[option] for option in now}
        most = left - share * bounds.options.size
        left -= min(most, sum(states_of(cut, slots.free.shape[1]) for cut in asked.values()))
        choices = [choice_at(option, cut) for option, cut in cheapest_on(slots, asked, most).items()]
        found = min(
            (choice for choice in (found, *choices) if choice is not None),
            key=lambda choice: (choice.score, choice.start, choice.option),
            default=None,
        )
        if found is not None:
            bounds = bounds.below(found.score)
    return found


def cheapest_on(slots: Slots, cuts: Mapping[int, Cut], most_states: int = MOST_STATES) -> dict[int, Found]:
    """By option, the best of the cuts that are asked for, where there is one.

    Options that ask for the same are solved together, and those that don't differ, as in one zone, only once.
    """
    alike: dict[Cut, dict[bytes, list[int]]] = {}
    for option, cut in cuts.items():
        row = slots.score[option].tobytes() + slots.free[option].tobytes()
        alike.setdefault(cut, {}).setdefault(row, []).append(option)
    share = most_states // max(1, sum(map(len, alike.values())))
    best: dict[int, Found] = {}
    for cut, rows in alike.items():
        options = [twins[0] for twins in rows.values()]
        found = _cheapest(slots.score[options], slots.free[options], cut, share * len(options))
        for twins, one in zip(rows.values(), found, strict=True):
            best |= dict.fromkeys(twins, one) if one is not None else {}
    return best


def _cheapest(score: FloatArray, free: BoolArray, cut: Cut, most_states: int) -> Iterable[Found | None]:
    """The best cut of each row."""
    if not pauses_are_free(cut):
        return cheapest_cuts(score, free, cut, most_states)
    return [cheapest_slots(*row, cut) or cheapest_cut(*row, cut) for row in zip(score, free, strict=True)]


def pauses_are_free(cut: Cut) -> bool:
    """Whether any slots will do."""
    need = round(cut.slots[0])
    costly = cut.slots[-1] != cut.slots[0] or cut.minimum_run > 1 or cut.is_running
    return not costly and abs(cut.slots[0] - need) <= 1e-9 and len(cut.slots) >= need


def cheapest_slots(score: FloatArray, free: BoolArray, cut: Cut) -> Found | None:
    """The cheapest slots, where pauses are free. None where that is not so simple."""
    need = round(cut.slots[0])
    if free.sum() < need:
        return None
    chosen = np.sort(np.argsort(np.where(free, score, np.inf), kind="stable")[:need])
    if chosen[0] > cut.latest_begin:
        return None
    breaks = np.flatnonzero(np.diff(chosen) > 1) + 1
    parts = [(int(part[0]), int(part[-1]) + 1) for part in np.split(chosen, breaks)]
    return Found(float(score[chosen].sum()), tuple(parts))


@dataclass(frozen=True, slots=True, eq=False)
class _Bounds:
    """Options that may hold the best cut, and lower bounds on its score there: arrays of shape (options, ...)."""

    options: IntArray
    least: FloatArray
    lengths: FloatArray
    """In slots, by segments."""
    marginal: FloatArray
    """What the dearest slot costs of a run that may pause at will."""
    seen: slice
    """Slots from the first to the last that is free on any option."""
    slots: Slots
    """Of all options."""
    loosest: Cut
    """The least run and the last begin that one of the options allows."""
    prices: tuple[float, ...] = PRICES

    @classmethod
    def of(cls, slots: Slots, cuts: Mapping[int, Cut]) -> "_Bounds":
        """At first, a run costs what so much of the cheapest free slots does, wherever they are."""
        options, asked = np.array(list(cuts), dtype=np.int64), list(cuts.values())
        first, last = span(slots.free[options])
        score, free = slots.score[options, first:last], slots.free[options, first:last]
        lengths = lengths_of(asked)
        cost = np.sort(np.where(free, score, np.inf).astype(np.float32), axis=1)  # far quicker than in 64 bits
        share = np.clip(lengths[:, :1] - np.arange(last - first), 0, 1)
        total = np.multiply(cost, share, out=np.zeros(share.shape), where=share > 0).sum(axis=1) * SAFETY
        dearest = np.maximum((share > 0).sum(axis=1) - 1, 0)
        bounds = cls(
            options=options,
            least=total + slots.once[options],
            lengths=lengths,
            marginal=cost[np.arange(options.size), dearest].astype(np.float64),
            seen=slice(first, last),
            slots=slots,
            loosest=Cut(
                (),
                min((cut.minimum_run for cut in asked), default=1),
                max((cut.latest_begin for cut in asked), default=0) - first,
            ),
        )
        return bounds.rows(np.flatnonzero(np.isfinite(bounds.least)))

    def rows(self, rows: IntArray) -> "_Bounds":
        """Of some of the options."""
        return replace(
            self,
            options=self.options[rows],
            least=self.least[rows],
            lengths=self.lengths[rows],
            marginal=self.marginal[rows],
        )

    def parted(self, count: int) -> tuple[list[int], "_Bounds"]:
        """The options that promise most, with those that promise the same, and the others."""
        order = np.argsort(self.least, kind="stable")
        count = int((self.least <= self.least[order[:count][-1]]).sum())
        return self.options[order[:count]].tolist(), self.rows(order[count:])

    def below(self, most: float) -> "_Bounds":
        """The options that may have so small a score, each price leaving fewer to the next."""
        left, slots = self.rows(np.flatnonzero(self.least <= most)), self.slots
        for price in self.prices:
            if not left.options.size:
                break
            score, free = slots.score[left.options, self.seen], slots.free[left.options, self.seen]
            found = least_costs(score, free, left.lengths, self.loosest, price * left.marginal)
            found += slots.once[left.options]
            can = np.flatnonzero(found <= most)
            left = replace(left.rows(can), least=np.maximum(left.least, found)[can])
        return replace(left, prices=())


def lengths_of(cuts: Sequence[Cut]) -> FloatArray:
    """Lengths in slots by segments, shape (cuts, BOUNDED + 1); infinite where a cut has no more pauses."""
    return np.array(
        [[*cut.slots[: BOUNDED + 1], *[np.inf] * (BOUNDED + 1 - len(cut.slots))] for cut in cuts], dtype=np.float64
    ).reshape(-1, BOUNDED + 1)


def least_costs(cost: FloatArray, free: BoolArray, lengths: FloatArray, loosest: Cut, prices: FloatArray) -> FloatArray:
    """Lower bounds on the costs of cuts, one for each row, by Lagrangian relaxation; shape (rows,).

    `lengths` are those of the rows, which all have at least the least run of the `loosest` cut and begin no later.
    Length is not asked for: each slot has a price, shape (rows,), that running in it saves, and what the whole
    length saves is added. That leaves (segments begun, time) as states. More segments than BOUNDED are not told
    apart from slots that are run in at will. Bounds are sharpest where the price is what a run's dearest slots cost.
    """
    rows, slots = cost.shape
    shortest, most = min(loosest.minimum_run, slots), float(cost.max(initial=0.0))
    prices = np.maximum(prices, 1e-300)  # so that infinite lengths are never paid for
    gain = np.where(free, cost, 8 * most) - prices[:, None]
    low, high, together = _envelope(gain, shortest)
    count = low.shape[1]
    # From the group of a segment's begin to that of its end; the last one's end may be a part of a slot earlier.
    apart, apart_at_end = shortest // together, (shortest - 1) // together
    paused = np.where(np.arange(count) * together <= loosest.latest_begin, 0.0, np.inf)
    least = np.minimum(gain, 0).sum(axis=1) + prices * lengths[:, BOUNDED]
    for part in range(int(np.isfinite(lengths[:, :BOUNDED]).any(axis=0).sum())):
        begun = np.minimum.accumulate(paused - high, axis=1)
        ended = begun[:, : count - apart_at_end] + low[:, apart_at_end:]
        np.minimum(least, ended.min(axis=1) + prices * lengths[:, part], out=least)
        paused = np.full((rows, count), np.inf)
        running = begun[:, : count - apart] + low[:, apart:]
        np.minimum.accumulate(running, axis=1, out=paused[:, apart:])
    bounds: FloatArray = least - 1e-9 * (np.abs(least) + most)
    return bounds


def _envelope(gain: FloatArray, shortest: int) -> tuple[FloatArray, FloatArray, int]:
    """The least and the greatest of the running total in groups of times, shape (rows, groups), and a group's size.

    That of half the shortest segment is hardly looser, and quicker than single times.
    """
    (rows, slots), together = gain.shape, max(1, min(shortest // 2, 4))
    total = np.empty((rows, -(-(slots + 1) // together) * together))
    total[:, 0] = 0
    np.cumsum(gain, axis=1, out=total[:, 1 : slots + 1])
    total[:, slots + 1 :] = total[:, slots : slots + 1]
    low = total[:, ::together].copy()
    high = low.copy()
    for time in range(1, together):
        np.minimum(low, total[:, time::together], out=low)
        np.maximum(high, total[:, time::together], out=high)
    return low, high, together
