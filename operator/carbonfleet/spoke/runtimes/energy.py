"""Energy over time: what a training says of its meter as it goes, gathered for the report."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Final

from carbonfleet.api.report import Energy, EnergyMethod, PowerSample

SHORTEST: Final = timedelta(minutes=5)
"""Between two samples that are kept: no grid is known in shorter steps."""
MOST: Final = 256
"""Samples of a long attempt lie further apart, so that there are no more than these."""


def joined(before: Energy | None, heard: Energy | None) -> Energy | None:
    """What is known of an attempt's energy with what was heard last; what was measured is never taken back."""
    if before is None or heard is None:
        return heard or before
    if heard.method is EnergyMethod.ESTIMATE:
        return before
    last = before.samples[-1].time if before.samples else None
    newer = tuple(sample for sample in heard.samples if last is None or sample.time > last)
    kwh = before.kwh if heard.kwh is None else heard.kwh
    host_kwh = before.host_kwh if heard.host_kwh is None else heard.host_kwh
    samples = thinned((*before.samples, *newer))
    return heard.model_copy(update={"kwh": kwh, "host_kwh": host_kwh, "samples": samples})


def thinned(samples: Sequence[PowerSample]) -> tuple[PowerSample, ...]:
    """The last sample of each stretch of time; also the one before a count that falls, for a meter began anew there.

    `samples` are in the order of time. The meter counts, so a sample less says less of when, not of how much.
    """
    if not samples:
        return ()
    span = samples[-1].time - samples[0].time
    stretch = SHORTEST
    while span > stretch * (MOST - 2):
        stretch *= 2
    kept = [
        one
        for one, after in pairwise(samples)
        if _number(one, stretch) != _number(after, stretch) or after.energy_kwh < one.energy_kwh
    ]
    return (*kept[1 - MOST :], samples[-1])


def _number(sample: PowerSample, stretch: timedelta) -> int:
    return int(sample.time.timestamp() // stretch.total_seconds())
