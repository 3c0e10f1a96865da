"""What the grid will do, from its history alone: a forecast of one zone and its measured error."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast.regression import (
    DAY,
    DIRECT_HOURS,
    FIRST_SAMPLE,
    WEEK,
    Departures,
    Ridge,
    columns_of,
    faded_mean,
)
from carbonfleet.forecast.seasonal import Seasonal
from carbonfleet.forecast.values import HOUR, FloatArray, Forecast, IntArray, PastForecasts

LEVEL_HOURS: Final = 12.0
"""How fast a departure from the profile fades, as an e-folding time."""
PROFILE_HALF_LIFE_DAYS: Final = 4.0
SHARES: Final = (0.26, 0.26, 0.15, 0.33)
"""Of the regression by hour of the day, the plain one, the hours of the week, and the profile: what errs
differently errs less together. Chosen on zones and years other than those that the targets are measured on."""
LOWEST: Final = 1.0
"""g/kWh: below it the logarithm that forecasts are made on says nothing more."""
BEYOND_SEEN: Final = 1.4
"""A forecast stays within this factor of what the last 28 days have seen."""
HISTORY: Final = timedelta(days=90)
"""What the hub keeps of each zone, and what a forecast may know, in the hub as in a replay."""
_PERIOD: Final = timedelta(days=28)
_LATE: Final = timedelta(days=2)
"""How far the newest value may lie behind the hours that are dropped."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LEARNED_ISSUE: Final = FIRST_SAMPLE + 8 * DAY
"""Errors count from this issue on, once there are any: those of earlier ones are of forecasts that had not learned."""
FEWEST_HOURS: Final = DAY
MOST_GAPS: Final = 0.1
ERROR_HALF_LIFE_DAYS: Final = 20.0
KEPT_DAYS: Final = 60
"""Of earlier forecasts: what older ones got wrong hardly counts any more."""


