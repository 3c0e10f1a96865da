"""One zone followed over time: when it is asked for, what came back, and the forecast built of it."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import (
    HISTORY,
    ISSUES_KEPT,
    RECENT,
    Forecast,
    Issue,
    Measured,
    OwnForecast,
    Span,
    blends_of,
    forecast_of,
    profile_forecast,
)
from carbonfleet.signals.history import ZoneHistory
from carbonfleet.signals.poller import Poller, PollResult, ZoneQuery, jittered
from carbonfleet.signals.reading import HOUR, Reading, RejectedValue, family, floor_hour
from carbonfleet.signals.settings import SignalSettings
from carbonfleet.signals.source import Ask, Batch, Feed, ThrottledError, UnavailableError
from carbonfleet.signals.store import DOUBTS_KEPT, Archive
from carbonfleet.signals.validation import beside_zone

_SEEN_AGAIN: Final = timedelta(hours=26)
"""How far back measured values are asked for again: estimates of the last day are still revised."""
_PAST_PIECE: Final = timedelta(days=10)
"""Electricity Maps gives no more hours at once."""
_LOGGED: Final = 3
_FEEDS: Final = (Feed.FORECAST, Feed.MEASURED)
_log = logging.getLogger(__name__)


_REACH: Final = timedelta(days=16)
"""The longest span that is planned, and two days without a new value."""
Submit = Callable[[Callable[[], OwnForecast | None]], "Future[OwnForecast | None]"]


class ProfileForecaster:
    """Learning from 90 days takes some 0.2 s: the first time at once, later in the background."""

    def __init__(self, history: ZoneHistory, submit: Submit) -> None:
        self._history = history
        self._submit = submit
        self._version: int | None = None
        self._profile: OwnForecast | None = None
        self._pending: Future[OwnForecast | None] | None = None
        self._pending_version = 0

    @property
    def pending(self) -> "Future[OwnForecast | None] | None":
        """The profile that is being made."""
        return self._pending

    @property
    def ready_version(self) -> int | None:
        """Of the measured values that the newest finished profile was made from."""
        return self._pending_version if self._pending is not None and self._pending.done() else self._version

    def newest(self, measured: Measured | None, version: int) -> OwnForecast | None:
        """The profile of the measured values of `version`, or while that is being made, of those before.

        None with less than a day of history, or one with too many gaps.
        """
        self._collect()
        if self._profile is None and measured is not None and version != self._version:
            self._profile, self._version = self._learning(measured)(), version
        self.renew(measured, version)
        return self._profile

    def renew(self, measured: Measured | None, version: int) -> None:
        """Have a profile that is in use made anew in the background, if values have changed since."""
        self._collect()
        if self._profile is None or measured is None or self._pending is not None or version == self._version:
            return
        self._pending, self._pending_version = self._submit(self._learning(measured)), version

    def _collect(self) -> None:
        if self._pending is not None and self._pending.done():
            done, self._pending = self._pending, None
            self._profile, self._version = done.result(), self._pending_version

    def _learning(self, measured: Measured) -> Callable[[], OwnForecast | None]:
        zone, signal, issues = self._history.zone, self._history.signal, self._history.past_issues()
        return lambda: _own_forecast(zone, signal, measured, issues)


def _own_forecast(
    zone: str, signal: SignalKind, measured: Measured, issues: Mapping[str, Sequence[Issue]]
) -> OwnForecast | None:
    """From history alone, and how much it counts beside each source's issues."""
    until = measured.newest_hour + HOUR
    values = measured.grams_per_kwh[: measured.newest_index + 1]
    try:
        forecast = profile_forecast(zone, signal, values, until, until, _REACH, source=measured.source)
    except ValueError:
        return None
    return OwnForecast(forecast, blends_of(forecast.past, issues))


