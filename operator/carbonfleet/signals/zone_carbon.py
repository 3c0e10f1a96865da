"""One zone for those who scale by it: its intensity now and next, its place among the last weeks, a suggested cap."""

from datetime import datetime, timedelta
from typing import Final

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.api.wire import Time, Wire
from carbonfleet.forecast import Forecast, History

HOURS_SHOWN: Final = 24
LEAST_HOURS: Final = 168
"""Of the zone's past: a week, so that every hour of the day and day of the week is in it."""
UNCAPPED_PERCENTILE: Final = 50.0
CAPPED_PERCENTILE: Final = 95.0
FLAT_SPREAD: Final = 0.1


class ZoneHour(Wire):
    """What is expected of one slot."""

    start: Time
    grams_per_kwh: float


class ZoneCarbon(Wire):
    """The answer of `GET /carbon/v1/zones/{zone}`."""

    zone: str
    """Its key at Electricity Maps."""
    signal: SignalKind
    start: Time
    """Of the slot that holds now."""
    grams_per_kwh: float
    """In that slot, gCO2e/kWh."""
    percentile: float | None
    """Share of the last 28 days' measured hours that were cleaner, in percent; an equal hour counts half.
    Null where too little is known."""
    suggested_cap_percent: int | None
    """Of the replicas that may run at most. Null where the percentile is."""
    forecast: tuple[ZoneHour, ...]
    """The next 24 hours, this one first."""
    source: str
    link: str
    """How good the figures are: forecast, cached, profile, last, static or annual."""
    observed_at: Time
    """When the newest measured value in it was measured."""
    problem: str
    """Why percentile and cap are null; otherwise empty."""


def zone_carbon(forecast: Forecast, history: History, now: datetime) -> ZoneCarbon:
    """The figures of the zone at `now`. Raises ValueError for a moment that the forecast does not hold."""
    grams = forecast.at(now)
    if grams is None:
        raise ValueError(f"the forecast of {forecast.zone} does not reach {now}")
    first = (now - forecast.start) // forecast.step
    slots = range(first, min(first + int(timedelta(hours=HOURS_SHOWN) / forecast.step), forecast.grams_per_kwh.size))
    problem = _problem(forecast, history)
    percentile = None if problem else percentile_of(grams, history.grams_per_kwh)
    hours = tuple(
        ZoneHour(start=forecast.start + forecast.step * slot, grams_per_kwh=round(float(each), 1))
        for slot, each in zip(slots, forecast.grams_per_kwh[slots.start : slots.stop], strict=True)
    )
    return ZoneCarbon(
        zone=forecast.zone,
        signal=forecast.signal,
        start=forecast.start + forecast.step * first,
        grams_per_kwh=round(grams, 1),
        percentile=None if percentile is None else round(percentile, 1),
        suggested_cap_percent=None if percentile is None else suggested_cap(percentile, history.grams_per_kwh),
        forecast=hours,
        source=forecast.source,
        link=forecast.link,
        observed_at=forecast.observed_at,
        problem=problem,
    )


def _problem(forecast: Forecast, history: History) -> str:
    if not forecast.tells_hours:
        return forecast.missing or "only the zone's annual mean is known, which says nothing of any hour"
    known = len(history.grams_per_kwh)
    return f"{known} measured hours are known, of {LEAST_HOURS} needed" if known < LEAST_HOURS else ""


def percentile_of(grams_per_kwh: float, past_grams_per_kwh: tuple[float, ...]) -> float:
    """Percent of the past that was cleaner, an equal value counting half (the mid-rank percentile)."""
    past = np.asarray(past_grams_per_kwh)
    return float(100 * ((past < grams_per_kwh).sum() + 0.5 * (past == grams_per_kwh).sum()) / past.size)


def suggested_cap(percentile: float, past_grams_per_kwh: tuple[float, ...]) -> int:
    """Percent of the replicas that may run at most: 100 up to the median, 0 from the 95th percentile, linear between.

    100 at any hour of a grid whose 90th and 10th percentiles lie within a tenth of its median: it has no dirty hours
    to keep out of.
    """
    low, middle, high = np.percentile(past_grams_per_kwh, (10, 50, 90))
    if high - low <= FLAT_SPREAD * middle:
        return 100
    share = (CAPPED_PERCENTILE - percentile) / (CAPPED_PERCENTILE - UNCAPPED_PERCENTILE)
    return int(100 * min(1.0, max(0.0, share)))
