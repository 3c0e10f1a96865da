"""Forecasts that somebody issued: corrected by their measured error, and carried on where they end."""

from dataclasses import replace
from typing import Final

import numpy as np

from carbonfleet.forecast.history import ERROR_HALF_LIFE_DAYS, LEVEL_HOURS, Hindcast
from carbonfleet.forecast.regression import DAY
from carbonfleet.forecast.values import FloatArray, Forecast

PRIOR_DAYS: Final = 3.0
"""How many days of evidence the first guess of the shares weighs."""


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


def combined(values: FloatArray, first: int, issued: FloatArray, own: FloatArray) -> Hindcast:
    """Issued forecasts and our own from history, each weighed by the errors they made before the issue.

    `values` has shape (hours,). Row i of `issued` and `own`, shape (issues, ahead), was issued at hour
    `first + i` from the hours before it. For each hour ahead the share of the issued forecast is the one that
    would have erred least so far, between 0 and 1; it is measured anew every day.
    """
    count, ahead = issued.shape
    hours = np.arange(ahead)[None, :]
    cross, square = np.zeros(ahead), np.zeros(ahead)
    errors, seen = np.zeros(ahead), np.zeros(ahead)
    fade = 0.5 ** (1 / ERROR_HALF_LIFE_DAYS)
    cast, doubt = np.empty_like(issued), np.empty_like(issued)
    for begin in range(0, count, DAY):
        end = min(begin + DAY, count)
        gap = max(float(np.mean((issued[begin:end] - own[begin:end]) ** 2)), 1e-9) if not seen.any() else 0.0
        prior = PRIOR_DAYS * DAY * (gap or float(square.sum() / max(seen.sum(), 1.0)))
        share = np.clip((cross + 0.5 * prior) / (square + prior + 1e-9), 0.0, 1.0)
        cast[begin:end] = share * issued[begin:end] + (1 - share) * own[begin:end]
        scatter = float(values[max(0, first + begin - 7 * DAY) : first + begin].std()) if first + begin else 0.0
        measured = np.where(seen >= DAY, np.sqrt(errors / np.maximum(seen, 1)), scatter)
        doubt[begin:end] = np.maximum.accumulate(measured)
        # The hours of this day become known; forecasts for them were issued up to `ahead` hours before.
        target = np.arange(begin, end)[:, None]
        rows = target - hours
        known = rows >= 0
        rows = np.maximum(rows, 0)
        actual = values[np.minimum(first + target, values.size - 1)]
        apart = (issued[rows, hours] - own[rows, hours]) * known
        cross = fade * cross + (apart * (actual - own[rows, hours])).sum(axis=0)
        square = fade * square + (apart**2).sum(axis=0)
        errors = fade * errors + (((actual - cast[rows, hours]) * known) ** 2).sum(axis=0)
        seen = fade * seen + known.sum(axis=0)
    return Hindcast(first, cast, doubt)
