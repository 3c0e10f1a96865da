"""EIA-930, the hourly electric grid monitor of the United States: net generation by fuel, with a free key.

Shape and quirks: https://www.eia.gov/opendata/documentation.php (API v2), route electricity/rto/fuel-type-data; 5,000
rows at most in an answer, with offset and length; `period` is the UTC time at which an hour ends
(https://www.eia.gov/electricity/930-content/EIA930_Reference_Tables.xlsx, "UTC time at end of hour"); values came as
numbers first, as text since 2023. The data are in the public domain; EIA asks to be named as their source.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from pydantic import Field

from carbonfleet.api.wire import Foreign, Wire, ZoneKey
from carbonfleet.clock import Clock
from carbonfleet.http import Endpoint, HttpAnswer, Key
from carbonfleet.signals.reading import HOUR
from carbonfleet.signals.source import (
    BadKeyError,
    MistrustedError,
    NoDataError,
    PlaceName,
    RefusedError,
    UnavailableError,
    provider_client,
)
from carbonfleet.signals.sources.generation.mix import Fuel
from carbonfleet.signals.sources.generation.provider import FuelSamples, MixSource
from carbonfleet.signals.validation import parse_time, read_items, shown

KEY_VARIABLE: Final = "EIA_API_KEY"
KEY_PAGE: Final = "https://www.eia.gov/opendata/register.php"
_ROWS: Final = 5000
_MOST_PAGES: Final = 20
_LONGEST_RANGE: Final = timedelta(days=92)
_ZONE: Final = re.compile(r"US-[A-Z]+-([A-Z]+)")
FUELS: Final[Mapping[str, Fuel | None]] = {
    "COL": Fuel.COAL,
    "NG": Fuel.GAS,
    "OIL": Fuel.OIL,
    "NUC": Fuel.NUCLEAR,
    "WAT": Fuel.HYDRO,
    "WND": Fuel.WIND_ONSHORE,
    "SUN": Fuel.SOLAR,
    "GEO": Fuel.GEOTHERMAL,
    "OTH": Fuel.OTHER,
    "UNK": Fuel.OTHER,
    # Storage, and since 2024 what is reported together with it: batteries beside solar (SNB) and wind (WNB).
    "SNB": Fuel.SOLAR,
    "WNB": Fuel.WIND_ONSHORE,
    "BAT": None,
    "PS": None,
    "OES": None,
    "UES": None,
}


class _Row(Foreign):
    period: object = None
    respondent: object = None
    fueltype: object = None
    value: object = None
    units: object = Field(default=None, alias="value-units")


class Eia930Settings(Wire):
    """EIA-930: the balancing authorities of the United States, with a free key."""

    type: Literal["eia-930"] = "eia-930"
    endpoint: Endpoint = Endpoint(url="https://api.eia.gov", read_seconds=30)
    key: Key = Key(variable=KEY_VARIABLE)
    respondents: Mapping[ZoneKey, PlaceName] = {}
    """EIA's code for a zone; otherwise the last part of its key, such as PJM of US-MIDA-PJM."""


class Eia930:
    """Net generation of one balancing authority at a time."""

    name = "eia-930"
    licence = "public domain, EIA"

    def __init__(self, settings: Eia930Settings, clock: Clock) -> None:
        self._settings = settings
        self.client = provider_client(settings.endpoint, clock)

    def place(self, zone: str) -> str | None:
        """The respondent's code."""
        found = _ZONE.fullmatch(zone)
        return self._settings.respondents.get(zone) or (found[1] if found else None)

    def samples(self, place: str, start: datetime, end: datetime) -> FuelSamples:
        """At most 92 days, in pages."""
        rows: list[_Row] = []
        start = max(start, end - _LONGEST_RANGE)
        for page in range(_MOST_PAGES):
            found = self._page(place, start, end, page * _ROWS)
            rows += found
            if len(found) < _ROWS:
                return _samples(place, rows)
        raise MistrustedError(f"{self.name} gave no end of rows for {place}")

    def _page(self, place: str, start: datetime, end: datetime, offset: int) -> list[_Row]:
        key = self._settings.key.read()
        if not key.get_secret_value():
            raise BadKeyError(f"no EIA key is set: {KEY_VARIABLE} takes one, free of charge from {KEY_PAGE}")
        query: dict[str, Any] = {
            "api_key": key,
            "frequency": "hourly",
            "data[0]": "value",
            "facets[respondent][]": place,
            # Hours are named by their ends.
            "start": _period(start + HOUR),
            "end": _period(end + HOUR),
            "sort[0][column]": "period",
            "sort[0][direction]": "asc",
            "offset": offset,
            "length": _ROWS,
        }
        answer = self.client.get("v2/electricity/rto/fuel-type-data/data/", query, {})
        _raise_for(answer)
        response = answer.body.get("response") if isinstance(answer.body, dict) else None
        rows = response.get("data") if isinstance(response, dict) else None
        if not isinstance(rows, list):
            raise MistrustedError(f"{self.name} answered in a form that is not documented")
        return read_items(rows, _Row)


def _period(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H")


def _samples(place: str, rows: Iterable[_Row]) -> FuelSamples:
    samples = FuelSamples(HOUR)
    for row in rows:
        name = shown(row.fueltype)
        if row.respondent != place or (fuel := FUELS.get(name, Fuel.OTHER)) is None:
            continue
        if row.units in (None, "megawatthours"):
            samples.add(name, fuel, _start(row.period), _number(row.value))
        else:
            samples.lose(name, f"in {shown(row.units)}, where megawatthours were asked for")
    if not samples.values and not samples.lost:
        raise NoDataError(f"eia-930 has no generation by fuel of {place}")
    return samples


def _start(period: object) -> datetime | None:
    end = parse_time(f"{period}:00Z") if isinstance(period, str) else None
    return end - HOUR if end is not None and end.year > 1 else None


def _number(value: object) -> object:
    """Values come as text or as numbers."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _raise_for(answer: HttpAnswer) -> None:
    """An error may come as `{"error": {"code", "message"}}`, or as `{"error": "...", "code": 400}` and HTTP 200."""
    error = answer.body.get("error") if isinstance(answer.body, dict) else None
    if answer.status == 200 and not error:
        return
    code = str(error.get("code", "") if isinstance(error, dict) else "")
    said = str(error.get("message", "") if isinstance(error, dict) else error or answer.text)[:200]
    if code.startswith("API_KEY") or answer.status in (401, 403):
        raise BadKeyError(f"EIA refuses the key ({code or answer.status}): check it, or get one at {KEY_PAGE}")
    if answer.status in (400, 404):
        raise RefusedError(f"EIA can't answer (HTTP {answer.status}): {said}")
    raise UnavailableError(f"EIA answered HTTP {answer.status}: {said}")


def eia930_source(settings: Eia930Settings, clock: Clock) -> MixSource:
    """The source that settings describe."""
    return MixSource(Eia930(settings, clock))
