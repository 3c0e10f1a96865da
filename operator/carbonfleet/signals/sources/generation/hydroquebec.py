"""Hydro-Québec's open data: what is generated in Québec by source, the last two days by the hour, without a key.

Shape and quirks: https://donnees.hydroquebec.com/explore/dataset/production-electricite-quebec (Opendatasoft, explore
API 2.1): some 48 records, times with an offset, hours to come as zeros or nulls. CC BY-NC 4.0: for uses that are not
commercial, with Hydro-Québec named. What is thermal is the gas turbine of Bécancour; what is other is mostly biomass.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from carbonfleet.api.wire import Wire
from carbonfleet.clock import Clock
from carbonfleet.http import Endpoint
from carbonfleet.signals.source import MistrustedError, NoDataError, UnavailableError, provider_client
from carbonfleet.signals.sources.generation.mix import Fuel
from carbonfleet.signals.sources.generation.provider import FuelSamples, MixSource, one_step
from carbonfleet.signals.validation import parse_time

ZONE: Final = "CA-QC"
FUELS: Final[Mapping[str, Fuel]] = {
    "valeurs_hydraulique": Fuel.HYDRO,
    "valeurs_eolien": Fuel.WIND_ONSHORE,
    "valeurs_solaire": Fuel.SOLAR,
    "valeurs_thermique": Fuel.GAS,
    "valeurs_autres": Fuel.BIOMASS,
}
_SUMS: Final = ("valeurs_total", "valeurs_demandetotal")
_KEPT: Final = timedelta(days=3)


class HydroQuebecSettings(Wire):
    """Hydro-Québec's open data: Québec, without a key, for uses that are not commercial."""

    type: Literal["hydro-quebec"] = "hydro-quebec"
    endpoint: Endpoint = Endpoint(url="https://donnees.hydroquebec.com", read_seconds=30, requests_per_minute=30)


class HydroQuebec:
    """Québec alone."""

    name = "hydro-quebec"
    licence = "CC BY-NC 4.0, Hydro-Québec"

    def __init__(self, settings: HydroQuebecSettings, clock: Clock) -> None:
        self._clock = clock
        self.client = provider_client(settings.endpoint, clock)

    def place(self, zone: str) -> str | None:
        """The data set."""
        return "production-electricite-quebec" if zone == ZONE else None

    def samples(self, place: str, start: datetime, end: datetime) -> FuelSamples:
        """The last two days, in one request."""
        now = self._clock.now()
        if end < now - _KEPT:
            raise NoDataError(f"{self.name} keeps the last two days, and {end} is before them")
        query = {"limit": 100, "order_by": "date", "timezone": "UTC"}
        answer = self.client.get(f"api/explore/v2.1/catalog/datasets/{place}/records", query, {})
        if answer.status != 200:
            raise UnavailableError(f"{self.name} answered HTTP {answer.status}: {answer.message[:200]}")
        found = answer.body.get("results") if isinstance(answer.body, dict) else None
        if not isinstance(found, list):
            raise MistrustedError(f"{self.name} answered in a form that is not documented")
        records: list[dict[str, Any]] = [record for record in found if isinstance(record, dict)]
        dated = [(at, record) for record in records if (at := parse_time(record.get("date"))) is not None and at < now]
        samples = FuelSamples(one_step([at for at, _ in dated], self.name))
        for at, record in dated:
            for name in record:
                if name.startswith("valeurs_") and name not in _SUMS:
                    samples.add(name, FUELS.get(name, Fuel.OTHER), at, record[name])
        return samples


def hydroquebec_source(settings: HydroQuebecSettings, clock: Clock) -> MixSource:
    """The source that settings describe."""
    return MixSource(HydroQuebec(settings, clock))
