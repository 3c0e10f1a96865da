"""Forecasts that somebody issued: blended with our own by what both got wrong so far, and carried on where they end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from carbonfleet.forecast.history import ERROR_HALF_LIFE_DAYS, LEVEL_HOURS
from carbonfleet.forecast.regression import DAY, DIRECT_HOURS
from carbonfleet.forecast.values import HOUR, FloatArray, Forecast, Issue, PastForecasts

EVIDENCE_DAYS: Final = 28
"""Of issues that are looked at."""
LONGEST_ISSUE_AGE: Final = timedelta(hours=24)
"""What was issued earlier is no forecast of an hour any more."""
ISSUES_KEPT: Final = timedelta(days=EVIDENCE_DAYS) + LONGEST_ISSUE_AGE
PRIOR_DAYS: Final = 3.0
"""How many days of evidence the first guess of the shares, one half, weighs."""
FEWEST_ISSUES: Final = DAY
"""With fewer that could be judged by what was measured, what is issued is trusted."""
_TOLD_HOURS: Final = (24, 48)


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """What an issued forecast counts beside our own, by hours ahead; all of shape (DIRECT_HOURS,)."""

    share: FloatArray
    """Of the issued forecast, from 0 to 1."""
    error: FloatArray
    """Root mean square error so far with that share, in g/kWh; never less than of nearer hours."""
    issued_error: FloatArray
    own_error: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class OwnForecast:
    """What a zone's history alone says, and how that counts beside what was issued."""

    forecast: Forecast
    blends: Mapping[str, Blend] = field(default_factory=dict)
    """By source."""


def blends_of(own: PastForecasts | None, issues: Mapping[str, Sequence[Issue]]) -> dict[str, Blend]:
    """By source, what its issues, oldest first, count beside our own; without those that can't be judged yet."""
    if own is None:
        return {}
    hours = min(EVIDENCE_DAYS * DAY, own.measured.size)
    start = own.end - HOUR * hours
    found = {source: _blend(own, _newest(made, start, hours)) for source, made in issues.items()}
    return {source: blend for source, blend in found.items() if blend is not None}


