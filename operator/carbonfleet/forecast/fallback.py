"""The fallback chain: from what is known of a zone to one forecast, or to the words why there is none."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

import numpy as np
from pydantic import Field

from carbonfleet.api.signal import SignalKind
from carbonfleet.api.wire import Duration, Wire, format_duration
from carbonfleet.forecast.issued import OwnForecast, blended, extend
from carbonfleet.forecast.values import HOUR, FloatArray, Forecast, Issue

_LONGEST_GAP_HOURS: Final = 2
_LAST_VALUE_DRIFT: Final = 0.1
_STATIC_DOUBT: Final = 0.3
"""Hours of one zone scatter by about this share of the annual mean in fossil grids, by more in windy ones."""


Link = Literal["forecast", "cached", "profile", "last", "static", "annual"]


class AgeLimits(Wire):
    """How old data may be, in each link of the fallback chain."""

    forecast: Duration = Field(default="2h", validate_default=True)
    """A forecast issued longer ago counts as cached."""
    cached: Duration = Field(default="24h", validate_default=True)
    measured: Duration = Field(default="3h", validate_default=True)
    """A newest value older than this is stale: it is no longer the level of now."""
    profile: Duration = Field(default="48h", validate_default=True)
    last: Duration = Field(default="12h", validate_default=True)


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The last 90 days of a zone: shape (hours,), slot 0 beginning at `start`; NaN in gaps."""

    start: datetime
    grams_per_kwh: FloatArray
    source: str
    """Of the newest value."""

    @property
    def newest_index(self) -> int:
        """Of the newest known value."""
        return int(np.flatnonzero(np.isfinite(self.grams_per_kwh))[-1])

    @property
    def newest(self) -> float:
        """The newest known value, in g/kWh."""
        return float(self.grams_per_kwh[self.newest_index])

    def before(self, end: datetime, hours: int) -> FloatArray:
        """The last `hours` values before `end`; a gap takes the newest value."""
        stop = (end - self.start) // HOUR
        values = self.grams_per_kwh[max(0, stop - hours) : stop]
        return np.where(np.isfinite(values), values, self.newest)

    @property
    def newest_hour(self) -> datetime:
        """The hour that it belongs to."""
        return self.start + HOUR * self.newest_index


@dataclass(frozen=True, slots=True, eq=False)
class ZoneData:
    """All that is known of one zone and kind."""

    zone: str
    signal: SignalKind
    issues: tuple[Issue, ...] = ()
    """The newest of each source, in the declared order of sources."""
    measured: Measured | None = None
    static: tuple[float, str] | None = None
    """A factor in g/kWh and its origin."""
    annual: tuple[float, str] | None = None
    """The mean of a year in g/kWh and its origin."""
    errors: Mapping[str, FloatArray] | None = None
    """By source: the measured standard error for each hour ahead."""
    own: Callable[[], OwnForecast | None] = lambda: None
    """From history alone, from the hour after the newest measured value on."""


@dataclass(frozen=True, slots=True)
class Span:
    """The hours to fill: `hours` of them from the start of an hour on."""

    now: datetime
    start: datetime
    hours: int


LinkRule = Callable[[ZoneData, Span, AgeLimits], Forecast | str]


def expected_error(values: FloatArray, hours_ahead: FloatArray, measured: FloatArray | None) -> FloatArray:
    """Standard error of forecast values, shape (slots,).

    Where none is measured: 4 % + 1.25 % x sqrt(hours ahead) of the value, which follows the median of
    CarbonCast's day-ahead forecasts for seven zones, July to September 2021 (4.7 % at 1 h, 8.8 % at 24 h,
    16 % at 95 h).
    """
    usual = values * (0.04 + 0.0125 * np.sqrt(hours_ahead))
    if measured is None or not measured.size:
        return usual
    index = np.minimum(hours_ahead.astype(int), measured.size - 1)
    found = measured[index]
    return np.where(np.isfinite(found), found, usual)


def fill_gaps(values: FloatArray) -> FloatArray:
    """Values up to the first gap of over two hours; shorter gaps take the straight line across."""
    known = np.flatnonzero(np.isfinite(values))
    if not known.size or known[0] > _LONGEST_GAP_HOURS:
        return values[:0]
    wide = np.flatnonzero(np.diff(known) > _LONGEST_GAP_HOURS + 1)
    known = known[: wide[0] + 1] if wide.size else known
    slots = np.arange(known[-1] + 1)
    return np.interp(slots, known, values[known])


def _issued(known: ZoneData, span: Span, link: str, oldest: datetime, limits: AgeLimits) -> Forecast | str:
    why = "no forecast"
    for issue in known.issues:
        if issue.issued_at < oldest:
            why = f"the forecast of {issue.source} is {_age(span.now, issue.issued_at)} old"
            continue
        raw = issue.over(span.start, span.hours)
        values = fill_gaps(raw)
        if not values.size:
            why = f"the forecast of {issue.source} does not reach the present"
            continue
        return _forecast(known, span, issue, values, link, limits)
    return why


