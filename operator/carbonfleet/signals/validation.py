"""Which values of an answer are believed, by themselves and beside the zone's last weeks, and why others are not."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import RECENT, Measured
from carbonfleet.signals.reading import HOUR, Kind, PriceKind, Reading, Reason, RejectedValue, unit_of
from carbonfleet.signals.source import Ask, Batch, Feed

HIGHEST_GRAMS_PER_KWH: Final = 2000.0
"""No grid is dirtier: lignite, the worst fuel in use, is about 1,050-1,100 g/kWh lifecycle at the plant
(UNECE, Life Cycle Assessment of Electricity Generation Options, 2022), losses not doubled by far."""
LOWEST_LIFECYCLE_GRAMS_PER_KWH: Final = 5.0
"""No mix is cleaner than its cleanest part: nuclear, 5.1-6.4 g/kWh lifecycle (the same report)."""
HIGHEST_USD_PER_GPU_HOUR: Final = 1000.0
FARTHEST_AHEAD: Final = timedelta(days=20)
FARTHEST_BACK: Final = timedelta(days=10)
FUTURE_TOLERANCE: Final = HOUR
"""A current hour may be dated by its end, so up to one hour ahead of now."""


_FACTOR: Final = 4.0
"""Below a quarter of the lowest, or above four times the highest, of the last 28 days."""
_ENOUGH_HOURS: Final = 48
_MANY: Final = 6
Item = TypeVar("Item", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Point:
    """A value as an answer gives it: nothing of it is believed yet."""

    at: object
    value: object
    settled: bool = True
    refused: tuple[Reason, str] | None = None
    """Set by the source where the answer itself says that the value is of another zone or kind."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What an answer's points are to be read as."""

    ask: Ask
    source: str
    step: timedelta
    fetched_at: datetime
    factor: float = 1.0
    """From the provider's unit to ours."""


def parse_time(text: object) -> datetime | None:
    """An ISO-8601 time with a zone, or one without seconds, as aware UTC; None if it is not one."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def read_items(raw: object, model: type[Item]) -> list[Item]:
    """The items of an answer's list, which may hold anything: one that can't be read has nothing in it, so that it is
    refused and counted by itself.
    """
    return [_item(each, model) for each in raw] if isinstance(raw, list) else []


def _item(raw: object, model: type[Item]) -> Item:
    try:
        return model.model_validate(raw)
    except ValidationError:
        return model()


def shown(value: object) -> str:
    """The first characters of whatever stands in an answer."""
    try:
        return str(value)[:40]
    except ValueError:
        return "a number of thousands of digits"


def validate(points: Iterable[Point], frame: Frame) -> tuple[tuple[Reading, ...], tuple[RejectedValue, ...]]:
    """The readings in ascending order, in whichever they came, and what was refused.

    Of two values of one time nobody knows which is right: the higher one is kept.
    """
    kept: dict[datetime, Reading] = {}
    refused: list[RejectedValue] = []
    for point in points:
        problem = point.refused or _time_problem(point, frame) or _value_problem(point.value, frame)
        if problem is None:
            reading = _reading(point, frame)
            known = kept.get(reading.start)
            if known is None or reading.value > known.value:
                kept[reading.start] = reading
            if known is not None:
                problem = Reason.DUPLICATE, "its time has a value already"
        if problem:
            refused.append(RejectedValue(frame.ask.zone, shown(point.at), shown(point.value), *problem))
    return tuple(kept[start] for start in sorted(kept)), tuple(refused)


def issued_at(said: object, readings: Sequence[Reading], now: datetime) -> datetime:
    """When a forecast was made: as it says, or where it does not, or can't be right, when its first hour began."""
    first = min((reading.start for reading in readings), default=now)
    moment = parse_time(said)
    return min(now, moment if moment is not None and moment > first - FARTHEST_BACK else first)


