"""Forecasts for the planner, and for the ledger what really held."""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.signal import SignalKind
from carbonfleet.clock import Clock
from carbonfleet.faults import only
from carbonfleet.forecast import Forecast, History, Span, forecast_of
from carbonfleet.signals.history import ZoneHistory
from carbonfleet.signals.poller import Poller, ZoneQuery
from carbonfleet.signals.prices import Market, build_market
from carbonfleet.signals.reading import HOUR, Reading, RejectedValue, floor_hour, in_one_step
from carbonfleet.signals.series import TraceError
from carbonfleet.signals.settings import SignalSettings, load_settings
from carbonfleet.signals.source import Ask, Batch, Feed, Finding, Source, SourceError
from carbonfleet.signals.sources import build_source
from carbonfleet.signals.store import Archive, HistoryStore, StoreError
from carbonfleet.signals.validation import beside_zone
from carbonfleet.signals.zone import ProfileForecaster, TrackedZone, remembered_history

ZoneKind = tuple[str, SignalKind]
_LONGEST_SPAN: Final = timedelta(days=14)
_USUAL_SPAN: Final = timedelta(hours=96)
_PAST_PIECE: Final = timedelta(days=10)
"""Some sources answer no more at once."""
_CONTEXT: Final = timedelta(hours=24)
"""What is asked for before a range that is over: beside it a sudden value shows."""


@dataclass(frozen=True, slots=True)
class SignalReading:
    """What a planning cycle takes of the grid. A zone is in `forecasts`, or has its problem in words, or both where all
    that is known of it is its annual mean.
    """

    forecasts: Mapping[ZoneKind, Forecast]
    problems: Mapping[str, str]
    """By zone: why it has no forecast of its hours."""
    histories: Mapping[ZoneKind, History]
    awaited: frozenset[str] = frozenset()
    """Zones of which the first answer is still to come."""


@dataclass(frozen=True, slots=True)
class ZoneView:
    """What a person wants to know of one zone."""

    zone: str
    kind: SignalKind
    problem: str
    """Why there is no forecast; empty when there is one. The figures below are then 0."""
    grams_per_kwh: float = 0.0
    """In the present hour."""
    lowest_grams_per_kwh: float = 0.0
    highest_grams_per_kwh: float = 0.0
    cleanest_at: datetime | None = None
    hours: int = 0
    """How far the forecast reaches."""
    source: str = ""
    link: str = ""
    age: timedelta = timedelta(0)
    """Since the newest measured value in it."""
    error_percent_1h: float | None = None
    """Mean absolute error of this source's forecasts one hour ahead; None before enough were measured."""
    error_percent_24h: float | None = None
    rejected: tuple[RejectedValue, ...] = ()
    """What was refused of the newest answer."""
    troubles: tuple[str, ...] = ()
    """What went wrong at the last tries, source by source, though another may have helped out."""
    blend: str = ""
    """How far the forecast is the one that was issued, and why."""


