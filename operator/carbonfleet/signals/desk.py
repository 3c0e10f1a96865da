"""The room's door: forecasts for the planner, and for the ledger what really held."""

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from carbonfleet.api.signal import SignalKind
from carbonfleet.clock import Clock
from carbonfleet.forecast import Forecast, History
from carbonfleet.signals.archive import Archive
from carbonfleet.signals.chain import Span
from carbonfleet.signals.errand import Errand, Messenger
from carbonfleet.signals.issue import in_one_step
from carbonfleet.signals.overview import ZoneView, view
from carbonfleet.signals.reading import HOUR, Reading
from carbonfleet.signals.settings import SignalSettings
from carbonfleet.signals.source import Ask, Feed, Finding, Source, SourceError
from carbonfleet.signals.store import HistoryStore
from carbonfleet.signals.trace import floor_hour
from carbonfleet.signals.zonedesk import ZoneDesk, new_page

ZoneKind = tuple[str, SignalKind]
_LONGEST_SPAN: Final = timedelta(days=14)
_USUAL_SPAN: Final = timedelta(hours=96)


@dataclass(frozen=True, slots=True)
class SignalReading:
    """What a planning cycle takes of the grid. A zone is in `forecasts`, or has its problem in words."""

    forecasts: Mapping[ZoneKind, Forecast]
    problems: Mapping[str, str]
    """By zone: why it has no forecast."""
    histories: Mapping[ZoneKind, History]


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
        self._messenger = Messenger(sources, self._settings.workers)
        self._desks: dict[ZoneKind, ZoneDesk] = {}
        self._lock = threading.RLock()

    def close(self) -> None:
        """Ask no more, and give the store back."""
        self._messenger.close()
        with self._lock:
            self._archive.close()

    def forecasts(self, wanted: Collection[ZoneKind], start: datetime, end: datetime) -> SignalReading:
        """Hourly forecasts over [start, end), at most 14 days, each on the best link that holds.

        A zone that is due is asked for in the background, and what is known serves meanwhile. Only its first
        answer is waited for, `patience_seconds` for all zones together.
        """
        with self._lock:
            span = _span(self._clock.now(), start, end)
            desks = self._desks_of(wanted, span.now)
            for desk in desks:
                desk.collect(span.now)
                desk.ask_if_due(span)
            self._await_first_answers(desks)
            for desk in desks:
                desk.collect(span.now)
                desk.stop_waiting()
            return _reading(desks, span)

    def refresh(self, wanted: Collection[ZoneKind], timeout_seconds: float = 60.0) -> None:
        """Ask for every feed of every zone now, and wait for the answers."""
        with self._lock:
            now = self._clock.now()
            desks = self._desks_of(wanted, now)
            for feed in (Feed.MEASURED, Feed.FORECAST):
                for desk in desks:
                    desk.ask((feed,), _span(now, now, now + _USUAL_SPAN))
                wait([each for desk in desks for each in desk.pending], timeout_seconds)
                for desk in desks:
                    desk.collect(now)

    def await_answers(self, timeout_seconds: float = 60.0) -> None:
        """Wait for what is under way, at most so many real seconds, and take it in."""
        with self._lock:
            desks = list(self._desks.values())
            for _ in range(2):  # An answer may set a profile off.
                wait([each for desk in desks for each in desk.pending], timeout_seconds)
                for desk in desks:
                    desk.collect(self._clock.now())

    def intensities(self, zone: str, kind: SignalKind, start: datetime, end: datetime) -> tuple[Reading, ...]:
        """What held in [start, end), oldest first: for each time the best reading, settled or not.

        Times that nobody measured are left out. Readings at the edges may reach over them. All have one
        step: where sources of different steps took turns, hours.
        """
        self._read_past(zone, kind, start, end, [source for source in self._sources if not source.remote])
        with self._lock:
            found = self._archive.best(zone, kind, floor_hour(start), end)
        return tuple(reading for reading in in_one_step(found) if reading.end > start)

    def settle(self, zone: str, kind: SignalKind, start: datetime, end: datetime) -> tuple[Reading, ...]:
        """Ask the sources for [start, end) again, then answer as `intensities` does. May take long."""
        self._read_past(zone, kind, start, end, self._sources)
        return self.intensities(zone, kind, start, end)

    def overview(self, wanted: Collection[ZoneKind], hours: int = 24) -> tuple[ZoneView, ...]:
        """Each zone at a glance, in the order of zones. Asks for what is due, like `forecasts`."""
        now = self._clock.now()
        end = now + timedelta(hours=hours)
        with self._lock:
            self.forecasts(wanted, now, end)
            return tuple(view(desk, _span(now, now, end)) for desk in self._desks_of(wanted, now))

    def check(self, zones: Collection[str]) -> tuple[Finding, ...]:
        """Keys, zones and licences of every source, tried now."""
        now = self._clock.now()
        return tuple(finding for source in self._sources for finding in source.check(zones, now))

    def _desks_of(self, wanted: Collection[ZoneKind], now: datetime) -> list[ZoneDesk]:
        for zone, kind in sorted(set(wanted) - self._desks.keys()):
            page = new_page(zone, kind, self._archive, self._names, now)
            page.static = self._static(zone, kind, now)
            self._desks[zone, kind] = ZoneDesk(page, self._messenger, self._archive, self._settings)
        return [self._desks[key] for key in sorted(set(wanted))]

    def _static(self, zone: str, kind: SignalKind, now: datetime) -> tuple[float, str] | None:
        ask = Ask(zone, kind, Feed.STATIC, now, now + HOUR)
        batch = self._messenger.run(Errand((ask,), now)).batch
        return (batch.readings[0].value, batch.readings[0].source) if batch else None

    def _await_first_answers(self, desks: Iterable[ZoneDesk]) -> None:
        awaited = [desk.awaited for desk in desks if desk.awaited is not None]
        if awaited:
            wait(awaited, self._settings.patience_seconds)

    def _read_past(
        self, zone: str, kind: SignalKind, start: datetime, end: datetime, sources: Iterable[Source]
    ) -> None:
        """Into the archive, from the first source that has it."""
        now = self._clock.now()
        ask = Ask(zone, kind, Feed.PAST, floor_hour(start), min(end, now))
        for source in sources:
            if ask.start < ask.end and source.offers(zone, kind, Feed.PAST):
                try:
                    batch = self._messenger.fetch(source, ask, now)
                except SourceError:
                    continue
                with self._lock:
                    self._archive.keep(batch)
                return


def _span(now: datetime, start: datetime, end: datetime) -> Span:
    if end <= start:
        raise ValueError(f"forecasts: the end {end} must follow the start {start}")
    first = floor_hour(start)
    hours = -((first - min(end, start + _LONGEST_SPAN)) // HOUR)
    return Span(now, first, hours)


def _reading(desks: Iterable[ZoneDesk], span: Span) -> SignalReading:
    forecasts: dict[ZoneKind, Forecast] = {}
    problems: dict[str, str] = {}
    histories: dict[ZoneKind, History] = {}
    for desk in desks:
        key = (desk.page.zone, desk.page.signal)
        result = desk.forecast(span)
        histories[key] = desk.page.history()
        if isinstance(result, Forecast):
            forecasts[key] = result
        else:
            earlier = problems.get(desk.page.zone)
            problems[desk.page.zone] = "; ".join(filter(None, (earlier, desk.explain(result))))
    return SignalReading(forecasts, problems, histories)
