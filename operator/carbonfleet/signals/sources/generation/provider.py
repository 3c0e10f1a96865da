"""A provider of generation by fuel as a source of carbon intensities."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final, Protocol

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.http import JsonClient
from carbonfleet.signals.reading import HOUR, Kind
from carbonfleet.signals.source import (
    Ask,
    Batch,
    Feed,
    Finding,
    MistrustedError,
    NoDataError,
    UnknownZoneError,
    tried,
)
from carbonfleet.signals.sources.generation.mix import KINDS, Fuel, mix_intensity
from carbonfleet.signals.validation import Frame, Point, validate

SETTLED_AFTER: Final = timedelta(days=2)
"""Reports of the last days are still completed and corrected."""
HIGHEST_MEGAWATTS: Final = 10_000_000.0
"""Far above any country's output."""
FINEST_STEP: Final = timedelta(minutes=5)
CONTEXT: Final = timedelta(days=7)
"""An answer of so much at least shows which fuels matter in a zone: one that is late would not be missed in a day."""


@dataclass(slots=True)
class FuelSamples:
    """What each fuel gave in slots of one length; several values of a fuel and slot add up."""

    step: timedelta
    values: dict[Fuel, dict[datetime, float]] = field(default_factory=dict)
    spoilt: set[datetime] = field(default_factory=set)
    """Slots of which a value could not be read: what it was nobody knows, so nothing is known of their mix."""

    def add(self, fuel: Fuel, start: datetime, value: object) -> None:
        """One value, in the provider's unit; None is one that is still to come."""
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= HIGHEST_MEGAWATTS:
            self.spoilt.add(start)
            return
        series = self.values.setdefault(fuel, {})
        series[start] = series.get(start, 0.0) + float(value)

    def intensities(self, kind: SignalKind) -> tuple[tuple[datetime, float | None], ...]:
        """By slot, ascending: g/kWh, or None where the mix is not known well enough."""
        starts = sorted({start for series in self.values.values() for start in series} | self.spoilt)
        energy = {
            fuel: np.array([series.get(start, np.nan) for start in starts]) for fuel, series in self.values.items()
        }
        grams = mix_intensity(energy, kind) if energy else np.full(len(starts), np.nan)
        return tuple(
            (start, float(value) if np.isfinite(value) and start not in self.spoilt else None)
            for start, value in zip(starts, grams, strict=True)
        )


class MixProvider(Protocol):
    """One provider's server: what it calls a zone, and what was made there."""

    name: str
    licence: str
    client: JsonClient

    def place(self, zone: str) -> str | None:
        """Its own name of the zone; None where it has none."""
        ...

    def samples(self, place: str, start: datetime, end: datetime) -> FuelSamples:
        """What was made over [start, end), or the newest part of it. Raises SourceError."""
        ...


class MixSource:
    """Measured and past intensities from a provider's mixes; forecasts of them are our own."""

    remote = True
    longest_past = timedelta(days=62)
    """All of them answer so much at once, and some allow few requests."""

    def __init__(self, provider: MixProvider) -> None:
        self.name = provider.name
        self._provider = provider

    def offers(self, zone: str, kind: Kind, feed: Feed) -> bool:
        """Averages, lifecycle and direct, of the zones that the provider names."""
        return kind in KINDS and feed in (Feed.MEASURED, Feed.PAST) and self._provider.place(zone) is not None

    def fetch(self, ask: Ask, now: datetime) -> Batch:
        """One or few requests. Raises SourceError."""
        place = self._provider.place(ask.zone)
        if place is None or not isinstance(ask.kind, SignalKind) or ask.kind not in KINDS:
            raise UnknownZoneError(f"{self.name} has no {ask.kind.value} mix of {ask.zone}")
        end = min(ask.end, now)
        samples = self._provider.samples(place, min(ask.start, end - CONTEXT), end)
        return mix_batch(self.name, samples, ask, now)

    def check(self, zones: Collection[str], now: datetime) -> tuple[Finding, ...]:
        """The last day of each zone that is among the provider's; another source may have the others."""
        return tried(self, zones, now, self._provider.client, f"without imports; {self._provider.licence}")


def mix_batch(name: str, samples: FuelSamples, ask: Ask, now: datetime) -> Batch:
    """The answer to `ask` from what each fuel gave. Raises NoDataError where no slot is known."""
    if not isinstance(ask.kind, SignalKind):
        raise NoDataError(f"{name} has no {ask.kind.value}")
    points = [
        Point(start.astimezone(UTC).isoformat(), grams, settled=start < now - SETTLED_AFTER)
        for start, grams in samples.intensities(ask.kind)
        if ask.start - samples.step < start < ask.end
    ]
    readings, rejected = validate(points, Frame(ask, name, samples.step, now))
    if not readings:
        why = f"; the first: {rejected[0]}" if rejected else ""
        raise NoDataError(f"{name} gave no whole mix of {ask.zone}{why}")
    return Batch(ask, name, now, now, readings, rejected)


def one_step(starts: Sequence[datetime], name: str) -> timedelta:
    """How far apart slots lie: the least distance. Raises MistrustedError where that is none that fits an hour."""
    ordered = sorted(set(starts))
    step = min((after - before for before, after in pairwise(ordered)), default=HOUR)
    if not FINEST_STEP <= step <= HOUR or HOUR % step:
        raise MistrustedError(f"{name} answered in steps of {step}, which no hour is a multiple of")
    return step
