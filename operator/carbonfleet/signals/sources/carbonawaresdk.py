"""A Carbon Aware SDK web API that somebody hosts: one interface to whatever source stands behind it."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import Field

from carbonfleet.api.signal import SignalKind
from carbonfleet.api.wire import Foreign, Wire, ZoneKey, format_time
from carbonfleet.clock import Clock
from carbonfleet.http import Endpoint, HttpAnswer
from carbonfleet.signals.reading import Kind, Reason
from carbonfleet.signals.source import (
    Ask,
    Batch,
    Feed,
    Finding,
    MistrustedError,
    NoDataError,
    PlaceName,
    RefusedError,
    UnknownZoneError,
    provider_client,
    tried,
)
from carbonfleet.signals.validation import Frame, Item, Point, batch_of, read_items, shown

_NULL: Final = -1
"""What the SDK writes where its own source gave null."""
_LONGEST_MINUTES: Final = 24 * 60


class _Emission(Foreign):
    location: object = None
    time: object = None
    rating: object = None
    duration: object = None


class _Predicted(Foreign):
    location: object = None
    timestamp: object = None
    value: object = None
    duration: object = None


class _Prediction(Foreign):
    location: object = None
    generated_at: object = None
    forecast_data: object = None


_Timed = tuple[_Emission | _Predicted, object, object, timedelta | None]
"""A value with its time, itself, and how long it holds."""


class CarbonAwareSdkSettings(Wire):
    """A Carbon Aware SDK web API."""

    type: Literal["carbon-aware-sdk"] = "carbon-aware-sdk"
    endpoint: Endpoint
    kind: SignalKind
    """What the source behind it measures: it does not say so itself."""
    locations: Annotated[Mapping[ZoneKey, PlaceName], Field(min_length=1, max_length=1000)]
    """Its name for each zone."""


class CarbonAwareSdk:
    """One web API. Which kind of signal stands behind it, only its operator knows: it is a setting."""

    name = "carbon-aware-sdk"
    remote = True

    def __init__(self, settings: CarbonAwareSdkSettings, clock: Clock) -> None:
        self._kind = settings.kind
        self._locations = settings.locations
        self._client = provider_client(settings.endpoint, clock)

    def offers(self, zone: str, kind: Kind, feed: Feed) -> bool:
        """The zones for which a location is set."""
        return kind is self._kind and zone in self._locations and feed is not Feed.STATIC

    def fetch(self, ask: Ask, now: datetime) -> Batch:
        """One request. Raises SourceError."""
        if ask.feed is Feed.FORECAST:
            return self._forecast(ask, now)
        return self._measured(ask, now)

    def check(self, zones: Collection[str], now: datetime) -> tuple[Finding, ...]:
        """Each zone for which a location is set."""
        return tried(self, zones, now, self._client, "by the terms of the source behind it")

    def _forecast(self, ask: Ask, now: datetime) -> Batch:
        location = self._locations[ask.zone]
        answer = self._client.get("emissions/forecasts/current", {"location": location}, {})
        _raise_for(answer, location)
        found = [item for item in _parsed(answer, _Prediction) if item.location == location]
        if not found:
            raise MistrustedError(f"{self.name} was asked for {location} and answered for another location")
        items = read_items(found[0].forecast_data, _Predicted)
        values = [(item, item.timestamp, item.value, _minutes(item.duration)) for item in items]
        return self._batch(ask, values, now, found[0].generated_at)

    def _measured(self, ask: Ask, now: datetime) -> Batch:
        location = self._locations[ask.zone]
        query = {"location": location, "time": format_time(ask.start), "toTime": format_time(ask.end)}
        answer = self._client.get("emissions/bylocation", query, {})
        _raise_for(answer, location)
        items = _parsed(answer, _Emission)
        # With Electricity Maps behind it, `time` is when the value was updated: not the start of a step,
        # so it is refused as such.
        return self._batch(ask, [(item, item.time, item.rating, _duration(item.duration)) for item in items], now)

    def _batch(self, ask: Ask, values: Sequence[_Timed], now: datetime, issued: object = None) -> Batch:
        location, step = self._locations[ask.zone], _usual_step(values)
        points = [
            Point(at, None if value == _NULL else value, refused=_other(item, location) or _odd(each, step))
            for item, at, value, each in values
        ]
        return batch_of(points, Frame(ask, self.name, step, now), issued)


def _other(item: _Emission | _Predicted, location: str) -> tuple[Reason, str] | None:
    return None if item.location == location else (Reason.WRONG_ZONE, f"of location {shown(item.location)}")


def _odd(step: timedelta | None, usual: timedelta) -> tuple[Reason, str] | None:
    return None if step == usual else (Reason.BAD_TIME, "it holds for another time than the others")


def _usual_step(values: Sequence[_Timed]) -> timedelta:
    """How long most of those values hold that say it."""
    if not values:
        raise NoDataError("the Carbon Aware SDK answered with an empty list")
    steps = Counter(step for *_, step in values if step is not None).most_common(2)
    if not steps or (len(steps) > 1 and steps[0][1] == steps[1][1]):
        raise MistrustedError("the Carbon Aware SDK answered with steps of different, or no, length")
    return steps[0][0]


def _minutes(number: object) -> timedelta | None:
    if isinstance(number, bool) or not isinstance(number, int | float) or not 1 <= number <= _LONGEST_MINUTES:
        return None
    return timedelta(minutes=number)


def _duration(text: object) -> timedelta | None:
    """`00:30:00`."""
    parts = text.split(":") if isinstance(text, str) else ()
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) <= 2 for part in parts):
        return None
    hours, minutes, seconds = map(int, parts)
    return _minutes(60 * hours + minutes + seconds / 60)


def _parsed(answer: HttpAnswer, model: type[Item]) -> Sequence[Item]:
    if not isinstance(answer.body, list):
        raise MistrustedError("the Carbon Aware SDK answered in an unknown form")
    return read_items(answer.body, model)


def _raise_for(answer: HttpAnswer, location: str) -> None:
    if answer.status == 200:
        return
    if answer.status == 204:
        raise NoDataError(f"the Carbon Aware SDK has no data for {location}")
    if answer.status == 501:
        raise RefusedError("the source behind the Carbon Aware SDK has no forecasts")
    raise UnknownZoneError(
        f"the Carbon Aware SDK can't answer for {location} (HTTP {answer.status}): {_detail(answer.body)}"
    )


def _detail(body: object) -> str:
    return str(body.get("detail") or body.get("title") or "")[:200] if isinstance(body, dict) else ""
