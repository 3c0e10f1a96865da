"""What every source of signals can do, what it is asked, and how it fails."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Protocol

import numpy as np
from pydantic import Field

from carbonfleet.api.signal import SignalKind
from carbonfleet.api.wire import format_duration
from carbonfleet.clock import Clock
from carbonfleet.forecast import Issue
from carbonfleet.http import Endpoint, JsonClient, read_json
from carbonfleet.signals.reading import HOUR, Kind, Reading, RejectedValue, hourly_means

PlaceName = Annotated[str, Field(min_length=1, max_length=128)]
"""A provider's own name for a zone."""


class Feed(StrEnum):
    """Which series of a zone is wanted."""

    MEASURED = "measured"
    """The last hours, the newest last; the only feed that says what the level is now."""
    FORECAST = "forecast"
    PAST = "past"
    """A range that is over, settled if the provider has settled it."""
    STATIC = "static"
    """One factor for any hour, declared by people."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One question: a zone's values of one kind over [start, end).

    A forecast is asked for up to 16 days ahead, measured values for the last 28 days at first (the last
    90 on this machine) and then for what is new, past ones for at most ten days at a time. Fewer hours may be answered.
    """

    zone: str
    kind: Kind
    feed: Feed
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Batch:
    """A source's answer: readings in ascending order, and what of the answer was refused."""

    ask: Ask
    source: str
    fetched_at: datetime
    issued_at: datetime
    """When the provider made it."""
    readings: tuple[Reading, ...]
    rejected: tuple[RejectedValue, ...] = ()
    exact: bool = False
    """A forecast without doubt: a trace that is replayed."""

    def issue(self) -> Issue:
        """The readings of a forecast on whole hours."""
        hours = hourly_means(self.readings)
        start = min(hours)
        values = np.full((max(hours) - start) // HOUR + 1, np.nan)
        for hour, (value, _) in hours.items():
            values[(hour - start) // HOUR] = value
        return Issue(self.source, self.issued_at, self.fetched_at, start, values, self.exact)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check of a source says of one zone, or of the source itself where `zone` is empty."""

    source: str
    zone: str
    ok: bool
    reason: str
    message: str
    feed: str = ""
    """What was asked for; empty where it was nothing."""
    grams_per_kwh: float | None = None
    """Now, by that feed."""
    age_seconds: float | None = None
    """Since the value was measured, or the forecast made."""
    licence: str = ""
    remaining_requests: int | None = None
    """As the provider tells it."""


class Source(Protocol):
    """A provider of carbon intensities or prices."""

    @property
    def name(self) -> str:
        """Such as `electricitymaps/v3`; stands in every reading and decision."""
        ...

    @property
    def remote(self) -> bool:
        """Whether a fetch may take long: such a source is asked in the background."""
        ...

    def offers(self, zone: str, kind: Kind, feed: Feed) -> bool:
        """Whether it could answer at all, as far as is known without asking."""
        ...

    def fetch(self, ask: Ask, now: datetime) -> Batch:
        """The answer, validated. Raises SourceError and nothing else."""
        ...

    def check(self, zones: Collection[str], now: datetime) -> tuple[Finding, ...]:
        """Key, zones and licences, tried before anything depends on them: a server with one real request for each zone
        and feed. Never raises.
        """
        ...


class SourceError(Exception):
    """A source gave nothing to use. `retry_at` says when asking again makes sense, if that is known."""

    reason = "Unavailable"

    def __init__(self, message: str, retry_at: datetime | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_at = retry_at


class UnavailableError(SourceError):
    """The network or the server failed; another try may succeed."""


class ThrottledError(SourceError):
    """We, or the server, hold requests back until `retry_at`."""

    reason = "Throttled"


class BadKeyError(SourceError):
    """The key is missing or wrong: nothing works until a person changes it."""

    reason = "BadKey"


class RefusedError(SourceError):
    """This zone or feed is not in the plan, or not known: asking again soon is of no use."""

    reason = "NotLicensed"


class UnknownZoneError(RefusedError):
    """The provider has no such zone."""

    reason = "UnknownZone"


class NoDataError(SourceError):
    """The provider has nothing for this zone at present."""

    reason = "NoData"


class MistrustedError(SourceError):
    """An answer came, but it can't be believed."""

    reason = "Mistrusted"


def provider_client(endpoint: Endpoint, clock: Clock, read: Callable[[bytes], Any] = read_json) -> JsonClient:
    """A client for a provider's server, which fails with UnavailableError and ThrottledError."""
    return JsonClient(endpoint, clock, UnavailableError, ThrottledError, read)


def tried(
    source: Source, zones: Collection[str], now: datetime, client: JsonClient, licence: str, unknown: str = ""
) -> tuple[Finding, ...]:
    """What a remote source answers for each zone and feed, asked now. What is wrong with all alike is said once.

    `unknown`: what to say of a zone that it does not offer; nothing is said where that is empty.
    """
    found = []
    for zone in sorted(zones):
        asks = _asks(source, zone, now)
        if not asks and unknown:
            found.append(Finding(source.name, zone, False, "UnknownZone", unknown))
        found += [_tried(source, ask, now, client, licence) for ask in asks]
    alike = {(each.ok, each.reason, each.message) for each in found}
    if len(alike) == 1 and found[0].reason == BadKeyError.reason:
        return (Finding(source.name, "", False, found[0].reason, found[0].message),)
    return tuple(found)


def _asks(source: Source, zone: str, now: datetime) -> list[Ask]:
    """Of the first kind that it offers."""
    spans = {Feed.MEASURED: (now - 24 * HOUR, now), Feed.FORECAST: (now, now + 24 * HOUR)}
    kinds = (kind for kind in SignalKind if any(source.offers(zone, kind, feed) for feed in spans))
    kind = next(kinds, None)
    if kind is None:
        return []
    return [Ask(zone, kind, feed, *span) for feed, span in spans.items() if source.offers(zone, kind, feed)]


def _tried(source: Source, ask: Ask, now: datetime, client: JsonClient, licence: str) -> Finding:
    try:
        batch = source.fetch(ask, now)
    except SourceError as error:
        return Finding(source.name, ask.zone, False, error.reason, error.message, ask.feed.value)
    if ask.feed is Feed.FORECAST:
        value, age = batch.readings[0].value, now - batch.issued_at
        what = f"{len(batch.readings)} values from {value:.0f} g/kWh on, made {_age(age)} ago"
    else:
        value, age = batch.readings[-1].value, now - batch.readings[-1].start
        what = f"{value:.0f} g/kWh, {_age(age)} old"
    refused = f"{len(batch.rejected)} values refused, the first: {batch.rejected[0]}" if batch.rejected else ""
    left = client.remaining_requests
    quota = "" if left is None else f"{left} requests left"
    said = "; ".join(filter(None, (f"{ask.kind.value}, {ask.feed.value}: {what}", refused, quota, licence)))
    return Finding(
        source.name, ask.zone, True, "Ready", said, ask.feed.value, value, max(0.0, age.total_seconds()), licence, left
    )


def _age(age: timedelta) -> str:
    """To the minute."""
    return format_duration(timedelta(minutes=max(0, age // timedelta(minutes=1))))
