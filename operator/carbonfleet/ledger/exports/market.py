"""Factors for Scope 2, market-based: contracts, suppliers' rates and residual mixes, as a file declares them.

GHG Protocol Scope 2 Guidance (2015), table 6.3: certificates and contracts come before suppliers' rates, and those
before the residual mix. The ledger knows none of them, so people name them with their source.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from carbonfleet.api.wire import Wire, ZoneKey
from carbonfleet.ledger.entry import Entry
from carbonfleet.yaml_reader import MOST_BYTES, read_document


class FactorKind(StrEnum):
    """Where a factor stands in the guidance's order."""

    CONTRACT = "contract"
    """Certificates or a power purchase agreement."""
    SUPPLIER = "supplier"
    """The supplier's rate."""
    RESIDUAL_MIX = "residual-mix"
    """What is left of a grid once all claims are taken out."""


class MarketFactor(Wire):
    """What a kWh of a zone emitted in a year, by the market-based method."""

    zone: ZoneKey
    """By Electricity Maps' key; a country's, such as DE or NO, holds for its parts that have none of their own."""
    year: Annotated[int, Field(ge=1990, le=2200)]
    """In which the attempt ended, UTC."""
    grams_per_kwh: Annotated[float, Field(ge=0, le=10_000)]
    """Grams of CO2 equivalent a kWh."""
    kind: FactorKind
    """contract, supplier or residual-mix."""
    source: Annotated[str, Field(min_length=1, max_length=500)]
    """Who says so: a publication with its edition, or a contract."""


class DeclaredFactors(Wire):
    """The file."""

    factors: Annotated[tuple[MarketFactor, ...], Field(min_length=1, max_length=10_000)]

    @model_validator(mode="after")
    def _none_twice(self) -> Self:
        seen: set[tuple[str, int]] = set()
        for factor in self.factors:
            if (key := (factor.zone, factor.year)) in seen:
                raise ValueError(f"factors: two are for {factor.zone} in {factor.year}; leave one")
            seen.add(key)
        return self


@dataclass(frozen=True, slots=True)
class MarketFactors:
    """Factors by zone and year."""

    known: Mapping[tuple[str, int], MarketFactor] = field(default_factory=dict)

    def of(self, entry: Entry) -> MarketFactor | None:
        """An attempt's, its zone's own before its country's; None where none is declared."""
        year, country = entry.end.year, entry.zone.split("-")[0]
        return self.known.get((entry.zone, year)) or self.known.get((country, year))

    def missing(self, entries: Iterable[Entry]) -> tuple[str, ...]:
        """Zones and years of attempts that have no factor."""
        return tuple(sorted({f"{each.zone} {each.end.year}" for each in entries if self.of(each) is None}))


def read_market_factors(file: Path) -> MarketFactors:
    """The factors that a YAML file declares under `factors`. Raises FileInvalid, OSError."""
    with file.open("rb") as content:
        document = read_document(str(file), content.read(MOST_BYTES + 1))
    return MarketFactors({(each.zone, each.year): each for each in document.read_as(DeclaredFactors).factors})
