"""One number of the grid or of the market, with all that must be known of it, and why one is refused."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from carbonfleet.api.signal import SignalKind

HOUR: Final = timedelta(hours=1)
MINUTE: Final = timedelta(minutes=1)


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
    DUPLICATE = "Duplicate"
    BAD_TIME = "BadTime"
    WRONG_KIND = "WrongKind"
    WRONG_ZONE = "WrongZone"
    UNREADABLE = "Unreadable"


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
class RejectedValue:
    """A value of an answer that was refused."""

    zone: str
    at: str
    """The time as the answer wrote it."""
    value: str
    reason: Reason
    message: str

    def __str__(self) -> str:
        return f"{self.zone} {self.at}: {self.reason.value}: {self.message}"


def family(source: str) -> str:
    """`electricitymaps/v3` and `/v4` are one family: their values mean the same."""
    return source.partition("/")[0]


def floor_hour(moment: datetime) -> datetime:
    """The start of the UTC hour that holds `moment`."""
    moment = moment.astimezone(UTC)
    return moment - timedelta(minutes=moment.minute, seconds=moment.second, microseconds=moment.microsecond)


def hourly_means(readings: Iterable[Reading]) -> dict[datetime, tuple[float, float]]:
    """By the hour's start: the time-weighted mean, and how much of the hour is known (0 to 1]."""
    sums: dict[datetime, tuple[float, float]] = {}
    for reading in readings:
        for hour, share in _shares(reading):
            total, known = sums.get(hour, (0.0, 0.0))
            sums[hour] = (total + reading.value * share, known + share)
    return {hour: (total / known, known) for hour, (total, known) in sums.items()}


def in_one_step(readings: Sequence[Reading]) -> tuple[Reading, ...]:
    """The readings as they are where all have the same step, otherwise their hourly means."""
    if len({reading.step for reading in readings}) <= 1:
        return tuple(readings)
    by_hour: dict[datetime, list[Reading]] = {}
    for reading in readings:
        by_hour.setdefault(floor_hour(reading.start), []).append(reading)
    means = hourly_means(readings)
    return tuple(
        replace(
            part[0],
            start=hour,
            step=HOUR,
            value=means[hour][0],
            settled=all(reading.settled for reading in part),
        )
        for hour, part in sorted(by_hour.items())
    )


def _shares(reading: Reading) -> Iterable[tuple[datetime, float]]:
    """The hours that a reading touches, with the share of each hour that it covers."""
    hour = floor_hour(reading.start)
    if reading.step == HOUR and hour == reading.start:
        return ((hour, 1.0),)
    shares = []
    while hour < reading.end:
        overlap = min(reading.end, hour + HOUR) - max(reading.start, hour)
        shares.append((hour, overlap / timedelta(hours=1)))
        hour += HOUR
    return shares
