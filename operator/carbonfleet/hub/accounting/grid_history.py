"""The grid's past as the ledger needs it: what signals knows, or what it can still find out."""

from datetime import datetime, timedelta
from typing import Final

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.ledger.emissions import Intensities
from carbonfleet.signals import Reading, Signals

_AT_ONCE: Final = timedelta(days=7)
"""Providers limit a past range; Electricity Maps to ten days."""


class KnownPast:
    """What zones emitted, as signals knows it."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals

    def __call__(self, zone: str, kind: SignalKind, start: datetime, end: datetime) -> Intensities | None:
        """The intensities over [start, end); None when nothing is known of it."""
        return _intensities(self._signals.intensities(zone, kind, start, end), start, end)


class FinalPast:
    """The same after asking the sources again. May take as long as they do."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals

    def __call__(self, zone: str, kind: SignalKind, start: datetime, end: datetime) -> Intensities | None:
        """The intensities over [start, end); None when nothing is known of it."""
        first = start
        while first < end:
            self._signals.settle(zone, kind, first, min(first + _AT_ONCE, end))
            first += _AT_ONCE
        return _intensities(self._signals.intensities(zone, kind, start, end), start, end)


def _intensities(readings: tuple[Reading, ...], start: datetime, end: datetime) -> Intensities | None:
    if not readings:
        return None
    first, step = readings[0].start, readings[0].step
    slots = int((readings[-1].start - first) / step) + 1
    held = np.full(slots, np.nan)
    for reading in readings:
        held[int((reading.start - first) / step)] = reading.value
    whole = len(readings) == slots and first <= start and readings[-1].end >= end
    settled = whole and all(reading.settled for reading in readings)
    return Intensities(readings[0].zone, first, step, _filled(held), _said(readings, start, end), settled)


def _said(readings: tuple[Reading, ...], start: datetime, end: datetime) -> str:
    """Whose values they are, and how much of the time has none that is believed."""
    known = sum((min(each.end, end) - max(each.start, start) for each in readings), timedelta(0))
    missing = (end - start - known) / timedelta(hours=1)
    of = ", ".join(sorted({each.source for each in readings}))
    return f"{of}; {missing:.2g} h unknown or in doubt, as those beside them" if missing > 0 else of


def _filled(values: np.ndarray) -> np.ndarray:
    """An hour that nobody measured is taken as the one before it."""
    known = np.where(np.isnan(values), 0, np.arange(values.size))
    filled: np.ndarray = values[np.maximum.accumulate(known)]
    return filled
