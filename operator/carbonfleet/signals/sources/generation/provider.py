"""A provider of generation by fuel as a source of carbon intensities."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final, Protocol, TypeGuard

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.http import JsonClient
from carbonfleet.signals.reading import HOUR, Kind, Reason, RejectedValue
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
from carbonfleet.signals.sources.generation.mix import KINDS, Fuel, mix_intensity, most_rare
from carbonfleet.signals.validation import Frame, Point, shown, validate

SETTLED_AFTER: Final = timedelta(days=2)
"""Reports of the last days are still completed and corrected."""
HIGHEST_MEGAWATTS: Final = 10_000_000.0
"""Far above any country's output."""
FINEST_STEP: Final = timedelta(minutes=5)
CONTEXT: Final = timedelta(days=7)
"""An answer of so much at least shows which fuels matter in a zone: one that is late would not be missed in a day."""
REMEMBERED: Final = timedelta(days=2)
"""How long a series is missed that is in no answer any more: it may have another name, or its last plant has closed."""


@dataclass(frozen=True, slots=True)
class SeriesMean:
    """What a series of a place made on average, in the provider's unit, and when it was last told."""

    fuel: Fuel
    made: float
    newest: datetime


@dataclass(slots=True)
class FuelSamples:
    """What each of a provider's series (a fuel, or a part of one) made in slots of one length."""

    step: timedelta
    fuels: dict[str, Fuel] = field(default_factory=dict)
    """By the provider's name of the series."""
    values: dict[str, dict[datetime, float]] = field(default_factory=dict)
    """NaN is a value that can't be read."""
    lost: dict[str, str] = field(default_factory=dict)
    """Series that the answer names and nobody can read, or not all of it, and why."""
    usual: Mapping[str, SeriesMean] = field(default_factory=dict)
    """What the place's series made by earlier answers."""

    def add(self, name: str, fuel: Fuel, start: datetime | None, value: object) -> None:
        """One value of a series, in the provider's unit; None is one that is still to come. The first one holds."""
        self.fuels[name] = fuel
        series = self.values.setdefault(name, {})
        if value is None:
            return
        if start is None or not _is_output(value):
            self.lose(name, f"a value or a time that can't be read: {shown(value)}")
        if start is not None:
            series.setdefault(start, float(value) if _is_output(value) else math.nan)

    def lose(self, name: object, why: str) -> None:
        """A series, or a part of one, that can't be read."""
        self.lost.setdefault(shown(name), why)

    def intensities(self, kind: SignalKind) -> tuple[tuple[datetime, float | None], ...]:
        """By slot, ascending: g/kWh, or None where the mix is not known well enough.

        Where a series is silent, what it made by earlier answers tells whether it matters; where there are none, one
        that can't be read may be any.
        """
        starts = sorted({start for series in self.values.values() for start in series})
        names = sorted(self.values.keys() | self.lost.keys() | self.usual.keys())
        fuels = {name: each.fuel for name, each in self.usual.items()} | self.fuels
        given = [[self.values.get(name, {}).get(start, math.nan) for start in starts] for name in names]
        usual = np.array([self._usual(name) for name in names])
        grams = mix_intensity(
            [fuels.get(name, Fuel.OTHER) for name in names],
            np.array(given).reshape(len(names), len(starts)),
            kind,
            usual,
        )
        return tuple(
            (start, float(value) if np.isfinite(value) else None) for start, value in zip(starts, grams, strict=True)
        )

    def _usual(self, name: str) -> float:
        """What a series makes of which this answer says next to nothing."""
        if name in self.usual:
            return self.usual[name].made
        return math.inf if name in self.lost and not self.usual else 0.0

    def means(self) -> Mapping[str, SeriesMean]:
        """What each series makes, by this answer and, where it is silent, by those before it."""
        slots = len({start for series in self.values.values() for start in series})
        found = dict(self.usual)
        for name, series in self.values.items():
            known = {start: max(0.0, value) for start, value in series.items() if math.isfinite(value)}
            if len(known) > most_rare(slots):
                found[name] = SeriesMean(self.fuels[name], sum(known.values()) / len(known), max(known))
        return found


def _is_output(value: object) -> TypeGuard[float]:
    """Whether it is a number of megawatts that there may be."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= HIGHEST_MEGAWATTS


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
        self._means: dict[str, tuple[Mapping[str, SeriesMean], Mapping[str, SeriesMean]]] = {}
        """By place, of the last two good answers: what a series makes that both named and the next one does not."""

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
        if ask.feed is Feed.PAST:  # Other series may have been in use then.
            return mix_batch(self.name, samples, ask, now)
        before, last = self._means.get(place, ({}, {}))
        samples.usual = {name: each for name, each in last.items() if name in before and each.newest > now - REMEMBERED}
        batch = mix_batch(self.name, samples, ask, now)
        self._means[place] = last, samples.means()
        return batch

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
    lost = [RejectedValue(ask.zone, "series", series, Reason.UNREADABLE, why) for series, why in samples.lost.items()]
    rejected = (*lost, *rejected)
    if not readings:
        why = f"; the first: {rejected[0]}" if rejected else ""
        raise (MistrustedError if lost else NoDataError)(f"{name} gave no whole mix of {ask.zone}{why}")
    return Batch(ask, name, now, now, readings, rejected)


def one_step(starts: Iterable[datetime], name: str) -> timedelta:
    """How far apart slots lie: the distance of most, so that an odd time changes nothing. Raises MistrustedError where
    that is none that fits an hour.
    """
    apart = Counter(after - before for before, after in pairwise(sorted(set(starts))))
    step = max(apart, key=lambda each: (apart[each], -each), default=HOUR)
    if not FINEST_STEP <= step <= HOUR or HOUR % step:
        raise MistrustedError(f"{name} answered in steps of {step}, which no hour is a multiple of")
    return step
