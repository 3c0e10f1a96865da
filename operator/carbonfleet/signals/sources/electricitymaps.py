"""Electricity Maps, versions 3 and 4: forecasts, the last day, and past ranges of its zones."""

import threading
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from carbonfleet.api.signal import SignalKind
from carbonfleet.api.wire import Foreign, Wire, ZoneKey, format_time
from carbonfleet.clock import Clock
from carbonfleet.http import Endpoint, HttpAnswer, Key
from carbonfleet.signals.reading import HOUR, Kind, PriceKind, Reason
from carbonfleet.signals.source import (
    Ask,
    BadKeyError,
    Batch,
    Feed,
    Finding,
    MistrustedError,
    NoDataError,
    PlaceName,
    RefusedError,
    SourceError,
    UnknownZoneError,
    provider_client,
    tried,
)
from carbonfleet.signals.validation import Frame, Point, batch_of, read_items, shown

_ENDPOINTS: Final = {
    Feed.FORECAST: ("forecast",),
    # The newest value of history is the latest; a plan without history may still have latest.
    Feed.MEASURED: ("history", "latest"),
    Feed.PAST: ("past-range",),
}
_SIGNALS: Final[Mapping[Kind, str]] = {
    SignalKind.AVERAGE_LIFECYCLE: "carbon-intensity",
    SignalKind.AVERAGE_DIRECT: "carbon-intensity",
    PriceKind.DAY_AHEAD: "price-day-ahead",
}
_FACTOR_TYPES: Final = {SignalKind.AVERAGE_LIFECYCLE: "lifecycle", SignalKind.AVERAGE_DIRECT: "direct"}
_PAST_RANGE_LIMIT: Final = timedelta(days=10)
_CATALOGUE_AGE: Final = timedelta(hours=24)


class _Item(Foreign):
    """One value of an answer; nothing in it is believed before it is validated."""

    zone: object = None
    carbon_intensity: object = None
    value: object = None
    unit: object = None
    datetime: object = None
    emission_factor_type: object = None
    is_estimated: object = None


class _Series(_Item):
    """An answer: a list, which v3 and v4 name differently, or for `latest` one flat value."""

    zone: str
    history: object = None
    forecast: object = None
    data: object = None
    updated_at: object = None
    temporal_granularity: object = "hourly"

    @property
    def items(self) -> Sequence[_Item]:
        """The list, under whichever name it came; a flat value as a list of one."""
        lists = (self.history, self.forecast, self.data)
        found = next((found for found in lists if isinstance(found, list)), None)
        if found is None:
            return (self,) if self.datetime else ()
        return read_items(found, _Item)


class _Zone(Foreign):
    """An entry of the list of zones."""

    zone_name: object = ""
    access: tuple[object, ...] | None = Field(default=None)


TOKEN_VARIABLE: Final = "ELECTRICITY_MAPS_TOKEN"  # noqa: S105 - the variable's name


class ElectricityMapsSettings(Wire):
    """Electricity Maps, version 3 or 4 of its API."""

    type: Literal["electricitymaps"] = "electricitymaps"
    version: Literal["v3", "v4"] = "v3"
    endpoint: Endpoint = Endpoint(url="https://api.electricitymaps.com")
    token: Key = Key(variable=TOKEN_VARIABLE)
    horizon_hours: Annotated[int, Field(ge=1, le=168)] = 72
    locations: Mapping[ZoneKey, PlaceName] = {}
    """How to ask for a zone other than by its key: `lat,lon`, or `provider:region` of a cloud."""


