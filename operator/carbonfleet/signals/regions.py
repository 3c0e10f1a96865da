"""Which electricity zone a cloud region or a city draws from, and the annual mean of each zone."""

import csv
import math
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.job import JobSpec
from carbonfleet.api.signal import SignalKind

_EARTH_KILOMETRES: Final = 6371.0


@dataclass(frozen=True, slots=True)
class Region:
    """A provider's region, as the table has it."""

    provider: str
    """aws, gcp or azure."""
    name: str
    zone: str
    """Electricity Maps' key."""
    watttime_region: str
    """Empty where the table has none."""
    pue: float | None
    annual_grams_per_kwh: Mapping[SignalKind, tuple[float, int]]
    """By kind: the grid's mean over a year, and the year."""


@cache
def regions() -> Mapping[str, Region]:
    """All regions of the table by name; no two providers share one."""
    text = resources.files(__package__).joinpath("regions.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return {row["region"]: _region(row) for row in rows}


def zone_of(region: str) -> str | None:
    """The zone of a provider's region; None where the table does not know it."""
    found = regions().get(region)
    return found.zone if found else None


@dataclass(frozen=True, slots=True)
class City:
    """A city where GPUs are rented, and the zone of its grid; our own table, which a person confirms."""

    name: str
    latitude: float
    longitude: float
    zone: str

    def kilometres(self, latitude: float, longitude: float) -> float:
        """The great-circle distance, by the haversine formula."""
        here, there = math.radians(self.latitude), math.radians(latitude)
        east = math.radians(longitude - self.longitude)
        chord = math.sin((there - here) / 2) ** 2 + math.cos(here) * math.cos(there) * math.sin(east / 2) ** 2
        return 2 * _EARTH_KILOMETRES * math.asin(math.sqrt(min(1.0, chord)))


@cache
def cities() -> tuple[City, ...]:
    """All cities of the table."""
    text = resources.files(__package__).joinpath("places.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return tuple(City(r["place"], float(r["latitude"]), float(r["longitude"]), r["zone"]) for r in rows)


def city_named(name: str) -> City | None:
    """The city of that name, however its letters and accents are written."""
    return next((each for each in cities() if _plain(each.name) == _plain(name)), None)


def nearest_city(latitude: float, longitude: float) -> tuple[City, float]:
    """The nearest city of the table, and how many kilometres it is away."""
    found = min(cities(), key=lambda city: city.kilometres(latitude, longitude))
    return found, found.kilometres(latitude, longitude)


def _plain(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name.replace("ø", "o").replace("Ø", "O"))
    return "".join(letter for letter in letters if letter.isalnum()).casefold()


def zones_without_spoke(
    specs: Iterable[JobSpec], clusters: Iterable[ClusterFacts], default_baseline: str = ""
) -> dict[str, str]:
    """The zones of regions that jobs are compared with, or have data in, and that no cluster is in."""
    wanted = {
        region for spec in specs for region in (spec.baseline_region or default_baseline, spec.workload.dataset.region)
    }
    far = {region for region in wanted if region} - {facts.region for facts in clusters}
    return {region: zone for region in sorted(far) if (zone := zone_of(region)) is not None}


def zone_doubt(facts: ClusterFacts) -> str:
    """Words where a spoke's declared zone is not the table's; empty where they agree or nothing is known.

    The declaration stands: it is how a person overrides the table.
    """
    usual = zone_of(facts.region)
    if usual is None or usual == facts.zone:
        return ""
    return f"{facts.name} declares zone {facts.zone}; region {facts.region} usually draws from {usual}"


@cache
def watttime_regions() -> Mapping[str, str]:
    """WattTime's region for each zone of the table; of several, the first region's by name."""
    found: dict[str, str] = {}
    for name in sorted(regions()):
        region = regions()[name]
        if region.watttime_region:
            found.setdefault(region.zone, region.watttime_region)
    return found


@cache
def annual_factors(kind: SignalKind) -> Mapping[str, tuple[float, str]]:
    """For each zone the newest annual mean of its grid in g/kWh, and its origin in words.

    Lifecycle means are Electricity Maps' of one year, so that zones can be compared. The region table stands in for
    other zones alone: for many its figures are lower by half or more, as direct emissions are.
    """
    found: dict[str, tuple[float, str]] = {}
    newest: dict[str, tuple[float, int]] = {}
    for region in regions().values():
        factor = region.annual_grams_per_kwh.get(kind)
        if factor and factor[1] > newest.get(region.zone, (0.0, 0))[1]:
            newest[region.zone] = factor
            found[region.zone] = factor[0], f"annual mean {factor[1]}, GSF"
    return found | (_zone_means() if kind is SignalKind.AVERAGE_LIFECYCLE else {})


def _zone_means() -> dict[str, tuple[float, str]]:
    """Of `zone_means.csv`: carbon intensity data © Electricity Maps, ODbL 1.0."""
    text = resources.files(__package__).joinpath("zone_means.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    means = {row["zone"]: float(row["average_lifecycle_g_per_kwh_2021"]) for row in rows}
    return {zone: (grams, "annual mean 2021, Electricity Maps") for zone, grams in means.items()}


def _region(row: Mapping[str, str]) -> Region:
    annual = {}
    for kind, column in ((SignalKind.AVERAGE_LIFECYCLE, "average"), (SignalKind.MARGINAL, "marginal")):
        if row[f"{column}_grams_per_kwh"]:
            annual[kind] = (float(row[f"{column}_grams_per_kwh"]), int(row[f"{column}_year"]))
    pue = float(row["pue"]) if row["pue"] else None
    return Region(row["provider"], row["region"], row["zone"], row["watttime_region"], pue, annual)