def _forecast(known: ZoneData, span: Span, issue: Issue, values: FloatArray, link: str, limits: AgeLimits) -> Forecast:
    ahead = _hours_ahead(values.size, span.start, issue.issued_at)
    errors = (known.errors or {}).get(issue.source)
    doubt = np.zeros(values.size) if issue.exact else expected_error(values, ahead, errors)
    issued = Forecast(known.zone, known.signal, span.start, HOUR, values, doubt, issue.source, link, issue.issued_at)
    own = None if issue.exact else known.own()
    return issued if own is None else _carried_on(_blended(issued, own, span, limits), own.forecast, span)


def _blended(issued: Forecast, own: OwnForecast, span: Span, limits: AgeLimits) -> Forecast:
    """With our own, where it stands on fresh values and both have been judged."""
    blend = own.blends.get(issued.source)
    is_fresh = span.now - own.forecast.observed_at <= limits.measured
    return issued if blend is None or not is_fresh else blended(issued, own, blend)


def _carried_on(issued: Forecast, shape: Forecast, span: Span) -> Forecast:
    """A forecast that ends before the span does, with our own behind it where there is one."""
    if issued.grams_per_kwh.size >= span.hours or shape.start >= issued.end:
        return issued
    whole = extend(issued, shape)
    return replace(
        whole,
        grams_per_kwh=whole.grams_per_kwh[: span.hours],
        doubt_grams_per_kwh=whole.doubt_grams_per_kwh[: span.hours],
    )


def live(known: ZoneData, span: Span, limits: AgeLimits) -> Forecast | str:
    """A forecast issued a short while ago."""
    return _issued(known, span, "forecast", span.now - limits.forecast, limits)


def cached(known: ZoneData, span: Span, limits: AgeLimits) -> Forecast | str:
    """An older forecast that still covers the present; its doubt grows as hours ahead do."""
    return _issued(known, span, "cached", span.now - limits.cached, limits)


def profile(known: ZoneData, span: Span, limits: AgeLimits) -> Forecast | str:
    """A forecast from the zone's own history, towards the latest level."""
    measured, own = known.measured, known.own()
    if measured is None or own is None:
        return "too little history for a profile"
    shape = own.forecast
    if span.now - shape.observed_at > limits.profile:
        return f"the last measured value is {_age(span.now, shape.observed_at)} old"
    # Hours that are measured already stand before the profile, without doubt.
    known_hours = max(0, (shape.start - span.start) // HOUR)
    values = np.concatenate([measured.before(shape.start, known_hours), shape.grams_per_kwh])
    doubt = np.concatenate([np.zeros(known_hours), shape.doubt_grams_per_kwh])
    skip = max(0, (span.start - shape.start) // HOUR)
    chosen = slice(skip, skip + span.hours)
    return replace(shape, start=span.start, grams_per_kwh=values[chosen], doubt_grams_per_kwh=doubt[chosen])


def last(known: ZoneData, span: Span, limits: AgeLimits) -> Forecast | str:
    """The last good value, held level; its doubt grows with the square root of the hours."""
    measured = known.measured
    if measured is None:
        return "no measured value"
    if span.now - measured.newest_hour > limits.last:
        return f"the last measured value is {_age(span.now, measured.newest_hour)} old"
    values = np.full(span.hours, measured.newest)
    ahead = _hours_ahead(span.hours, span.start, measured.newest_hour)
    doubt = np.minimum(values, values * _LAST_VALUE_DRIFT * np.sqrt(ahead + 1))
    return Forecast(
        known.zone,
        known.signal,
        span.start,
        HOUR,
        values,
        doubt,
        measured.source,
        "last",
        measured.newest_hour,
    )


def static(known: ZoneData, span: Span, limits: AgeLimits) -> Forecast | str:
    """The factor that people declared for the zone."""
    return _level(known, span, known.static, "static") or "no static factor is declared"


def annual(known: ZoneData, span: Span, limits: AgeLimits) -> Forecast | str:
    """The zone's mean of a year: by it places are compared, and nothing is said of any hour."""
    return _level(known, span, known.annual, "annual") or "its annual mean is not known"


def _level(known: ZoneData, span: Span, factor: tuple[float, str] | None, link: Link) -> Forecast | None:
    if factor is None:
        return None
    value, origin = factor
    values = np.full(span.hours, value)
    return Forecast(known.zone, known.signal, span.start, HOUR, values, values * _STATIC_DOUBT, origin, link, span.now)


LINKS: Final[Mapping[str, LinkRule]] = {
    "forecast": live,
    "cached": cached,
    "profile": profile,
    "last": last,
    "static": static,
    "annual": annual,
}


def forecast_of(known: ZoneData, span: Span, chain: tuple[str, ...], limits: AgeLimits) -> Forecast | str:
    """What the first link that holds gives; if none does, why each one does not. An annual mean notes why the others
    do not.
    """
    reasons: list[str] = []
    for name in chain:
        result = LINKS[name](known, span, limits)
        if isinstance(result, Forecast):
            return result if result.tells_hours else replace(result, missing="; ".join(reasons))
        reasons.append(f"{name}: {result}")
    return "; ".join(reasons)


def _hours_ahead(hours: int, start: datetime, known_at: datetime) -> FloatArray:
    return np.arange(hours, dtype=np.float64) + max(0.0, (start - known_at) / HOUR)


def _age(now: datetime, then: datetime) -> str:
    return format_duration(now - then)
