"""WattTime version 3: marginal emissions in pounds per MWh at five minutes, as g/kWh."""

import base64
import math
import threading
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from carbonfleet.api.signal import SignalKind
from carbonfleet.api.wire import Wire, ZoneKey, format_time
from carbonfleet.clock import Clock
from carbonfleet.http import Endpoint, HttpAnswer, Key
from carbonfleet.signals.reading import HOUR, Kind
from carbonfleet.signals.regions import watttime_regions
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
    UnknownZoneError,
    provider_client,
    tried,
)
from carbonfleet.signals.validation import Frame, Point, batch_of, read_items

GRAMS_PER_KWH: Final = 0.45359237
"""Of one pound per MWh: a pound is exactly 453.59237 g, and 1 lb/MWh is 1 lb per 1,000 kWh."""
_UNITS: Final = "lbs_co2_per_mwh"
_STEP_SECONDS: Final = 300
_LONGEST_HORIZON_HOURS: Final = 72
_LONGEST_RANGE: Final = timedelta(days=30)
_SIGNALS: Final[Mapping[Kind, str]] = {SignalKind.MARGINAL: "co2_moer"}


class _Foreign(BaseModel):
    """WattTime writes names with underscores."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Value(_Foreign):
    point_time: object = None
    value: object = None


class _Meta(_Foreign):
    region: str
    signal_type: str
    units: str
    data_point_period_seconds: int
    generated_at: object = None


class _Series(_Foreign):
    data: list[object]
    meta: _Meta


class WattTimeSettings(Wire):
    """WattTime's marginal emissions."""

    type: Literal["watttime"] = "watttime"
    endpoint: Endpoint = Endpoint(url="https://api.watttime.org")
    username: Key = Key(variable="WATTTIME_USERNAME")
    password: Key = Key(variable="WATTTIME_PASSWORD")
    regions: Mapping[ZoneKey, PlaceName] = {}
    """WattTime's region for a zone, over the region table's."""


class WattTime:
    """One account with WattTime."""

    name = "watttime/v3"
    remote = True

    def __init__(self, settings: WattTimeSettings, clock: Clock) -> None:
        self._settings = settings
        self._client = provider_client(settings.endpoint, clock)
        self._token = ""
        self._lock = threading.Lock()

    def offers(self, zone: str, kind: Kind, feed: Feed) -> bool:
        """Marginal intensities of the zones whose region is known."""
        return kind in _SIGNALS and feed is not Feed.STATIC and self._region(zone) is not None

    def fetch(self, ask: Ask, now: datetime) -> Batch:
        """One request, a login before it where the last one has expired. Raises SourceError."""
        region = self._region(ask.zone)
        if region is None:
            raise UnknownZoneError(f"no WattTime region is known for {ask.zone}: set one under regions")
        path, query = _question(ask, region, now)
        answer = self._get(path, query)
        _raise_for(answer, region)
        return _batch(ask, region, _parsed(answer), now)

    def check(self, zones: Collection[str], now: datetime) -> tuple[Finding, ...]:
        """The login, then each zone's region."""
        return tried(
            self, zones, now, self._client, "by your WattTime plan's terms", "no WattTime region is known for it"
        )

    def _region(self, zone: str) -> str | None:
        return self._settings.regions.get(zone) or watttime_regions().get(zone)

    def _get(self, path: str, query: Mapping[str, Any]) -> HttpAnswer:
        """With the token in hand; once more with a new one where it has expired."""
        token = self._token or self._login("")
        answer = self._client.get(path, query, {"Authorization": f"Bearer {token}"})
        if answer.status != 401:
            return answer
        token = self._login(token)
        return self._client.get(path, query, {"Authorization": f"Bearer {token}"})

    def _login(self, expired: str) -> str:
        """A new token; of several threads with the same expired one, only the first logs in."""
        with self._lock:
            if self._token and self._token != expired:
                return self._token
            answer = self._client.get("login", {}, {"Authorization": self._basic()})
            token = answer.body.get("token") if isinstance(answer.body, dict) else None
            if answer.status != 200 or not isinstance(token, str) or not token:
                raise BadKeyError("WattTime refuses the login: check user name and password")
            self._token = token
            return token

    def _basic(self) -> str:
        user = self._settings.username.read().get_secret_value()
        password = self._settings.password.read().get_secret_value()
        if not (user and password):
            raise BadKeyError("no user name or password for WattTime is set")
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _question(ask: Ask, region: str, now: datetime) -> tuple[str, dict[str, Any]]:
    query: dict[str, Any] = {"region": region, "signal_type": _SIGNALS[ask.kind]}
    if ask.feed is Feed.FORECAST:
        wanted = max(1, math.ceil((ask.end - now) / HOUR))
        # The parameter is horizon_hours: any other spelling is ignored, and a day is all that comes.
        return "v3/forecast", query | {"horizon_hours": min(wanted, _LONGEST_HORIZON_HOURS)}
    end = min(ask.end, ask.start + _LONGEST_RANGE)
    # Their end is inclusive, ours is not.
    last = end - timedelta(seconds=_STEP_SECONDS)
    return "v3/historical", query | {"start": format_time(ask.start), "end": format_time(last)}


def _batch(ask: Ask, region: str, series: _Series, now: datetime) -> Batch:
    meta = series.meta
    wanted = (region, _SIGNALS[ask.kind], _UNITS, _STEP_SECONDS)
    found = (meta.region, meta.signal_type, meta.units, meta.data_point_period_seconds)
    if found != wanted:
        raise MistrustedError(f"WattTime was asked for {wanted} and answered {found}"[:300])
    frame = Frame(ask, WattTime.name, timedelta(seconds=_STEP_SECONDS), now, GRAMS_PER_KWH)
    points = (Point(item.point_time, item.value) for item in read_items(series.data, _Value))
    return batch_of(points, frame, meta.generated_at)


def _parsed(answer: HttpAnswer) -> _Series:
    try:
        return _Series.model_validate(answer.body)
    except ValidationError as error:
        raise MistrustedError("WattTime answered in a form that is not documented") from error


def _raise_for(answer: HttpAnswer, region: str) -> None:
    if answer.status == 200:
        return
    if answer.status == 401:
        raise BadKeyError("WattTime refuses the token it has just given")
    if answer.status == 403:
        raise RefusedError(f"the plan of this WattTime account does not include {region}")
    if answer.status == 404:
        raise NoDataError(f"WattTime has no data for {region}")
    raise UnknownZoneError(f"WattTime can't answer for {region} (HTTP {answer.status}): {answer.text}")