def _reading(point: Point, frame: Frame) -> Reading:
    start = parse_time(point.at)
    if start is None or not isinstance(point.value, int | float):
        raise TypeError("only validated points become readings")
    kind = frame.ask.kind
    value = float(point.value) * frame.factor
    settled = point.settled and frame.ask.feed is not Feed.FORECAST
    return Reading(
        frame.ask.zone, start, frame.step, value, kind, unit_of(kind), frame.source, settled, frame.fetched_at
    )


def _time_problem(point: Point, frame: Frame) -> tuple[Reason, str] | None:
    start = parse_time(point.at)
    if start is None:
        return Reason.BAD_TIME, "not an ISO-8601 time with a zone"
    if start.timestamp() % frame.step.total_seconds():
        return Reason.BAD_TIME, f"not at a whole step of {frame.step}"
    if frame.ask.feed is not Feed.FORECAST and start > frame.fetched_at + FUTURE_TOLERANCE:
        return Reason.FUTURE, "a measured value of a time to come"
    if start > frame.fetched_at + FARTHEST_AHEAD:
        return Reason.FUTURE, f"more than {FARTHEST_AHEAD.days} days ahead"
    if start < min(frame.ask.start, frame.fetched_at) - FARTHEST_BACK:
        return Reason.STALE, f"more than {FARTHEST_BACK.days} days before what was asked for"
    return None


def _value_problem(value: object, frame: Frame) -> tuple[Reason, str] | None:
    if value is None:
        return Reason.NULL, "no value; it is not 0 g"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Reason.NOT_A_NUMBER, "not a number"
    try:
        return number_problem(float(value) * frame.factor, frame.ask.kind)
    except OverflowError:
        return Reason.ABSURD, "beyond all numbers"


def number_problem(value: float, kind: Kind) -> tuple[Reason, str] | None:
    """Why no value of this kind can be this number, in the kind's own unit; None if it can."""
    if not math.isfinite(value):
        return Reason.NOT_A_NUMBER, "not a finite number"
    if kind is PriceKind.DAY_AHEAD:
        return None
    if value < 0:
        return Reason.NEGATIVE, "below zero"
    highest = HIGHEST_USD_PER_GPU_HOUR if isinstance(kind, PriceKind) else HIGHEST_GRAMS_PER_KWH
    if value > highest:
        return Reason.ABSURD, f"above {highest:g} {unit_of(kind)}"
    if kind is SignalKind.AVERAGE_LIFECYCLE and value < LOWEST_LIFECYCLE_GRAMS_PER_KWH:
        return Reason.TOO_CLEAN, "below the lifecycle intensity of any way to make electricity"
    return None


def like_its_zone(batch: Batch, measured: Measured | None) -> Batch:
    """The batch without the readings that are unlike the zone's last 28 days; those stand as rejections.

    Marginal values jump between fuels and are left alone. Six dirty hours measured in one answer are
    believed: a grid may become dirtier. A suddenly clean one is not, for that is how broken data looks.
    Where most of an answer is unlike the zone, none of it is believed.
    """
    if measured is None or batch.ask.kind is SignalKind.MARGINAL:
        return batch
    recent = measured.grams_per_kwh[-(RECENT // HOUR) :]
    known = recent[np.isfinite(recent)]
    if known.size < _ENOUGH_HOURS:
        return batch
    low, high = float(known.min()) / _FACTOR, float(known.max()) * _FACTOR
    dirty = sum(reading.value > high for reading in batch.readings)
    if dirty >= _MANY and batch.ask.feed is not Feed.FORECAST:
        high = float("inf")
    kept = tuple(reading for reading in batch.readings if low <= reading.value <= high)
    unlike = tuple(_rejection(r, low, high) for r in batch.readings if not low <= r.value <= high)
    if 2 * len(unlike) > len(batch.readings):
        kept = ()
    return replace(batch, readings=kept, rejected=batch.rejected + unlike)


def _rejection(reading: Reading, low: float, high: float) -> RejectedValue:
    why = f"unlike the last 28 days of the zone: not in {low:.3g} to {high:.3g} {reading.unit}"
    return RejectedValue(reading.zone, reading.start.isoformat(), f"{reading.value:g}", Reason.UNLIKE_ZONE, why)
