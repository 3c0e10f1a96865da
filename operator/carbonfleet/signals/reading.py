"""One number of the grid or of the market, with all that must be known of it, and why one is refused."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from carbonfleet.api.signal import SignalKind

HOUR = timedelta(hours=1)


class PriceKind(StrEnum):
    """What a price stands for."""

    GPU_ON_DEMAND = "gpu-on-demand"
    GPU_SPOT = "gpu-spot"
    DAY_AHEAD = "electricity-day-ahead"
    """Of electricity; negative prices are real."""


Kind = SignalKind | PriceKind
"""Kinds never mix: a value of one kind is never compared with, nor replaced by, one of another."""


class Unit(StrEnum):
    """What a reading is counted in."""

    GRAMS_PER_KWH = "gCO2e/kWh"
    USD_PER_GPU_HOUR = "USD/GPU/h"
    EUR_PER_MWH = "EUR/MWh"


_PRICE_UNITS = {
    PriceKind.GPU_ON_DEMAND: Unit.USD_PER_GPU_HOUR,
    PriceKind.GPU_SPOT: Unit.USD_PER_GPU_HOUR,
    PriceKind.DAY_AHEAD: Unit.EUR_PER_MWH,
}


def unit_of(kind: Kind) -> Unit:
    """The one unit in which values of a kind are kept."""
    return _PRICE_UNITS[kind] if isinstance(kind, PriceKind) else Unit.GRAMS_PER_KWH


def subject(cluster: str, pool: str) -> str:
    """How a GPU pool is named where a carbon reading has its zone."""
    return f"{cluster}/{pool}"


class Reason(StrEnum):
    """Why a value was not believed."""

    NULL = "Null"
    NOT_A_NUMBER = "NotANumber"
    NEGATIVE = "Negative"
    ABSURD = "Absurd"
    TOO_CLEAN = "TooClean"
    UNLIKE_ZONE = "UnlikeZone"
    STALE = "Stale"
    FUTURE = "Future"
    OUT_OF_ORDER = "OutOfOrder"
    DUPLICATE = "Duplicate"
    BAD_TIME = "BadTime"
    WRONG_KIND = "WrongKind"
    WRONG_ZONE = "WrongZone"


@dataclass(frozen=True, slots=True)
class Reading:
    """A value that holds in [start, start + step)."""

    zone: str
    """An electricity zone; for GPU prices `cluster/pool`."""
    start: datetime
    step: timedelta
    value: float
    kind: Kind
    unit: Unit
    source: str
    settled: bool
    """False while the provider still estimates or forecasts it."""
    fetched_at: datetime

    @property
    def end(self) -> datetime:
        """When it ceases to hold."""
        return self.start + self.step


@dataclass(frozen=True, slots=True)
class Rejection:
    """A value of an answer that was refused."""

    zone: str
    at: str
    """The time as the answer wrote it."""
    value: str
    reason: Reason
    message: str

    def __str__(self) -> str:
        return f"{self.zone} {self.at}: {self.reason.value}: {self.message}"
