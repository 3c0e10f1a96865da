"""The store as the room uses it: a database in trouble costs history, never a plan."""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime

from carbonfleet.api.signal import SignalKind
from carbonfleet.signals.issue import Issue
from carbonfleet.signals.reading import Kind, Reading
from carbonfleet.signals.source import Batch, Feed
from carbonfleet.signals.store import FORECASTS_KEPT, HistoryStore, StoreError

_log = logging.getLogger(__name__)


def family(source: str) -> str:
    """`electricitymaps/v3` and `/v4` are one family: their values mean the same."""
    return source.partition("/")[0]


class Archive:
    """What was read and issued, of the declared sources alone."""

    def __init__(self, store: HistoryStore, sources: Sequence[str]) -> None:
        self._store = store
        self._families = [family(source) for source in sources]
        self._forgotten_at: datetime | None = None
        self.problem = ""
        """The database's last failure in words; empty while it works."""

    def close(self) -> None:
        """Give the database back."""
        self._store.close()

    def keep(self, batch: Batch) -> None:
        """Record an answer."""
        try:
            if batch.ask.feed is Feed.FORECAST:
                self._store.record_forecast(batch.ask.zone, batch.ask.kind, Issue.of(batch))
                self._forget(batch.fetched_at)
            else:
                self._store.record(batch.readings)
        except StoreError as error:
            self._failed(error)
        else:
            self.problem = ""

    def readings(self, zone: str, kind: Kind, start: datetime, end: datetime) -> tuple[Reading, ...]:
        """All that declared sources said of [start, end), oldest first."""
        try:
            found = self._store.readings(zone, kind, start, end)
        except StoreError as error:
            self._failed(error)
            return ()
        return tuple(reading for reading in found if family(reading.source) in self._families)

    def best(self, zone: str, kind: Kind, start: datetime, end: datetime) -> tuple[Reading, ...]:
        """For each time one reading: of the first declared source, settled before estimated, the newest."""
        chosen: dict[datetime, Reading] = {}
        for reading in self.readings(zone, kind, start, end):
            known = chosen.get(reading.start)
            if known is None or self._standing(reading) >= self._standing(known):
                chosen[reading.start] = reading
        return _without_overlap(chosen[at] for at in sorted(chosen))

    def issues(self, zone: str, kind: SignalKind, since: datetime) -> tuple[Issue, ...]:
        """The forecasts of declared sources that were issued since then, oldest first."""
        try:
            found = self._store.forecasts(zone, kind, since)
        except StoreError as error:
            self._failed(error)
            return ()
        return tuple(issue for issue in found if family(issue.source) in self._families)

    def _standing(self, reading: Reading) -> tuple[int, bool, datetime]:
        return -self._families.index(family(reading.source)), reading.settled, reading.fetched_at

    def _forget(self, now: datetime) -> None:
        """Once a day."""
        if self._forgotten_at is None or (now - self._forgotten_at).days >= 1:
            self._forgotten_at = now
            self._store.forget_forecasts(now - FORECASTS_KEPT)

    def _failed(self, error: StoreError) -> None:
        if not self.problem:
            _log.error("%s; planning goes on without it", error)
        self.problem = str(error)


def _without_overlap(readings: Iterable[Reading]) -> tuple[Reading, ...]:
    """Where sources of different steps meet, the earlier reading holds to its end."""
    kept: list[Reading] = []
    for reading in readings:
        if not kept or reading.start >= kept[-1].end:
            kept.append(reading)
    return tuple(kept)