@dataclass(frozen=True, slots=True, eq=False)
class Hindcast:
    """Forecasts as they would have been issued, each from the hours before it alone.

    Row i was issued at hour `first + i`; column h is the hour `first + i + h`. Shape (issues, hours), g/kWh.
    """

    first: int
    grams_per_kwh: FloatArray
    doubt_grams_per_kwh: FloatArray
    """Root mean square error of earlier forecasts as far ahead, measured before the issue."""
    periods: tuple[PastForecasts, ...] = ()
    """All forecasts of each period, those before the first issue too; none where they are not kept."""

    def past(self, issue: datetime) -> PastForecasts | None:
        """The forecasts before an issue, as `profile_forecast` has them."""
        period = next((period for period in self.periods if period.start < issue <= period.end), None)
        return None if period is None else _before(period, (issue - period.start) // HOUR)


def profile_forecast(
    zone: str,
    signal: SignalKind,
    grams_per_kwh: FloatArray,
    until: datetime,
    now: datetime,
    horizon: timedelta,
    *,
    source: str = "history",
) -> Forecast:
    """Forecast from the hour that holds `now` over `horizon`, from hourly history alone.

    `grams_per_kwh` has shape (hours,), oldest first, its last hour ending at `until`; NaN where a value is
    missing. Four weeks are good, two are enough to learn from, one day is the least. Raises ValueError for a
    shorter history, one with too many gaps, or values that are no intensities.
    """
    begin = until - HOUR * grams_per_kwh.size
    values = complete(zone, grams_per_kwh[max(0, (known_from(until) - begin) // HOUR) :])
    start = now - timedelta(minutes=now.minute, seconds=now.second, microseconds=now.microsecond)
    skip = (start - until) // HOUR
    if skip < -1:
        raise ValueError(f"history of {zone} ends at {until}, later than now ({now})")
    hours = max(1, -(-horizon // HOUR)) + skip
    casts, doubts = _hindcast(values, values.size)
    columns = columns_of(max(hours, 1))
    ahead, doubt = casts[-1, columns], doubts[-1, columns]
    past = _before(_period(values, casts, doubts, until - HOUR * values.size), values.size - DAY)
    if skip < 0:  # The current hour is measured already.
        ahead, doubt = np.concatenate([values[-1:], ahead]), np.concatenate([[0.0], doubt])
    first = max(skip, 0)
    shape = ahead[first:], doubt[first:]
    return Forecast(zone, signal, start, HOUR, *shape, source, "profile", until - HOUR, past)


def known_from(until: datetime) -> datetime:
    """Where the history begins that a forecast issued at `until` stands on: 60 to 88 days before.

    Periods of four weeks, counted from a fixed day, are dropped as a whole. So all issues of a period learn from
    one and the same beginning on, and a replay can follow them in one pass, equal to the hub's to the last bit.
    """
    return _EPOCH - (_EPOCH - (until - HISTORY + _LATE)) // _PERIOD * _PERIOD


def complete(zone: str, grams_per_kwh: FloatArray) -> FloatArray:
    """History without gaps: a missing hour takes the value of the day before, or of the hour before.

    Raises ValueError when there is less than a day, more than a tenth is missing, or a value is negative or
    infinite.
    """
    values = np.array(grams_per_kwh, dtype=np.float64)
    missing = np.isnan(values)
    if values.size < FEWEST_HOURS or missing.mean() > MOST_GAPS:
        raise ValueError(f"history of {zone}: {int((~missing).sum())} of {values.size} hours are too few to go by")
    known = values[~missing]
    if not np.isfinite(known).all() or known.min() < 0:
        raise ValueError(f"history of {zone} holds values that are negative or infinite")
    for index in np.flatnonzero(missing):
        day_before = values[index - DAY] if index >= DAY else np.nan
        values[index] = next((v for v in (day_before, values[index - 1]) if np.isfinite(v)), known[0])
    return values


def hindcast(values: FloatArray, start: datetime, first: int, last: int, hours: int) -> Hindcast:
    """What would have been forecast at each hour from `first` to `last` (inclusive), over `hours` hours.

    `values` has shape (hours,), g/kWh, without gaps, the first beginning at `start`. The forecast issued at hour t
    is that of `profile_forecast`: it knows `values[:t]` alone, and of these what HISTORY allows.
    """
    if not DAY <= first <= last <= values.size:
        raise ValueError(f"issues {first} to {last} do not lie within {values.size} hours, a day after their begin")
    grams, doubt, periods, columns = [], [], [], columns_of(hours)
    for begin, issues in groupby(
        range(first, last + 1), lambda t: max(0, (known_from(start + HOUR * t) - start) // HOUR)
    ):
        chosen = list(issues)
        known = values[begin : chosen[-1]]
        casts, doubts = _hindcast(known, known.size)
        rows = slice(chosen[0] - begin - DAY, None)
        grams.append(casts[rows, columns])
        doubt.append(doubts[rows, columns])
        periods.append(_period(known, casts, doubts, start + HOUR * begin))
    return Hindcast(first, np.concatenate(grams), np.concatenate(doubt), tuple(periods))


def _period(values: FloatArray, casts: FloatArray, doubts: FloatArray, start: datetime) -> PastForecasts:
    """All forecasts whose hour was measured. `start` is when the first of `values` begins."""
    kept = casts[:-1].astype(np.float32), doubts[:-1:DAY].astype(np.float32)
    return PastForecasts(start + HOUR * DAY, *kept, values[DAY:])


def _before(period: PastForecasts, issues: int) -> PastForecasts:
    """The first so many forecasts of a period; of these the newest, in whole days from its start on.

    Without those that had not learned, once there are two weeks of others.
    """
    unlearned = LEARNED_ISSUE - DAY if issues >= LEARNED_ISSUE - DAY + 2 * WEEK else 0
    first = max(unlearned, issues - KEPT_DAYS * DAY) // DAY * DAY
    return PastForecasts(
        period.start + HOUR * first,
        period.grams_per_kwh[first:issues],
        period.doubt_grams_per_kwh[first // DAY :],
        period.measured[first:issues],
    )


def _hindcast(values: FloatArray, last: int) -> tuple[FloatArray, FloatArray]:
    """Forecasts and doubts for all issues from DAY to `last`, all values known from the first one on.

    No issue depends on how many others are asked for. Shape (issues, DIRECT_HOURS).
    """
    issues = np.arange(DAY, last + 1)
    log = np.log(np.maximum(values, LOWEST))
    cast = _profile_cast(log, issues)
    _blend_learned(log, issues, cast)
    cast = np.exp(np.clip(cast, 0.0, 8.0))
    cast = np.maximum(_within_seen(values, issues, cast), _deepest_fall(values, issues))
    return cast, _measured_error(values, issues, cast)


def _profile_cast(log: FloatArray, issues: IntArray) -> FloatArray:
    """The hour-of-day profile (recent days count more) and the newest departure from it, which fades."""
    profile = faded_mean(log, PROFILE_HALF_LIFE_DAYS)
    ahead = np.arange(DIRECT_HOURS)[None, :]
    departure = (log[issues - 1] - profile[issues - 1])[:, None]
    cast: FloatArray = profile[issues[:, None] - DAY + ahead % DAY] + departure * np.exp(-(ahead + 1) / LEVEL_HOURS)
    return cast


def _blend_learned(log: FloatArray, issues: IntArray, cast: FloatArray) -> None:
    """Blend what is learned, anew each day, into `cast` (changed in place), from where weeks are enough for it."""
    learners = (Ridge(Departures.of(log, by_hour=True)), Ridge(Departures.of(log, by_hour=False)), Seasonal(log))
    first, last = int(issues[0]), int(issues[-1])
    for end in range(FIRST_SAMPLE + DAY, last + 1, DAY):
        for learner in learners:
            learner.learn_day(end)
        if all(learner.fit() for learner in learners):
            rows = np.arange(end, min(end + DAY, last + 1))
            others = [*(learner.forecast(rows) for learner in learners), cast[rows - first]]
            cast[rows - first] = np.einsum("s,sth->th", SHARES, others)


def _within_seen(values: FloatArray, issues: IntArray, cast: FloatArray) -> FloatArray:
    """Keep forecasts within what the last four weeks make believable."""
    span = 28 * DAY
    padded = np.concatenate([np.full(span, values[0]), values])
    windows = np.lib.stride_tricks.sliding_window_view(padded, span)[issues]
    low, high = windows.min(axis=1)[:, None] / BEYOND_SEEN, windows.max(axis=1)[:, None] * BEYOND_SEEN
    within: FloatArray = np.clip(cast, low, high)
    return within


def _deepest_fall(values: FloatArray, issues: IntArray) -> FloatArray:
    """What is left of the latest level if it falls as deep as it ever did in so many hours; shape as forecasts.

    The last four weeks are looked at. Below that a forecast is not believed: after a leap to a level never seen
    before, what was learned on the old one says little, and a dirty grid must not read as a clean one.
    """
    known = np.maximum(values, LOWEST)
    left = np.full((values.size + 1, DIRECT_HOURS), np.inf)
    for ahead in range(min(DIRECT_HOURS, values.size - 1)):  # an hour ahead is the one after the latest
        left[ahead + 2 :, ahead] = known[ahead + 1 :] / known[: -ahead - 1]
    # Row t: the least of the 28 days that end at hour t, from leasts of 1, 2, 4, ... hours.
    span = 1
    while span < 28 * DAY:
        step = min(span, 28 * DAY - span)
        left[step:] = np.minimum(left[step:], left[:-step].copy())
        span += step
    left = left[issues]
    # Farther ahead than the history reaches, the deepest fall over fewer hours stands in.
    left = np.where(np.isfinite(left), left, np.minimum.accumulate(left, axis=1))
    floor: FloatArray = known[issues - 1][:, None] * left
    return floor


def _measured_error(values: FloatArray, issues: IntArray, cast: FloatArray) -> FloatArray:
    """Root mean square error by hours ahead of the forecasts whose hour had passed, recent ones counting more.

    Before anything is measured: how far the week's hours scatter about their day's mean.
    """
    begin, last = int(issues[0]), int(issues[-1])
    doubt = np.empty_like(cast)
    doubt[:DAY] = float(values[:DAY].std())
    fade = 0.5 ** (1 / ERROR_HALF_LIFE_DAYS)
    squares, counts = np.zeros(DIRECT_HOURS), np.zeros(DIRECT_HOURS)
    ahead = np.arange(DIRECT_HOURS)[None, :]
    for end in range(begin + DAY, last + 1, DAY):
        oldest = LEARNED_ISSUE if end > LEARNED_ISSUE else begin
        if end == LEARNED_ISSUE:
            squares, counts = np.zeros(DIRECT_HOURS), np.zeros(DIRECT_HOURS)
        rows = np.arange(end - DAY, end)[:, None] - ahead - begin
        known = rows >= oldest - begin
        rows = np.maximum(rows, 0)
        error = (values[np.arange(end - DAY, end)][:, None] - cast[rows, ahead]) * known
        squares, counts = fade * squares + (error**2).sum(axis=0), fade * counts + known.sum(axis=0)
        scatter = float(values[max(0, end - WEEK) : end].std())
        measured = np.where(counts >= DAY, np.sqrt(squares / np.maximum(counts, 1)), scatter)
        doubt[end - begin : end - begin + DAY] = np.maximum.accumulate(measured)
    return doubt
