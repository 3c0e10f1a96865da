"""Energy-Charts of Fraunhofer ISE: public net generation of Europe's countries by fuel, without a key.

Shape and quirks: https://api.energy-charts.info/openapi.json, `public_power`: times in UNIX seconds, a list for each
series with null where nothing is known, `end` inclusive, steps of 15 minutes or an hour, series that are no generation
(load, shares, trade) among the others, 404 without content, two requests a minute and four at once. Data under
CC BY 4.0, to be attributed to energy-charts.info; their publishing notes ask for consent to commercial use.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from carbonfleet.api.wire import Foreign, Wire, ZoneKey
from carbonfleet.clock import Clock
from carbonfleet.http import Endpoint, HttpAnswer
from carbonfleet.signals.source import (
    MistrustedError,
    NoDataError,
    PlaceName,
    UnavailableError,
    UnknownZoneError,
    provider_client,
)
from carbonfleet.signals.sources.generation.mix import Fuel
from carbonfleet.signals.sources.generation.provider import FuelSamples, MixSource, one_step
from carbonfleet.signals.validation import read_items

COUNTRIES: Final = re.compile(
    "AT|BA|BE|BG|CH|CY|CZ|DE|DK|EE|ES|FI|FR|GE|GR|HR|HU|IE|IT|LT|LU|LV|MD|ME|MK|NL|NO|PL|PT|RO|RS|SE|SI|SK|XK"
)
"""Countries that are a zone as a whole. Where a country has several zones (NO-NO1), its mix is not theirs."""
FUELS: Final[Mapping[str, Fuel | None]] = {
    "Biomass": Fuel.BIOMASS,
    "Fossil brown coal / lignite": Fuel.LIGNITE,
    "Fossil coal-derived gas": Fuel.COAL,
    "Fossil gas": Fuel.GAS,
    "Fossil hard coal": Fuel.COAL,
    "Fossil oil": Fuel.OIL,
    "Fossil oil shale": Fuel.OIL_SHALE,
    "Fossil peat": Fuel.PEAT,
    "Geothermal": Fuel.GEOTHERMAL,
    "Hydro Run-of-River": Fuel.HYDRO,
    "Hydro water reservoir": Fuel.HYDRO,
    "Marine": Fuel.MARINE,
    "Nuclear": Fuel.NUCLEAR,
    "Other renewables": Fuel.BIOMASS,
    "Others": Fuel.OTHER,
    "Waste": Fuel.OTHER,
    "Solar": Fuel.SOLAR,
    "Wind offshore": Fuel.WIND_OFFSHORE,
    "Wind onshore": Fuel.WIND_ONSHORE,
    # Storage, and what is no generation.
    "Hydro pumped storage": None,
    "Hydro pumped storage consumption": None,
    "Battery Storage (Power)": None,
    "Cross border electricity trading": None,
    "Load": None,
    "Load (incl. self-consumption)": None,
    "Residual load": None,
    "Renewable share of load": None,
    "Renewable share of generation": None,
}
_NEVER_FUEL: Final = ("load", "share", "trading", "storage", "battery", "import", "export", "price", "forecast")
"""Words of names to come that are no fuel either."""
_LONGEST_RANGE: Final = timedelta(days=62)
"""They end requests for a quarter of a year before these are answered."""
_MOST_SERIES: Final = 100
_NO_TIME: Final = 2**33
"""Seconds since 1970, some centuries on: milliseconds, perhaps."""


class _Series(Foreign):
    name: object = None
    data: object = None


class _Power(Foreign):
    unix_seconds: list[object]
    production_types: Annotated[list[object], Field(max_length=_MOST_SERIES)]


class EnergyChartsSettings(Wire):
    """Energy-Charts: Europe's countries, without a key."""

    type: Literal["energy-charts"] = "energy-charts"
    endpoint: Endpoint = Endpoint(url="https://api.energy-charts.info", read_seconds=30, requests_per_minute=2, burst=4)
    countries: Mapping[ZoneKey, PlaceName] = {}
    """A country's code for a zone, such as no for NO-NO1: the mix of all Norway then stands for that part of it."""


class EnergyCharts:
    """Public net generation of one country at a time."""

    name = "energy-charts"
    licence = "CC BY 4.0, energy-charts.info"

    def __init__(self, settings: EnergyChartsSettings, clock: Clock) -> None:
        self._settings = settings
        self.client = provider_client(settings.endpoint, clock)

    def place(self, zone: str) -> str | None:
        """The country's code."""
        return self._settings.countries.get(zone) or (zone.lower() if COUNTRIES.fullmatch(zone) else None)

    def samples(self, place: str, start: datetime, end: datetime) -> FuelSamples:
        """At most 62 days, in one request."""
        start = max(start, end - _LONGEST_RANGE)
        query = {"country": place, "start": _minute(start), "end": _minute(end)}
        answer = self.client.get("public_power", query, {})
        _raise_for(answer, place)
        try:
            power = _Power.model_validate(answer.body)
        except ValidationError as error:
            raise MistrustedError(f"{self.name} answered in a form that is not documented") from error
        starts = [_moment(second) for second in power.unix_seconds]
        return _samples(place, starts, read_items(power.production_types, _Series))


def _moment(second: object) -> datetime | None:
    """None where it can't be told which time is meant."""
    return datetime.fromtimestamp(second, UTC) if isinstance(second, int) and 0 < second < _NO_TIME else None


def _minute(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


def _samples(place: str, starts: Sequence[datetime | None], series: Iterable[_Series]) -> FuelSamples:
    samples = FuelSamples(one_step(filter(None, starts), "energy-charts"))
    for each in series:
        name = each.name if isinstance(each.name, str) else ""
        fuel = FUELS.get(name, None if _is_no_fuel(name) else Fuel.OTHER)
        if fuel is None or (name and each.data is None):
            continue
        if not name or not isinstance(each.data, list) or len(each.data) != len(starts):
            samples.lose(name, "it has no name, or is not as long as the times")
            continue
        for start, value in zip(starts, each.data, strict=True):
            if start is not None:
                samples.add(name, fuel, start, value)
    if not samples.values and not samples.lost:
        raise NoDataError(f"energy-charts has no generation of {place}")
    return samples


def _is_no_fuel(name: str) -> bool:
    return any(word in name.lower() for word in _NEVER_FUEL)


def _raise_for(answer: HttpAnswer, place: str) -> None:
    if answer.status == 200:
        return
    detail = answer.body.get("detail") if isinstance(answer.body, dict) else None
    said = str(detail or answer.text)[:200]
    if answer.status == 404:
        raise NoDataError(f"energy-charts has no generation of {place}: {said}")
    if answer.status in (400, 422):
        raise UnknownZoneError(f"energy-charts can't answer for {place} (HTTP {answer.status}): {said}")
    raise UnavailableError(f"energy-charts answered HTTP {answer.status}: {said}")


def energycharts_source(settings: EnergyChartsSettings, clock: Clock) -> MixSource:
    """The source that settings describe."""
    return MixSource(EnergyCharts(settings, clock))
