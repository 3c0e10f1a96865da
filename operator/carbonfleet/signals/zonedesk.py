"""One zone followed over time: when it is asked for, what came back, and the forecast built of it."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any, Final

from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import Forecast
from carbonfleet.signals.archive import Archive
from carbonfleet.signals.book import KEPT, Page
from carbonfleet.signals.chain import Span, forecast
from carbonfleet.signals.errand import Errand, Messenger, Outcome, jittered
from carbonfleet.signals.plausible import like_its_zone
from carbonfleet.signals.profiling import Profiling
from carbonfleet.signals.reading import HOUR, Rejection
from carbonfleet.signals.settings import SignalSettings
from carbonfleet.signals.source import Ask, Batch, Feed, ThrottledError, UnavailableError
from carbonfleet.signals.trace import floor_hour

_SEEN_AGAIN: Final = timedelta(hours=26)
"""How far back measured values are asked for again: estimates of the last day are still revised."""
_PAST_PIECE: Final = timedelta(days=10)
"""Electricity Maps gives no more hours at once."""
_LOGGED: Final = 3
_FEEDS: Final = (Feed.FORECAST, Feed.MEASURED)
_log = logging.getLogger(__name__)


class ZoneDesk:
    """Not safe for threads: the room's lock is held around every call."""

    def __init__(self, page: Page, messenger: Messenger, archive: Archive, settings: SignalSettings) -> None:
        self.page = page
        self.rejected: tuple[Rejection, ...] = ()
        """What was refused of the newest answers."""
        self._messenger = messenger
        self._profiling = Profiling(page.zone, page.signal, messenger.submit)
        self._archive = archive
        self._settings = settings
        self._due: datetime | None = None
        self._turns: list[Feed] = list(_FEEDS)
        self._answers = 0
        self._older_ranges: list[tuple[datetime, datetime]] | None = None
        self._pending: Future[Outcome] | None = None
        self._heard = False
        self._failures_in_row = 0
        self._problems: dict[tuple[str, Feed], str] = {}
        self._built: tuple[object, Forecast | str] | None = None

    @property
    def awaited(self) -> Future[Outcome] | None:
        """The first answer, while it is still to come; later ones are not worth waiting for."""
        return None if self._heard else self._pending

    @property
    def pending(self) -> tuple[Future[Any], ...]:
        """What is under way: an answer, a profile."""
        return tuple(each for each in (self._pending, self._profiling.pending) if each is not None)

    @property
    def problems(self) -> Mapping[tuple[str, Feed], str]:
        """By source and feed: what went wrong at the last try."""
        return self._problems

    def stop_waiting(self) -> None:
        """From now on what is known serves, be it nothing."""
        self._heard = True

    def ask_if_due(self, span: Span) -> None:
        """Send for one feed: forecast and measured values by turns, so one request in each refresh.

        The other feed follows in the same errand only where the first has no answer. After its first two
        answers a zone asks once for the weeks before, ten days at a time. Sources on this machine are asked
        for everything.
        """
        if self._pending is not None or (self._due is not None and span.now < self._due):
            return
        if not self._is_remote():
            for feed in _FEEDS:
                self.ask((feed,), span)
                self.collect(span.now)
        elif self._answers >= len(_FEEDS) and self._older(span.now):
            self.ask((Feed.PAST,), span)
        else:
            self.ask(tuple(self._turns), span)

    def ask(self, feeds: Sequence[Feed], span: Span) -> None:
        """Send for the first of `feeds` that anybody answers."""
        zone, kind = self.page.zone, self.page.signal
        asks = [
            Ask(zone, kind, feed, *self._reach(feed, span))
            for feed in feeds
            if self._messenger.offering(zone, kind, feed)
        ]
        self._due = span.now + jittered(self._settings.refresh)
        self._pending = self._messenger.send(Errand(tuple(asks), span.now))

    def collect(self, now: datetime) -> None:
        """Take in what came back, if it did."""
        if self._pending is None or not self._pending.done():
            return
        outcome, self._pending, self._heard = self._pending.result(), None, True
        for source, feed, error in outcome.failures:
            self._problems[source, feed] = error.message
            if feed is Feed.PAST and isinstance(error, UnavailableError | ThrottledError):
                self._older(now).append((outcome.errand.asks[0].start, outcome.errand.asks[0].end))
                break
        if outcome.batch is None:
            self._come_back_later(outcome, now)
        else:
            self.take(outcome.batch)

    def take(self, batch: Batch) -> None:
        """A good answer: remember it, and let the other feed have the next turn."""
        feed = batch.ask.feed
        self._failures_in_row = 0
        self._answers += 1
        self._problems.pop((batch.source, feed), None)
        self._turns.sort(key=lambda turn: turn is feed)
        batch = like_its_zone(batch, self.page.measured())
        self.rejected = batch.rejected
        for rejection in batch.rejected[:_LOGGED]:
            _log.info("%s: %s", batch.source, rejection)
        if not batch.readings:
            self._problems[batch.source, feed] = f"no plausible value; the first: {batch.rejected[0]}"
            return
        self.page.absorb(batch)
        self._archive.keep(batch)
        if feed is not Feed.FORECAST:
            self._profiling.renew(self.page.measured(), self.page.measured_version)

    def forecast(self, span: Span) -> Forecast | str:
        """The zone's forecast, computed anew only when its data, the hour or the minute changed."""
        profile_is_ready = self._profiling.pending is not None and self._profiling.pending.done()
        state = (self.page.version, span.start, span.hours, int(span.now.timestamp() // 60), profile_is_ready)
        if self._built is None or self._built[0] != state:
            chain, limits = self._settings.chain, self._settings.limits
            self._built = (state, forecast(self.page.known(self._profiling), span, chain, limits))
        return self._built[1]

    def explain(self, why_no_link: str) -> str:
        """Why there is no forecast, in words."""
        heard = "; ".join(dict.fromkeys(text for _, text in sorted(self._problems.items())))
        what = f"no usable {self.page.signal.value} data of {self.page.zone}"
        if not heard:
            heard = "no answer yet" if self._pending else "no source offers it"
        return f"{what}: {heard}" if self.page.is_blank else f"{what}: {heard} ({why_no_link})"

    def _older(self, now: datetime) -> list[tuple[datetime, datetime]]:
        """The ranges of the last 28 days that are still to be asked for, the newest last."""
        if self._older_ranges is None:
            first, last = floor_hour(now - KEPT), floor_hour(now) - HOUR * 24
            wanted = (last - first) // HOUR
            starts = [first + _PAST_PIECE * i for i in range(3)]
            ranges = [(start, min(last, start + _PAST_PIECE)) for start in starts]
            enough = self.page.count_before(last) >= 0.9 * wanted
            can = self._messenger.offering(self.page.zone, self.page.signal, Feed.PAST)
            self._older_ranges = ranges if can and not enough else []
        return self._older_ranges

    def _is_remote(self) -> bool:
        zone, kind = self.page.zone, self.page.signal
        return any(s.remote for feed in _FEEDS for s in self._messenger.offering(zone, kind, feed))

    def _reach(self, feed: Feed, span: Span) -> tuple[datetime, datetime]:
        if feed is Feed.FORECAST:
            return span.start, span.start + HOUR * span.hours
        if feed is Feed.PAST:
            return self._older(span.now).pop()
        newest, oldest = self.page.newest_hour, span.now - KEPT
        return (oldest if newest is None else max(oldest, newest - _SEEN_AGAIN)), span.now

    def _come_back_later(self, outcome: Outcome, now: datetime) -> None:
        """Sooner than a refresh after the first failures, but never before a source allows it."""
        share = min(1.0, 0.1 * 2**self._failures_in_row)
        self._failures_in_row = min(self._failures_in_row + 1, 10)
        named = [error.retry_at for _, _, error in outcome.failures if error.retry_at is not None]
        soon = now + jittered(self._settings.refresh * share)
        self._due = max(soon, min(named)) if named else soon


def new_page(zone: str, kind: SignalKind, archive: Archive, sources: Sequence[str], now: datetime) -> Page:
    """A zone as the archive remembers it."""
    page = Page(zone, kind, sources)
    for issue in archive.issues(zone, kind, now - timedelta(days=14)):
        page.take_issue(issue)
    page.take_readings(archive.readings(zone, kind, now - KEPT, now + HOUR), now)
    return page
