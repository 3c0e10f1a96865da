"""Energy over an attempt from the readings of a meter, which may have gaps, jumps and strangers among them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from carbonfleet.ledger.emissions.account import EnergyUse

Sample = tuple[datetime, float]
"""A moment, and the kWh that were used from the attempt's start until then."""


@dataclass(frozen=True, slots=True, eq=False)
class MeteredUse:
    """Energy over an attempt, and how much of it the meter never saw."""

    use: EnergyUse
    filled_kwh: float
    """Taken from an estimate: after the last sample, where no total was reported."""


def metered_use(
    start: datetime, end: datetime, samples: Iterable[Sample], total_kwh: float | None, estimated_kw: float
) -> MeteredUse | None:
    """Energy over [start, end]; None when the meter said nothing of it.

    Between two samples power is taken as constant: the meter counts, so a gap hides when energy was used,
    not how much. A count that falls below its half is a meter that began anew, and what it counts from there is
    added; one that falls by less is noise.
    Samples before the start are dropped; the first one after the end gives the count at the end. Without
    one, and without a total, the rest is filled with `estimated_kw`.
    """
    points = _risen(sorted(sample for sample in set(samples) if sample[0] > start))
    inside = [point for point in points if point[0] < end]
    beyond = next((point for point in points if point[0] >= end), None)
    before = inside[-1] if inside else (start, 0.0)
    filled = 0.0
    if total_kwh is not None:
        last = max(total_kwh, before[1])
    elif beyond is not None:
        share = (end - before[0]) / (beyond[0] - before[0])
        last = before[1] + share * (beyond[1] - before[1])
    elif inside:
        filled = estimated_kw * (end - before[0]).total_seconds() / 3600
        last = before[1] + filled
    else:
        return None
    times = [start, *(at for at, _ in inside), end]
    kwh = [0.0, *(count for _, count in inside), last]
    return MeteredUse(EnergyUse(np.array([at.timestamp() for at in times]), np.array(kwh)), filled)


def _risen(samples: list[Sample]) -> list[Sample]:
    """A count that never falls: on from where the meter began anew, level where it merely wavers."""
    at_once = dict(samples)  # Sorted, so of two counts of one moment the higher one stays.
    risen: list[Sample] = []
    carried, before = 0.0, 0.0
    for at, count in at_once.items():
        if count < before / 2:
            carried = risen[-1][1]
        before = count
        risen.append((at, max(carried + count, risen[-1][1] if risen else 0.0)))
    return risen
