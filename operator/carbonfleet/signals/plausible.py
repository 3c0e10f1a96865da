"""Whether an answer is like its zone: a value far outside a month of measurements is an error of data."""

from dataclasses import replace
from typing import Final

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.signals.chain import Measured
from carbonfleet.signals.reading import Reading, Reason, Rejection
from carbonfleet.signals.source import Batch, Feed

_FACTOR: Final = 4.0
"""Below a quarter of the lowest, or above four times the highest, of the last 28 days."""
_ENOUGH_HOURS: Final = 48
_MANY: Final = 6


def like_its_zone(batch: Batch, measured: Measured | None) -> Batch:
    """The batch without the readings that are unlike the zone's last 28 days; those stand as rejections.

    Marginal values jump between fuels and are left alone. Six dirty hours measured in one answer are
    believed: a grid may become dirtier. A suddenly clean one is not, for that is how broken data looks.
    Where most of an answer is unlike the zone, none of it is believed.
    """
    if measured is None or batch.ask.kind is SignalKind.MARGINAL:
        return batch
    known = measured.grams_per_kwh[np.isfinite(measured.grams_per_kwh)]
    if known.size < _ENOUGH_HOURS:
        return batch
    low, high = float(known.min()) / _FACTOR, float(known.max()) * _FACTOR
    dirty = sum(reading.value > high for reading in batch.readings)
    if dirty >= _MANY and batch.ask.feed is not Feed.FORECAST:
        high = float("inf")
    kept = tuple(reading for reading in batch.readings if low <= reading.value <= high)
    unlike = tuple(_rejection(r, low, high) for r in batch.readings if not low <= r.value <= high)
    if 2 * len(unlike) > len(batch.readings):
        kept = ()
    return replace(batch, readings=kept, rejected=batch.rejected + unlike)


def _rejection(reading: Reading, low: float, high: float) -> Rejection:
    why = f"unlike the last 28 days of the zone: not in {low:.3g} to {high:.3g} {reading.unit}"
    return Rejection(reading.zone, reading.start.isoformat(), f"{reading.value:g}", Reason.UNLIKE_ZONE, why)