class Signals:
    """The grid as carbonfleet knows it. Safe to use from several threads; never raises for one zone."""

    def __init__(
        self,
        sources: Sequence[Source],
        clock: Clock,
        store: HistoryStore | None = None,
        settings: SignalSettings | None = None,
    ) -> None:
        """`sources` in the order in which they are believed."""
        self._settings = settings or SignalSettings()
        self._sources = tuple(sources)
        self._names = [source.name for source in sources]
        self._clock = clock
        self._archive = Archive(store or HistoryStore(), self._names)
        self._poller = Poller(sources, self._settings.workers)
        self._tracked_zones: dict[ZoneKind, TrackedZone] = {}
        self._lock = threading.RLock()

    def close(self) -> None:
        """Ask no more, and give the store back."""
        self._poller.close()
        with self._lock:
            self._archive.close()

    def forecasts(self, wanted: Collection[ZoneKind], start: datetime, end: datetime) -> SignalReading:
        """Hourly forecasts over [start, end), at most 14 days, each on the best link that holds.

        A zone that is due is asked for in the background, and what is known serves meanwhile. Only its first
        answer is waited for, `patience_seconds` for all zones together.
        """
        with self._lock:
            span = _span(self._clock.now(), start, end)
            faults: dict[ZoneKind, str] = {}
            tracked_zones = self._tracked(wanted, span.now, faults)
            _each(tracked_zones, lambda tracked: tracked.collect(span.now), faults)
            _each(tracked_zones, lambda tracked: tracked.ask_if_due(span), faults)
            self._await_first_answers(tracked_zones)
            _each(tracked_zones, lambda tracked: tracked.collect(span.now), faults)
            for tracked in tracked_zones:
                tracked.stop_waiting()
            return _reading(tracked_zones, span, faults)

    def refresh(self, wanted: Collection[ZoneKind], timeout_seconds: float = 60.0) -> None:
        """Ask for every feed of every zone now, and wait for the answers."""
        with self._lock:
            now = self._clock.now()
            tracked_zones, span = self._tracked(wanted, now, {}), _span(now, now, now + _USUAL_SPAN)
            for feed in (Feed.MEASURED, Feed.FORECAST):
                _each(tracked_zones, partial(TrackedZone.ask, feeds=(feed,), span=span))
                wait([each for tracked in tracked_zones for each in tracked.pending], timeout_seconds)
                _each(tracked_zones, lambda tracked: tracked.collect(now))

    def await_answers(self, timeout_seconds: float = 60.0) -> None:
        """Wait for what is under way, at most so many real seconds, and take it in."""
        with self._lock:
            tracked_zones = list(self._tracked_zones.values())
            for _ in range(2):  # An answer may set a profile off.
                wait([each for tracked in tracked_zones for each in tracked.pending], timeout_seconds)
                _each(tracked_zones, lambda tracked: tracked.collect(self._clock.now()))

    def intensities(self, zone: str, kind: SignalKind, start: datetime, end: datetime) -> tuple[Reading, ...]:
        """What held in [start, end), oldest first: for each time the best reading, settled or not.

        Times that nobody measured are left out. Readings at the edges may reach over them. All have one
        step: where sources of different steps took turns, hours. Raises StoreError.
        """
        with _only((zone, kind), {}, but=StoreError):
            return self._past(zone, kind, start, end, [source for source in self._sources if not source.remote])
        return ()

    def settle(self, zone: str, kind: SignalKind, start: datetime, end: datetime) -> tuple[Reading, ...]:
        """Ask the sources for [start, end) again, then answer as `intensities` does. May take long."""
        with _only((zone, kind), {}, but=StoreError):
            return self._past(zone, kind, start, end, self._sources)
        return ()

    def learn_past(self, zone: str, kind: SignalKind, start: datetime, end: datetime) -> tuple[SourceError, ...]:
        """Ask for [start, end), in pieces and without what is known, for `intensities` to know.

        The first source that has all of it is the last one asked; the errors are of those that have not.
        """
        errors: list[SourceError] = []
        for source in self._poller.offering(zone, kind, Feed.PAST):
            longest = getattr(source, "longest_past", _PAST_PIECE)
            starts = [start + longest * i for i in range(-((start - end) // longest))]
            missing = [each for each in starts if not self._knows(zone, kind, each, min(end, each + longest))]
            try:
                for each in missing:
                    ask = Ask(zone, kind, Feed.PAST, floor_hour(each), min(end, each + longest))
                    self._keep(self._poller.fetch(source, ask, self._clock.now()), ask.start)
                break
            except SourceError as error:
                errors.append(error)
        return tuple(errors)

    def _keep(self, batch: Batch, start: datetime) -> None:
        """Remember what is believed of a range that is over, from `start` on, beside the zone's history: a value in
        doubt ends up in no account, as it ends up in no plan.
        """
        zone, kind = key = batch.ask.zone, SignalKind(batch.ask.kind)
        with self._lock:
            tracked = self._tracked_zones.get(key)
            history = (
                remembered_history(zone, kind, self._archive, self._names, batch.ask.end)
                if tracked is None
                else tracked.history
            )
            believed, _ = beside_zone(batch, history.known())
            if kept := tuple(each for each in believed.readings if each.end > start):
                self._archive.keep(replace(believed, readings=kept))

    def _knows(self, zone: str, kind: SignalKind, start: datetime, end: datetime) -> bool:
        with self._lock:
            return bool(self._archive.best(zone, kind, start, end))

    def overview(self, wanted: Collection[ZoneKind], hours: int = 24) -> tuple[ZoneView, ...]:
        """Each zone at a glance, in the order of zones. Asks for what is due, like `forecasts`."""
        now = self._clock.now()
        end = now + timedelta(hours=hours)
        with self._lock:
            self.forecasts(wanted, now, end)
            faults: dict[ZoneKind, str] = {}
            views: dict[ZoneKind, ZoneView] = {}
            for tracked in self._tracked(wanted, now, faults):
                with _only(tracked.key, faults):
                    views[tracked.key] = _view(tracked, _span(now, now, end))
            views |= {key: ZoneView(*key, fault) for key, fault in faults.items()}
            return tuple(views[key] for key in sorted(views))

    def check(self, zones: Collection[str]) -> tuple[Finding, ...]:
        """Keys, zones and licences of every source, tried now."""
        now = self._clock.now()
        return tuple(finding for source in self._sources for finding in _findings(source, zones, now))

    def _tracked(self, wanted: Collection[ZoneKind], now: datetime, faults: dict[ZoneKind, str]) -> list[TrackedZone]:
        for zone, kind in sorted(set(wanted) - self._tracked_zones.keys()):
            with _only((zone, kind), faults):
                history = remembered_history(zone, kind, self._archive, self._names, now)
                history.static = self._static(zone, kind, now)
                doubted = self._archive.doubted(zone, kind, now)
                tracked = TrackedZone(history, self._poller, self._archive, self._settings, doubted)
                self._tracked_zones[zone, kind] = tracked
        return [self._tracked_zones[key] for key in sorted(set(wanted)) if key in self._tracked_zones]

    def _static(self, zone: str, kind: SignalKind, now: datetime) -> tuple[float, str] | None:
        ask = Ask(zone, kind, Feed.STATIC, now, now + HOUR)
        batch = self._poller.run(ZoneQuery((ask,), now)).batch
        return (batch.readings[0].value, batch.readings[0].source) if batch else None

    def _await_first_answers(self, tracked_zones: Iterable[TrackedZone]) -> None:
        awaited = [tracked.awaited for tracked in tracked_zones if tracked.awaited is not None]
        if awaited:
            wait(awaited, self._settings.patience_seconds)

    def _past(
        self, zone: str, kind: SignalKind, start: datetime, end: datetime, sources: Iterable[Source]
    ) -> tuple[Reading, ...]:
        """What the archive knows, with what the first source that has it says."""
        now = self._clock.now()
        ask = Ask(zone, kind, Feed.PAST, floor_hour(start) - _CONTEXT, min(end, now))
        for source in sources if start < ask.end else ():
            with _only((zone, kind), {}, but=StoreError), suppress(SourceError):
                if source.offers(zone, kind, Feed.PAST):
                    self._keep(self._poller.fetch(source, ask, now), floor_hour(start))
                    break
        with self._lock:
            found = self._archive.best(zone, kind, floor_hour(start), end)
        return tuple(reading for reading in in_one_step(found) if reading.end > start)


def _span(now: datetime, start: datetime, end: datetime) -> Span:
    if end <= start:
        raise ValueError(f"forecasts: the end {end} must follow the start {start}")
    first = floor_hour(start)
    hours = -((first - min(end, start + _LONGEST_SPAN)) // HOUR)
    return Span(now, first, hours)


def _only(
    key: ZoneKind, faults: dict[ZoneKind, str], but: tuple[type[Exception], ...] | type[Exception] = ()
) -> AbstractContextManager[None]:
    """Whatever goes wrong with one zone is that zone's fault alone."""
    return only(f"what is known of {key[0]} can't be read", partial(faults.__setitem__, key), but=but)


def _each(
    zones: Iterable[TrackedZone], step: Callable[[TrackedZone], None], faults: dict[ZoneKind, str] | None = None
) -> None:
    for tracked in zones:
        with _only(tracked.key, {} if faults is None else faults):
            step(tracked)


def _findings(source: Source, zones: Collection[str], now: datetime) -> Sequence[Finding]:
    """What a source's check finds; where it fails, it is asked zone by zone, and is named with those over which it
    does.
    """
    faults: list[str] = []
    with only(f"{source.name} can't check {', '.join(zones)}", faults.append):
        return tuple(source.check(zones, now))
    if len(zones) > 1:
        return [finding for zone in zones for finding in _findings(source, [zone], now)]
    return [Finding(source.name, "".join(zones), ok=False, reason="Failed", message=fault) for fault in faults]


def _reading(tracked_zones: Sequence[TrackedZone], span: Span, faults: dict[ZoneKind, str]) -> SignalReading:
    forecasts: dict[ZoneKind, Forecast] = {}
    problems: dict[str, str] = {}
    histories: dict[ZoneKind, History] = {}
    for tracked in tracked_zones:
        with _only(tracked.key, faults):
            result = tracked.forecast(span)
            histories[tracked.key] = tracked.history.values()
            if isinstance(result, Forecast):
                forecasts[tracked.key] = result
            why = result.missing if isinstance(result, Forecast) else result
            if not isinstance(result, Forecast) or not result.tells_hours:
                earlier = problems.get(tracked.history.zone)
                problems[tracked.history.zone] = "; ".join(filter(None, (earlier, tracked.explain(why))))
    problems |= {key[0]: fault for key, fault in faults.items() if key not in forecasts}
    awaited = frozenset(tracked.history.zone for tracked in tracked_zones if tracked.is_first_answer_to_come)
    return SignalReading(forecasts, problems, histories, awaited)


def _view(tracked: TrackedZone, span: Span) -> ZoneView:
    """A zone's view over the hours of `span`."""
    zone, kind, found = tracked.history.zone, tracked.history.signal, tracked.forecast(span)
    troubles = tuple(f"{source} ({feed.value}): {text}" for (source, feed), text in sorted(tracked.problems.items()))
    troubles += (tracked.doubt,) if tracked.doubt else ()
    if not isinstance(found, Forecast):
        return ZoneView(zone, kind, tracked.explain(found), rejected=tracked.rejected, troubles=troubles)
    values, family = found.grams_per_kwh, found.source.partition(",")[0]
    return ZoneView(
        zone,
        kind,
        "",
        grams_per_kwh=float(values[0]),
        lowest_grams_per_kwh=float(values.min()),
        highest_grams_per_kwh=float(values.max()),
        cleanest_at=found.start + found.step * int(np.argmin(values)),
        hours=values.size,
        source=found.source,
        link=found.link,
        age=max(timedelta(0), span.now - found.observed_at),
        error_percent_1h=tracked.history.accuracy.percent(family, 1),
        error_percent_24h=tracked.history.accuracy.percent(family, 24),
        rejected=tracked.rejected,
        troubles=troubles,
        blend=found.blend,
    )


def open_signals(settings: SignalSettings, clock: Clock) -> Signals:
    """The service with the sources that `settings` name. Raises TraceError, StoreError, and SourceError for
    a replay whose live values can't be had.
    """
    sources = [build_source(source, clock) for source in settings.sources]
    return Signals(sources, clock, HistoryStore(settings.store), settings)


def open_market(settings: SignalSettings, clock: Clock, clusters: Iterable[ClusterFacts] = ()) -> Market:
    """GPU prices from the sources that `settings` name, then from the given clusters' files. Raises TraceError."""
    sources = [build_source(source, clock) for source in settings.sources] if settings.usd_per_eur else []
    rate, patience = settings.usd_per_eur, settings.patience_seconds
    return build_market(settings.prices, clock, clusters, patience, sources, rate)


def open_signals_file(path: Path, clock: Clock) -> Signals:
    """The same as `open_signals` from a settings file. Raises SettingsError too."""
    return open_signals(load_settings(path), clock)


def read_signals(settings: SignalSettings, clock: Clock, wanted: Collection[ZoneKind], end: datetime) -> SignalReading:
    """What the store of `settings` knows of the hours from now to `end`: no source is asked, and nothing is written.

    Raises StoreError.
    """
    now, sources = clock.now(), _local_sources(settings, clock)
    with closing(HistoryStore(settings.store, is_read_only=True)) as store:
        archive = Archive(store, [*(source.name for source in sources), *store.sources()])
        histories = {key: _known_history(key, archive, sources, now) for key in sorted(set(wanted))}
        if archive.problem:
            raise StoreError(archive.problem)
    found: dict[ZoneKind, Forecast | str] = {}
    for key, history in histories.items():
        learned = ProfileForecaster(history, lambda _: Future())  # learns at once the first time
        data, span = history.data(learned.newest), _span(now, now, end)
        found[key] = forecast_of(data, span, settings.chain, settings.limits)
    return SignalReading(
        {key: each for key, each in found.items() if isinstance(each, Forecast)},
        {zone: each for (zone, _), each in found.items() if isinstance(each, str)},
        {key: history.values() for key, history in histories.items()},
    )


def _local_sources(settings: SignalSettings, clock: Clock) -> list[Source]:
    """Those that can be set up without asking anybody, in their order."""
    found = []
    for each in settings.sources:
        with suppress(SourceError, TraceError):
            if getattr(each, "replay", None) is None:
                found.append(build_source(each, clock))
    return found


def _known_history(key: ZoneKind, archive: Archive, sources: Sequence[Source], now: datetime) -> ZoneHistory:
    """A zone as it is kept, with the factor that people declared for it."""
    history = remembered_history(*key, archive, archive.sources, now)
    for source in sources:
        with suppress(SourceError):
            if history.static is None and source.offers(*key, Feed.STATIC):
                [value] = source.fetch(Ask(*key, Feed.STATIC, now, now + HOUR), now).readings
                history.static = value.value, value.source
    return history