class TrackedZone:
    """Not safe for threads: `Signals` holds its lock around every call."""

    def __init__(
        self,
        history: ZoneHistory,
        poller: Poller,
        archive: Archive,
        settings: SignalSettings,
        doubted: Iterable[Reading] = (),
    ) -> None:
        """`doubted`: what was in doubt before a restart."""
        self.history = history
        self.rejected: tuple[RejectedValue, ...] = ()
        """What was refused of the newest answers."""
        self._poller = poller
        self._profiles = ProfileForecaster(history, poller.submit)
        self._archive = archive
        self._settings = settings
        self._due: datetime | None = None
        self._turns: list[Feed] = list(_FEEDS)
        self._answers = 0
        self._queries = 0
        self._older_ranges: list[tuple[datetime, datetime]] | None = None
        self._pending: Future[PollResult] | None = None
        self._heard = False
        self._failures_in_row = 0
        self._problems: dict[tuple[str, Feed], str] = {}
        self._doubted = {(each.source, each.start): each for each in doubted}
        """By source and time: values that are not believed before they are seen twice."""
        self._built: tuple[object, Forecast | str] | None = None

    @property
    def key(self) -> tuple[str, SignalKind]:
        """Zone and kind."""
        return self.history.zone, self.history.signal

    @property
    def awaited(self) -> Future[PollResult] | None:
        """The first answer, while it is still to come; later ones are not worth waiting for."""
        return None if self._heard else self._pending

    @property
    def is_first_answer_to_come(self) -> bool:
        """Whether it was asked for once, and neither an answer nor a failure has come yet."""
        return self._pending is not None and not self._answers and not self._failures_in_row

    @property
    def pending(self) -> tuple[Future[Any], ...]:
        """What is under way: an answer, a profile."""
        return tuple(each for each in (self._pending, self._profiles.pending) if each is not None)

    @property
    def problems(self) -> Mapping[tuple[str, Feed], str]:
        """By source and feed: what went wrong at the last try."""
        return self._problems

    def stop_waiting(self) -> None:
        """From now on what is known serves, be it nothing."""
        self._heard = True

    def ask_if_due(self, span: Span) -> None:
        """Send for one feed: forecast and measured values by turns, so one request in each refresh.

        The other feed follows in the same query only where the first has no answer. After its first two
        answers a zone asks, in every third query, once for the weeks before, ten days at a time. Sources on this
        machine are asked for everything.
        """
        if self._pending is not None or (self._due is not None and span.now < self._due):
            return
        if not self._is_remote():
            for feed in _FEEDS:
                self.ask((feed,), span)
                self.collect(span.now)
            return
        past_has_turn = self._answers >= len(_FEEDS) and self._queries % (len(_FEEDS) + 1) == len(_FEEDS)
        self._queries += 1
        self.ask((Feed.PAST,) if past_has_turn and self._older(span.now) else tuple(self._turns), span)

    def ask(self, feeds: Sequence[Feed], span: Span) -> None:
        """Send for the first of `feeds` that anybody answers."""
        zone, kind = self.history.zone, self.history.signal
        asks = [
            Ask(zone, kind, feed, *self._reach(feed, span)) for feed in feeds if self._poller.offering(zone, kind, feed)
        ]
        self._due = span.now + jittered(self._settings.refresh)
        self._pending = self._poller.send(ZoneQuery(tuple(asks), span.now))

    def collect(self, now: datetime) -> None:
        """Take in what came back, if it did."""
        if self._pending is None or not self._pending.done():
            return
        done, self._pending, self._heard = self._pending, None, True
        outcome = done.result()
        for source, feed, error in outcome.failures:
            self._problems[source, feed] = error.message
            if feed is Feed.PAST and isinstance(error, UnavailableError | ThrottledError):
                self._older(now).append((outcome.query.asks[0].start, outcome.query.asks[0].end))
                break
        if outcome.batch is not None:
            if self.take(outcome.batch, now) and not outcome.query.besides:
                self._ask_another(outcome.batch, now)
        elif not outcome.query.besides:
            self._come_back_later(outcome, now)

    def _ask_another(self, batch: Batch, now: datetime) -> None:
        """Whether another source says the same."""
        ask = batch.ask
        if any(
            family(source.name) != family(batch.source)
            for source in self._poller.offering(ask.zone, ask.kind, ask.feed)
        ):
            self._pending = self._poller.send(ZoneQuery((ask,), now, besides=family(batch.source)))

    def take(self, batch: Batch, now: datetime) -> bool:
        """A good answer: remember what of it is believed, and let the other feed have the next turn.

        Returns whether it has values that are newly in doubt.
        """
        feed = batch.ask.feed
        self._failures_in_row = 0
        self._answers += 1
        self._problems.pop((batch.source, feed), None)
        self._turns.sort(key=lambda turn: turn is feed)
        batch, is_doubted = self._screened(batch, now)
        self.rejected = batch.rejected
        for rejection in batch.rejected[:_LOGGED]:
            _log.info("%s: %s", batch.source, rejection)
        if not batch.readings:
            self._problems[batch.source, feed] = f"no plausible value; the first: {batch.rejected[0]}"
            return is_doubted
        if feed is Feed.FORECAST:
            self._archive.keep(batch, self.history.take_issue(batch.issue()))
        else:
            self.history.take_readings(batch.readings, batch.fetched_at)
            self._archive.keep(batch)
            self._profiles.renew(self.history.measured(), self.history.measured_version)
        return is_doubted

    def _screened(self, batch: Batch, now: datetime) -> tuple[Batch, bool]:
        """What of an answer is believed beside the zone's history, and whether some of it is newly in doubt."""
        known = self.history.known([each for each in self._doubted.values() if each.start > now - DOUBTS_KEPT])
        believed, doubted = beside_zone(batch, known)
        if batch.ask.feed is Feed.FORECAST:
            return believed, False
        settled = {each.start for each in believed.readings}
        before = self._doubted
        found = {(each.source, each.start): each for each in (*known.doubted, *doubted) if each.start not in settled}
        self._doubted = {key: each for key, each in found.items() if each.start > now - DOUBTS_KEPT}
        new = [each for key, each in self._doubted.items() if key not in before]
        self._archive.doubt(new)
        return believed, bool(new)

    @property
    def doubt(self) -> str:
        """Which value is in doubt, in words; empty where none is."""
        if not self._doubted:
            return ""
        newest = max(self._doubted.values(), key=lambda each: each.start)
        what = f"{newest.value:.0f} gCO2e/kWh in {newest.zone} at {newest.start:%H:%M} UTC, by {newest.source},"
        return f"{what} is in doubt until it is seen twice, and left out"

    def forecast(self, span: Span) -> Forecast | str:
        """The zone's forecast, computed anew only when its data, the hour or the minute changed."""
        minute = int(span.now.timestamp() // 60)
        state = (self.history.version, span.start, span.hours, minute, self._profiles.ready_version, self.doubt)
        if self._built is None or self._built[0] != state:
            chain, limits = self._settings.chain, self._settings.limits
            found = forecast_of(self.history.data(self._profiles.newest), span, chain, limits)
            if self.doubt and isinstance(found, Forecast):
                found = replace(found, doubted=self.doubt)
            self._built = (state, found)
        return self._built[1]

    def explain(self, why_no_link: str) -> str:
        """Why there is no forecast, in words."""
        heard = "; ".join(dict.fromkeys(text for _, text in sorted(self._problems.items())))
        what = f"no usable {self.history.signal.value} data of {self.history.zone}"
        if not heard:
            heard = "no answer yet" if self._pending else "no source offers it"
        return f"{what}: {heard}" if self.history.is_blank else f"{what}: {heard} ({why_no_link})"

    def _older(self, now: datetime) -> list[tuple[datetime, datetime]]:
        """The ranges of the last 90 days that are still to be asked for, the newest last."""
        if self._older_ranges is None:
            first, last = floor_hour(now - HISTORY), floor_hour(now) - HOUR * 24
            starts = [first + _PAST_PIECE * i for i in range(-((first - last) // _PAST_PIECE))]
            ranges = [(start, min(last, start + _PAST_PIECE)) for start in starts]
            can = self._poller.offering(self.history.zone, self.history.signal, Feed.PAST)
            self._older_ranges = [each for each in ranges if can and not self.history.knows(*each)]
        return self._older_ranges

    def _is_remote(self) -> bool:
        zone, kind = self.history.zone, self.history.signal
        return any(s.remote for feed in _FEEDS for s in self._poller.offering(zone, kind, feed))

    def _reach(self, feed: Feed, span: Span) -> tuple[datetime, datetime]:
        if feed is Feed.FORECAST:
            return span.start, span.start + HOUR * span.hours
        if feed is Feed.PAST:
            return self._older(span.now).pop()
        newest, oldest = self.history.newest_hour, span.now - (RECENT if self._is_remote() else HISTORY)
        return (oldest if newest is None else max(oldest, newest - _SEEN_AGAIN)), span.now

    def _come_back_later(self, outcome: PollResult, now: datetime) -> None:
        """Sooner than a refresh after the first failures, but never before a source allows it."""
        share = min(1.0, 0.1 * 2**self._failures_in_row)
        self._failures_in_row = min(self._failures_in_row + 1, 10)
        named = [error.retry_at for _, _, error in outcome.failures if error.retry_at is not None]
        soon = now + jittered(self._settings.refresh * share)
        self._due = max(soon, min(named)) if named else soon


def remembered_history(
    zone: str, kind: SignalKind, archive: Archive, sources: Sequence[str], now: datetime
) -> ZoneHistory:
    """A zone as the archive remembers it."""
    history = ZoneHistory(zone, kind, sources)
    for issue in archive.issues(zone, kind, now - ISSUES_KEPT):
        history.take_issue(issue)
    history.take_readings(archive.readings(zone, kind, now - HISTORY, now + HOUR), now)
    return history
