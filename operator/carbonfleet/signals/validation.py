"""Which values of an answer are believed, by themselves and beside the zone's last weeks, and why others are not."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import RECENT, FloatArray, Measured
from carbonfleet.signals.reading import HOUR, Kind, PriceKind, Reading, Reason, RejectedValue, family, unit_of
from carbonfleet.signals.source import Ask, Batch, Feed, MistrustedError, NoDataError

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


_BEYOND_LOWEST: Final = 1.4
"""A measured value below the lowest seen by this factor, or that fell deeper by it than ever, is in doubt."""
_BELOW_USUAL: Final = 2.0
"""Before anything is known of a zone, one below its annual mean by this factor is. Of 35 zones in half a year 3 % of
hours were; they count an hour later."""
_WHOLE_BELOW_USUAL: Final = 5.0
"""A day of values may lie lower: the means are some years old, and grids become cleaner."""
_FORECAST_BELOW: Final = ((timedelta(days=21), 2.0), (timedelta(days=2), 3.0), (timedelta(0), 4.0))
"""By how much of the last weeks is known: how far a forecast may go below the lowest seen. In the same half-year the
lowest of the next four days was below the lowest of the four weeks before by over 2 in one zone of 35."""
_MOSTLY_ABOVE: Final = 1.4
"""By how much most of a forecast lies above that bound, which is for its lowest hours."""
_FORECAST_BELOW_USUAL: Final = 8.0
"""Where nothing was measured yet: below its annual mean."""
_ABOVE: Final = 4.0
_ABOVE_USUAL: Final = 8.0
"""Before two days are known: above its annual mean."""
_NEVER: Final = 200.0
"""Not even twice: no grid becomes cleaner than it was by this factor, unless it was nearly clean."""
_NEARLY_CLEAN_GRAMS: Final = 20.0
_USUAL_FALL: Final = 0.7
"""What is left after an hour, where a week of the zone is not known: less in one hour of 500 of the same half-year."""
_NEAR_HOURS: Final = 3
"""How far apart values may lie of which one confirms the other."""
_ENOUGH_HOURS: Final = 48
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


def batch_of(points: Iterable[Point], frame: Frame, issued: object = None) -> Batch:
    """The answer that an answer's points make; `issued` is when a forecast says that it was made. Raises NoDataError
    where there is no value, and MistrustedError where none can be believed.
    """
    readings, rejected = validate(points, frame)
    ask, now = frame.ask, frame.fetched_at
    if not readings:
        why = f"; the first: {rejected[0]}" if rejected else ""
        is_empty = all(each.reason is Reason.NULL for each in rejected)
        raise (NoDataError if is_empty else MistrustedError)(f"{frame.source} gave no usable value of {ask.zone}{why}")
    made = issued_at(issued, readings, now) if ask.feed is Feed.FORECAST else now
    return Batch(ask, frame.source, now, made, readings, rejected)


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


@dataclass(frozen=True, slots=True)
class Known:
    """What a zone's new values are held against."""

    measured: Measured | None
    annual_grams_per_kwh: float | None
    doubted: tuple[Reading, ...] = ()
    """Values of earlier answers that are in doubt."""
    errors: Mapping[str, FloatArray] = field(default_factory=dict)
    """By source: the measured standard error of its forecasts for each hour ahead."""

    @property
    def recent(self) -> FloatArray:
        """The known values of the last 28 days."""
        if self.measured is None:
            return np.empty(0)
        values = self.measured.grams_per_kwh[-(RECENT // HOUR) :]
        return values[np.isfinite(values)]

    def lowest(self, hours: float) -> float:
        """Below it a value of an answer over so many hours is in doubt, whatever came before it."""
        recent = self.recent
        if recent.size:
            return float(recent.min()) / _BEYOND_LOWEST
        return (self.annual_grams_per_kwh or 0.0) / (_WHOLE_BELOW_USUAL if hours >= 24 else _BELOW_USUAL)

    @property
    def highest(self) -> float:
        """Above it a value is in doubt; infinite where too little is known."""
        recent = self.recent
        return float(recent.max()) * _ABOVE if recent.size >= _ENOUGH_HOURS else math.inf

    def falls(self) -> tuple[float, ...]:
        """What may be left of a value after 1, 2 and 3 hours: the least that ever was, less a margin."""
        values = self.measured.grams_per_kwh[-(RECENT // HOUR) :] if self.measured is not None else np.empty(0)
        found = []
        for hours in range(1, _NEAR_HOURS + 1):
            left = values[hours:] / np.maximum(values[:-hours], 1.0)
            left = left[np.isfinite(left)]
            least = float(left.min(initial=1.0))
            if left.size < 7 * 24:
                least = min(least, _USUAL_FALL**hours)
            found.append(least / _BEYOND_LOWEST)
        return tuple(found)


def beside_zone(batch: Batch, known: Known) -> tuple[Batch, tuple[Reading, ...]]:
    """The batch without the readings that can't be believed beside what is known of the zone, with those of earlier
    answers that it confirms, and those of its own that may yet be confirmed; these too stand as rejections.

    A sudden fall, or a value lower than any, is in doubt until it is seen twice: by a value of another time, of another
    answer where most of an answer is in doubt, or by another source. A forecast is held against the lowest of the last
    weeks, and against the present level. Marginal values jump between fuels and are left alone, and prices are no
    intensities.
    """
    if batch.ask.kind not in (SignalKind.AVERAGE_LIFECYCLE, SignalKind.AVERAGE_DIRECT):
        return batch, ()
    if batch.ask.feed is Feed.FORECAST:
        return batch if batch.exact else _forecast_beside(batch, known), ()
    lowest, highest = known.lowest(sum(each.step / HOUR for each in batch.readings)), known.highest
    if batch.ask.feed is Feed.PAST and not math.isfinite(highest):  # Dirt starts no job, but may fill an account.
        highest = _ABOVE_USUAL * (known.annual_grams_per_kwh or math.inf)
    low, high = _doubtful(batch.readings, known, lowest, highest)
    mostly = 2 * len(low) > len(batch.readings)
    is_confirmed = not mostly or any(_is_near(each, known.doubted) for each in low if _is_news(each, known.doubted))
    others = (*known.doubted, *(low if is_confirmed else ()))
    doubted = {each for each in low if not _is_near(each, others) or _never(each, lowest)}
    why = dict.fromkeys(batch.readings if not is_confirmed else (), "most of the answer is in doubt")
    why |= dict.fromkeys(
        (each for each in high if not _is_near(each, high)),
        f"above {highest:.4g} {unit_of(batch.ask.kind)}: it counts once seen twice",
    )
    why |= dict.fromkeys(
        doubted,
        f"below {lowest:.3g} {unit_of(batch.ask.kind)}, or a deeper fall than any: it counts once seen twice",
    )
    given, twice = {each.start for each in batch.readings}, [each for each in low if each not in why]
    earlier = [each for each in known.doubted if each.start not in given and _is_near(each, twice)]
    kept = (*earlier, *(each for each in batch.readings if each not in why))
    rejected = tuple(_rejection(each, why[each]) for each in batch.readings if each in why)
    believed = replace(batch, readings=kept, rejected=batch.rejected + rejected)
    return believed, tuple(each for each in low if each in doubted and not _never(each, lowest))


def _doubtful(
    readings: Sequence[Reading], known: Known, lowest: float, highest: float
) -> tuple[list[Reading], list[Reading]]:
    """The readings that are suddenly clean, and those that are suddenly dirty."""
    falls = known.falls()
    low, high, last = [], [], None
    for each in readings:
        before = _left_of_before(each, last, known.measured)
        if each.value < lowest or (before is not None and before[0] < falls[before[1] - 1]):
            low.append(each)
            continue
        if each.value > highest:
            high.append(each)
        if each.value <= highest or _is_near(each, high):
            last = each
    return low, high


def _left_of_before(reading: Reading, last: Reading | None, measured: Measured | None) -> tuple[float, int] | None:
    """What is left of the newest value before a reading, and the hours between them; None where none is near, or where
    the grid was nearly clean already.
    """
    if last is not None:
        hours = -((last.start - reading.start) // HOUR)
        if 1 <= hours <= _NEAR_HOURS:
            return (reading.value / last.value, hours) if last.value > _NEARLY_CLEAN_GRAMS else None
    if measured is None:
        return None
    for hours in range(1, _NEAR_HOURS + 1):
        index = (reading.start - HOUR * hours - measured.start) // HOUR
        held = measured.grams_per_kwh[index] if 0 <= index < measured.grams_per_kwh.size else math.nan
        if math.isfinite(held):
            return (reading.value / float(held), hours) if held > _NEARLY_CLEAN_GRAMS else None
    return None


def _is_news(reading: Reading, doubted: Sequence[Reading]) -> bool:
    """Whether it is of a later time than all that its source said before, or of another source."""
    return all(reading.start > each.start for each in doubted if family(each.source) == family(reading.source))


def _is_near(reading: Reading, others: Iterable[Reading]) -> bool:
    """Whether another value, of another time or source, says about the same."""
    return any(
        (each.start != reading.start or family(each.source) != family(reading.source))
        and abs(each.start - reading.start) <= HOUR * _NEAR_HOURS
        and each.value <= 2 * reading.value
        and reading.value <= 2 * each.value
        for each in others
    )


def _never(reading: Reading, lowest: float) -> bool:
    return lowest > _NEARLY_CLEAN_GRAMS and reading.value < lowest / _NEVER


def _forecast_beside(batch: Batch, known: Known) -> Batch:
    """Without the hours that contradict what was measured; nothing of it where most do, or the next hours contradict
    the present level.

    How far off its source was so far excuses no forecast as a whole: one that errs by a hundred grams could say five.
    The next hours may lie below the present level by such errors, a quarter at most. An hour below the lowest that
    history lets us expect counts as that lowest, if it is off by no more than twice the errors.
    """
    recent = known.recent
    factor = next(factor for span, factor in _FORECAST_BELOW if recent.size >= 0.9 * (span / HOUR))
    low = float(recent.min()) / factor if recent.size else (known.annual_grams_per_kwh or 0.0) / _FORECAST_BELOW_USUAL
    off, levels = _usual_errors(batch, known), _levels(known)
    unlike = {each for each in batch.readings if not low <= each.value <= known.highest}
    near = [each for each in batch.readings if each.start in levels]
    sudden = {each for each in near if each.value < levels[each.start] - min(2 * off[each], levels[each.start] / 4)}
    mostly = sum(not _MOSTLY_ABOVE * low <= each.value <= known.highest for each in batch.readings)
    is_other = 2 * mostly > len(batch.readings) or 2 * len(sudden) > len(near)
    beyond = {each for each in unlike if not low - 2 * off[each] <= each.value <= known.highest}
    why = f"unlike what was measured of the zone: not in {low:.3g} to {known.highest:.3g} {unit_of(batch.ask.kind)}"
    if sudden and is_other:
        why = "the next hours are a deeper fall from what was measured than any"
    refused = set(batch.readings) if is_other else beyond
    rejected = tuple(_rejection(each, why) for each in batch.readings if each in refused)
    kept = tuple(replace(each, value=max(low, each.value)) for each in batch.readings if each not in refused)
    return replace(batch, readings=kept, rejected=batch.rejected + rejected)


def _usual_errors(batch: Batch, known: Known) -> Mapping[Reading, float]:
    """How far off forecasts of the source were so many hours ahead; 0 where that was not measured."""
    errors, found = known.errors.get(batch.source, np.empty(0)), {}
    for each in batch.readings:
        ahead = (each.start - batch.issued_at) // HOUR
        error = float(errors[ahead]) if 0 <= ahead < errors.size else math.nan
        found[each] = error if math.isfinite(error) else 0.0
    return found


def _levels(known: Known) -> Mapping[datetime, float]:
    """What the hours after the newest measured one may be at the lowest."""
    if known.measured is None or not known.recent.size:
        return {}
    newest, hour = known.measured.newest, known.measured.newest_hour
    return {hour + HOUR * ahead: newest * left for ahead, left in enumerate(known.falls(), 1)}


def _rejection(reading: Reading, why: str) -> RejectedValue:
    return RejectedValue(reading.zone, reading.start.isoformat(), f"{reading.value:g}", Reason.UNLIKE_ZONE, why)
