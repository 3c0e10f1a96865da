"""Which windows are worth their wait: a later start must save so much of the best start at once for each hour."""

from typing import TypeVar

import numpy as np

from carbonfleet.placement.rules import BoolArray
from carbonfleet.placement.snapshot import FloatArray

Delay = TypeVar("Delay", float, FloatArray)
"""By how many starts, or shares of one, a window comes later."""


def worth_waiting(scores: FloatArray, usable: BoolArray, gain: float) -> BoolArray:
    """Of the usable windows, those at the first start that has any, and the later ones that save enough.

    Arrays have shape (lanes, starts). `gain` is the share of the best score at that first start that a window must save
    for each start that it comes later; 0 asks for nothing.
    """
    first = first_usable(usable)
    if not gain or first < 0:
        return usable
    reference = float(np.where(usable[:, first], scores[:, first], np.inf).min())
    most = most_score(reference, gain, np.arange(usable.shape[1], dtype=np.float64) - first)
    most[first] = np.inf
    return usable & (scores <= most)


def first_usable(usable: BoolArray) -> int:
    """The first start that is usable on any lane; -1 where none is."""
    starts = usable.any(axis=0)
    return int(starts.argmax()) if starts.any() else -1


def most_score(reference: float, gain: float, later: Delay) -> Delay:
    """The greatest score that is worth a delay, beside the best score at once."""
    return reference - abs(reference) * (gain * later)


def least(scores: FloatArray, usable: BoolArray) -> tuple[float, int, int] | None:
    """Score, start and lane of the best usable window: of equal ones the earliest, then the first lane."""
    if not usable.any():
        return None
    masked = np.where(usable, scores, np.inf)
    start = int(masked.min(axis=0).argmin())
    lane = int(masked[:, start].argmin())
    return float(masked[lane, start]), start, lane