def _newest(issues: Sequence[Issue], start: datetime, hours: int) -> npt.NDArray[np.float32]:
    """In row i the newest issue made by the hour `start` + i hours; column h is the hour `start` + i + h.

    Shape (hours, DIRECT_HOURS), NaN where there is none, or the newest is older than LONGEST_ISSUE_AGE.
    """
    rows = np.full((hours, DIRECT_HOURS), np.nan, dtype=np.float32)
    for issue, later in zip(issues, [*issues[1:], None], strict=True):
        made = (issue.issued_at - start) // HOUR
        end = min(hours, made + LONGEST_ISSUE_AGE // HOUR)
        end = end if later is None else min(end, (later.issued_at - start) // HOUR)
        for row in range(max(made, 0), end):
            rows[row] = issue.over(start + HOUR * row, DIRECT_HOURS)
    return rows


def _blend(own: PastForecasts, issued: npt.NDArray[np.float32]) -> Blend | None:
    """The share that would have erred least so far, by hours ahead: least squares, drawn towards one half.

    `issued` has a row for each of the last issues of `own`, as `_newest` makes them. What was measured so far
    judges both; recent issues count more (ERROR_HALF_LIFE_DAYS). A linear combination of forecasts (Bates and
    Granger 1969). Hours ahead with fewer than FEWEST_ISSUES take the next nearer ones; None without any. 2 ms.
    """
    rows = len(issued)
    measured = np.concatenate([own.measured[own.measured.size - rows :], np.full(DIRECT_HOURS, np.nan)])
    actual = np.lib.stride_tricks.sliding_window_view(measured, DIRECT_HOURS)[:rows]
    ours = own.grams_per_kwh[len(own.grams_per_kwh) - rows :, :DIRECT_HOURS].astype(np.float64)
    theirs = issued.astype(np.float64)
    known = np.isfinite(actual) & np.isfinite(theirs)
    age_days = np.arange(rows)[::-1, None] // DAY
    weight = np.where(known, 0.5 ** (age_days / ERROR_HALF_LIFE_DAYS), 0.0)
    off, apart = np.where(known, actual - ours, 0.0), np.where(known, theirs - ours, 0.0)
    total, squares = weight.sum(axis=0), (weight * apart**2).sum(axis=0)
    cross, own_squares = (weight * apart * off).sum(axis=0), (weight * off**2).sum(axis=0)
    prior = PRIOR_DAYS * DAY * squares.sum() / max(total.sum(), 1.0)
    share = np.clip((cross + 0.5 * prior) / (squares + prior + 1e-9), 0.0, 1.0)
    proved = np.flatnonzero(known.sum(axis=0) >= FEWEST_ISSUES)
    if not proved.size:
        return None
    nearest = proved[np.maximum(np.searchsorted(proved, np.arange(DIRECT_HOURS), side="right") - 1, 0)]

    def error(share: FloatArray | float) -> FloatArray:
        sums = np.maximum(own_squares - 2 * share * cross + share**2 * squares, 0.0)
        found: FloatArray = np.sqrt(sums[nearest] / total[nearest])
        return found

    return Blend(share[nearest], np.maximum.accumulate(error(share)), error(1.0), error(0.0))


def blended(issued: Forecast, own: OwnForecast, blend: Blend) -> Forecast:
    """An issued forecast with our own, by hours after our own was made; marked by the link `forecast blend`.

    Past DIRECT_HOURS the last hour's share and error hold. Hours that our own does not have stay as issued.
    """
    ours = own.forecast
    ahead = np.arange(issued.grams_per_kwh.size) + (issued.start - ours.start) // HOUR
    told = (ahead >= 0) & (ahead < ours.grams_per_kwh.size)
    column, ahead = np.clip(ahead, 0, DIRECT_HOURS - 1), np.clip(ahead, 0, ours.grams_per_kwh.size - 1)
    share = np.where(told, blend.share[column], 1.0)
    return replace(
        issued,
        grams_per_kwh=share * issued.grams_per_kwh + (1 - share) * ours.grams_per_kwh[ahead],
        doubt_grams_per_kwh=np.where(told, blend.error[column], issued.doubt_grams_per_kwh),
        link=f"{issued.link} blend",
        observed_at=max(issued.observed_at, ours.observed_at),
        past=ours.past,
        blend=", ".join(_told(blend, hour) for hour in _TOLD_HOURS) + " so far",
    )


def _told(blend: Blend, hour: int) -> str:
    """What counts how much, and why."""
    share, theirs, ours = round(100 * blend.share[hour]), blend.issued_error[hour], blend.own_error[hour]
    return f"{hour} h ahead {share} % issued and {100 - share} % our own, off by {theirs:.0f} and {ours:.0f} g/kWh"


def extend(issued: Forecast, profile: Forecast) -> Forecast:
    """The issued forecast, and after its end the profile, marked by the link `forecast+profile` and the like.

    The step where they meet fades. Raises ValueError for other zones, kinds or steps, or a gap between them.
    """
    if (issued.zone, issued.signal, issued.step) != (profile.zone, profile.signal, profile.step):
        raise ValueError(
            f"a forecast of {issued.zone} can't be carried on by one of {profile.zone}, or of another kind"
        )
    skip = (issued.end - profile.start) // profile.step
    if skip <= 0 or (issued.end - profile.start) % profile.step:
        raise ValueError(f"the profile of {profile.zone} does not meet the end of the issued forecast")
    more = profile.grams_per_kwh[skip:]
    if not more.size:
        return issued
    hours = (np.arange(more.size) + 1) * (profile.step.total_seconds() / 3600)
    step = float(issued.grams_per_kwh[-1] - profile.grams_per_kwh[skip - 1])
    values = np.maximum(more + step * np.exp(-hours / LEVEL_HOURS), 0.0)
    doubt = np.maximum(profile.doubt_grams_per_kwh[skip:], issued.doubt_grams_per_kwh[-1])
    return replace(
        issued,
        grams_per_kwh=np.concatenate([issued.grams_per_kwh, values]),
        doubt_grams_per_kwh=np.concatenate([issued.doubt_grams_per_kwh, doubt]),
        link=f"{issued.link}+profile",
        past=profile.past,
    )
