"""An attempt's line of the ledger as a row of a table: what it used and emitted, by which factor, and whose that is."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from carbonfleet.api.signal import SignalKind
from carbonfleet.ledger.entry import Entry, EntryKind
from carbonfleet.ledger.exports.market import MarketFactor, MarketFactors

Kind = Literal["text", "whole", "number", "flag", "time"]


class ExportError(Exception):
    """An export can't be written; the message says what to do."""


@dataclass(frozen=True, slots=True)
class AccountedAttempt:
    """A line with the market-based factor that holds for it, and what follows from both."""

    entry: Entry
    factor: MarketFactor | None

    @property
    def is_settled(self) -> bool:
        """Whether it was settled with the grid's final values, as reports count it."""
        return self.entry.settled and self.entry.kind is EntryKind.SETTLEMENT

    @property
    def facility_kwh(self) -> float:
        """Energy with the building's."""
        return self.entry.energy_kwh * self.entry.pue

    @property
    def location_based_grams(self) -> float | None:
        """Operational grams by the grid's average; None by a marginal signal, which Scope 2 does not take."""
        return None if self.entry.signal == SignalKind.MARGINAL.value else self.entry.operational_grams

    @property
    def market_based_grams(self) -> float | None:
        """Operational grams by the declared factor; None without one."""
        return None if self.factor is None else self.facility_kwh * self.factor.grams_per_kwh

    @property
    def doubt_grams(self) -> float:
        """By how much operational grams may be off, as far as the energy's uncertainty goes."""
        return self.entry.operational_grams * self.entry.energy_uncertainty


@dataclass(frozen=True, slots=True)
class ExportColumn:
    """A column of the table."""

    name: str
    kind: Kind
    value: Callable[[AccountedAttempt], Any]


def _own(name: str, kind: Kind) -> ExportColumn:
    return ExportColumn(name, kind, lambda attempt: getattr(attempt.entry, name))


def _texts(*names: str) -> tuple[ExportColumn, ...]:
    return tuple(_own(name, "text") for name in names)


def _numbers(*names: str) -> tuple[ExportColumn, ...]:
    return tuple(_own(name, "number") for name in names)


COLUMNS: Final = (
    *_texts("placement_id", "job_uid", "namespace", "job", "sweep", "tier"),
    _own("attempt", "whole"),
    *_texts("phase", "cluster", "account", "region", "zone", "pool", "gpu_type"),
    _own("gpus", "whole"),
    *(_own(name, "time") for name in ("submitted_at", "start", "end", "recorded_at")),
    ExportColumn("gpu_hours", "number", lambda attempt: attempt.entry.gpu_hours),
    ExportColumn("settled", "flag", lambda attempt: attempt.is_settled),
    *_numbers("energy_kwh", "host_kwh", "estimated_share"),
    *_texts("energy_method"),
    *_numbers("energy_uncertainty", "pue"),
    ExportColumn("facility_kwh", "number", lambda attempt: attempt.facility_kwh),
    *_texts("signal"),
    ExportColumn("location_based_grams", "number", lambda attempt: attempt.location_based_grams),
    ExportColumn("location_factor_grams_per_kwh", "number", lambda attempt: attempt.entry.grams_per_kwh),
    ExportColumn("location_factor_source", "text", lambda attempt: attempt.entry.source),
    ExportColumn("market_based_grams", "number", lambda attempt: attempt.market_based_grams),
    ExportColumn("market_factor_grams_per_kwh", "number", lambda each: each.factor and each.factor.grams_per_kwh),
    ExportColumn("market_factor_kind", "text", lambda attempt: attempt.factor.kind.value if attempt.factor else None),
    ExportColumn("market_factor_source", "text", lambda attempt: attempt.factor.source if attempt.factor else None),
    *_numbers("operational_grams", "transfer_grams", "embodied_grams", "grams"),
    ExportColumn("doubt_grams", "number", lambda attempt: attempt.doubt_grams),
    *_texts("baseline_region"),
    *_numbers("baseline_grams"),
    ExportColumn("saved_grams", "number", lambda attempt: attempt.entry.saved_grams),
    *_numbers("same_spoke_grams"),
    *_texts("best_static_region"),
    *_numbers("best_static_grams", "cost_usd"),
    *_texts("commit"),
)


def columns() -> tuple[str, ...]:
    """Their names, in order; units stand in them, and grams are of CO2 equivalent."""
    return tuple(column.name for column in COLUMNS)


def attempts(entries: Iterable[Entry], factors: MarketFactors) -> Iterator[AccountedAttempt]:
    """Each line with its factor."""
    return (AccountedAttempt(entry, factors.of(entry)) for entry in entries)


def rows(entries: Iterable[Entry], factors: MarketFactors) -> Iterator[tuple[Any, ...]]:
    """A row for each line, its values in the order of the columns; None where something is not known."""
    for attempt in attempts(entries, factors):
        yield tuple(column.value(attempt) for column in COLUMNS)