class ElectricityMaps:
    """One account with Electricity Maps."""

    remote = True

    def __init__(self, settings: ElectricityMapsSettings, clock: Clock) -> None:
        self._settings = settings
        self._client = provider_client(settings.endpoint, clock)
        self._catalogue: Mapping[str, _Zone] | None = None
        self._catalogue_at: datetime | None = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """`electricitymaps/v3`."""
        return f"electricitymaps/{self._settings.version}"

    def offers(self, zone: str, kind: Kind, feed: Feed) -> bool:
        """Average intensities and day-ahead prices; forecasts of intensity are lifecycle only."""
        if kind not in _SIGNALS or feed not in _ENDPOINTS:
            return False
        return not (feed is Feed.FORECAST and kind is SignalKind.AVERAGE_DIRECT)

    def fetch(self, ask: Ask, now: datetime) -> Batch:
        """One request, and once a day one more for the list of zones. Raises SourceError."""
        token = self._token()
        path = self._admitted(ask, token, now)
        answer = self._client.get(f"{self._settings.version}/{path}", self._query(ask), token)
        _raise_for(answer, ask.zone)
        return self._batch(ask, _parsed(answer), now)

    def check(self, zones: Collection[str], now: datetime) -> tuple[Finding, ...]:
        """Each zone, asked for its measured values and its forecast."""
        return tried(self, zones, now, self._client, "© Electricity Maps, by your plan's terms")

    def _token(self) -> dict[str, str]:
        token = self._settings.token.read().get_secret_value()
        if not token:
            where = self._settings.token.file or self._settings.token.variable
            raise BadKeyError(f"no token for {self.name}: put one into {where}")
        if not (token.isascii() and token.isprintable()):
            raise BadKeyError(f"the token for {self.name} holds characters that a header can't carry")
        return {"auth-token": token}

    def _query(self, ask: Ask) -> dict[str, Any]:
        # Without disableCallerLookup an unknown zone is answered with the caller's own, by IP address.
        query: dict[str, Any] = {**self._location(ask.zone), "disableCallerLookup": "true"}
        if ask.feed is Feed.FORECAST:
            query["horizonHours"] = self._settings.horizon_hours
        elif isinstance(ask.kind, SignalKind):
            query["emissionFactorType"] = _FACTOR_TYPES[ask.kind]
        if ask.feed is Feed.PAST:
            end = min(ask.end, ask.start + _PAST_RANGE_LIMIT)
            query |= {"start": format_time(ask.start), "end": format_time(end)}
        return query

    def _location(self, zone: str) -> dict[str, str]:
        text = self._settings.locations.get(zone, "")
        if ":" in text:
            provider, region = text.split(":", 1)
            return {"dataCenterProvider": provider, "dataCenterRegion": region}
        if "," in text:
            latitude, longitude = text.split(",", 1)
            return {"lat": latitude.strip(), "lon": longitude.strip()}
        return {"zone": zone}

    def _batch(self, ask: Ask, series: _Series, now: datetime) -> Batch:
        if series.zone != ask.zone:
            raise MistrustedError(f"{self.name} was asked for {ask.zone} and answered for {series.zone[:32]!r}")
        if series.temporal_granularity != "hourly":
            raise MistrustedError(f"{self.name} answered {shown(series.temporal_granularity)!r} values, not hourly")
        points = (_point(item, ask) for item in series.items)
        return batch_of(points, Frame(ask, self.name, HOUR, now), series.updated_at)

    def _admitted(self, ask: Ask, token: Mapping[str, str], now: datetime) -> str:
        """The endpoint to ask. Raises RefusedError where the list of zones rules the question out."""
        paths = [f"{_SIGNALS[ask.kind]}/{endpoint}" for endpoint in _ENDPOINTS[ask.feed]]
        if ask.zone in self._settings.locations:
            return paths[0]
        try:
            catalogue = self._load_catalogue(token, now)
        except SourceError:
            return paths[0]  # Not knowing the list is no reason not to ask.
        return _admit(ask.zone, paths, catalogue)

    def _load_catalogue(self, token: Mapping[str, str], now: datetime) -> Mapping[str, _Zone]:
        with self._lock:
            known, read_at = self._catalogue, self._catalogue_at
            if known is None or read_at is None or now - read_at > _CATALOGUE_AGE:
                known = self._read_catalogue(token)
                self._catalogue, self._catalogue_at = known, now
            return known

    def _read_catalogue(self, token: Mapping[str, str]) -> Mapping[str, _Zone]:
        answer = self._client.get(f"{self._settings.version}/zones", {}, token)
        _raise_for(answer, "")
        try:
            zones = dict(zip(answer.body, read_items([*answer.body.values()], _Zone), strict=True))
        except (AttributeError, TypeError) as error:
            raise MistrustedError(f"{self.name}: the list of zones is not as documented") from error
        if not zones:
            raise NoDataError(f"{self.name}: the list of zones is empty")
        return zones


def _admit(zone: str, paths: Sequence[str], catalogue: Mapping[str, _Zone]) -> str:
    """The first of `paths` that the plan allows for a zone."""
    entry = catalogue.get(zone)
    if entry is None:
        near = get_close_matches(zone, catalogue, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UnknownZoneError(f"Electricity Maps knows no zone {zone}{hint}")
    if entry.access is None or "*" in entry.access:
        return paths[0]
    allowed = next((path for path in paths if path in (entry.access or ())), None)
    if allowed is None:
        raise RefusedError(f"the plan of this Electricity Maps token does not include {paths[0]} for {zone}")
    return allowed


def _point(item: _Item, ask: Ask) -> Point:
    refused = None
    if item.zone is not None and item.zone != ask.zone:
        refused = (Reason.WRONG_ZONE, f"of zone {shown(item.zone)}")
    if isinstance(ask.kind, PriceKind):
        if item.unit != "EUR/MWh":
            refused = (Reason.WRONG_KIND, f"in {shown(item.unit)}, not EUR/MWh")
        return Point(item.datetime, item.value, refused=refused)
    if item.emission_factor_type not in (None, _FACTOR_TYPES[ask.kind]):
        refused = (Reason.WRONG_KIND, f"{shown(item.emission_factor_type)} factors")
    return Point(item.datetime, item.carbon_intensity, item.is_estimated in (None, False), refused)


def _parsed(answer: HttpAnswer) -> _Series:
    try:
        return _Series.model_validate(answer.body)
    except ValidationError as error:
        raise MistrustedError("Electricity Maps answered in a form that is not documented") from error


def _raise_for(answer: HttpAnswer, zone: str) -> None:
    """Turn Electricity Maps' refusals into ours. A 401 may be about the key, or about the zone alone."""
    if answer.status == 200:
        return
    said = _message(answer)
    about_zone = any(words in said.lower() for words in ("unauthorized for zone", "endpoint not available"))
    if answer.status == 403 or (answer.status == 401 and about_zone):
        raise RefusedError(f"Electricity Maps refuses {zone or 'the list of zones'}: {said}")
    if answer.status == 401:
        raise BadKeyError(f"Electricity Maps refuses the token: {said}")
    if answer.status == 404:
        raise NoDataError(f"Electricity Maps has no recent data for {zone}")
    raise UnknownZoneError(f"Electricity Maps can't answer for {zone} (HTTP {answer.status}): {said}")


def _message(answer: HttpAnswer) -> str:
    body = answer.body if isinstance(answer.body, dict) else {}
    return str(body.get("message") or body.get("error") or answer.text or f"HTTP {answer.status}")[:200]
