"""Measured history and forecasts of a zone's carbon intensity, as plain values."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from carbonfleet.api.signal import SignalKind

HOUR: Final = timedelta(hours=1)
RECENT: Final = timedelta(days=28)
"""What percentiles go by, and what a value is held against."""
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class PastForecasts:
    """Earlier forecasts of one zone, one issued in each hour from the hours before it alone, and what was measured.

    Row i was issued at `start` + i hours; its column h is the hour `start` + i + h.
    """

    start: datetime
    grams_per_kwh: npt.NDArray[np.float32]
    """Shape (issues, hours)."""
    doubt_grams_per_kwh: npt.NDArray[np.float32]
    """Measured anew each day: row i of the forecasts has row i // 24; shape (days, hours)."""
    measured: FloatArray
    """Of the hour in which each was issued, shape (issues,)."""
    outcomes: dict[object, Any] = field(default_factory=dict, repr=False)
    """What plans came to that were made on them, by what was asked: worked out once."""

    @property
    def end(self) -> datetime:
        """The end of the last measured hour."""
        return self.start + HOUR * self.measured.size


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Carbon intensity of one zone over consecutive slots of equal length.

    `grams_per_kwh` and `doubt_grams_per_kwh` have shape (slots,); slot i covers
    [start + i*step, start + (i+1)*step). Doubt is the standard error of each slot's value, 0 where it is
    known. All values are finite and not negative (ValueError otherwise): what is missing is not a number
    to plan with, so a source leaves it out.
    """

    zone: str
    signal: SignalKind
    start: datetime
    step: timedelta
    grams_per_kwh: FloatArray
    doubt_grams_per_kwh: FloatArray
    source: str
    """Where it comes from, such as `electricitymaps/v3`."""
    link: str
    """Which link of the fallback chain it stands on: forecast, cached, profile, last, static, annual."""
    observed_at: datetime
    """When the newest measured value in it was measured."""
    past: PastForecasts | None = field(default=None, repr=False)
    """Forecasts of the zone from its history before this one; None where there are none."""
    missing: str = ""
    """Of an annual mean: why nothing better is known, in words."""
    doubted: str = ""
    """Which newer value is left out, being in doubt, in words."""
    blend: str = ""
    """Of an issued forecast that our own is blended with: what counts how much and why, in words."""

    def __post_init__(self) -> None:
        values, doubt = self.grams_per_kwh, self.doubt_grams_per_kwh
        if values.ndim != 1 or values.shape != doubt.shape or not values.size:
            raise ValueError(f"forecast of {self.zone}: values and doubt must be equally long, one or more slots")
        if not (np.isfinite(values).all() and np.isfinite(doubt).all()) or min(values.min(), doubt.min()) < 0:
            raise ValueError(f"forecast of {self.zone}: values and doubt must be finite and not negative")

    @property
    def end(self) -> datetime:
        """The end of the last slot."""
        return self.start + self.step * self.grams_per_kwh.size

    @property
    def is_issued(self) -> bool:
        """Whether somebody issued it, though it may be carried on from history."""
        return self.link.startswith(("forecast", "cached"))

    @property
    def tells_hours(self) -> bool:
        """Whether it says more of the grid than which place is clean: an annual mean says nothing of any hour."""
        return self.link != "annual"

    def at(self, moment: datetime) -> float | None:
        """The value of the slot that holds `moment`; None outside the forecast."""
        index = (moment - self.start) // self.step
        return float(self.grams_per_kwh[index]) if 0 <= index < self.grams_per_kwh.size else None


@dataclass(frozen=True, slots=True)
class History:
    """The last 28 days of one zone, for percentiles and baselines: oldest first, without hours that nobody measured."""

    zone: str
    signal: SignalKind
    grams_per_kwh: tuple[float, ...]
    hours: tuple[datetime, ...] = ()
    """When each of the values began to hold; empty where that is not known."""

    def at(self, moment: datetime) -> float | None:
        """The value of the hour that holds `moment`; None where it was not measured."""
        index = bisect_right(self.hours, moment) - 1
        if index < 0 or moment - self.hours[index] >= HOUR:
            return None
        return self.grams_per_kwh[index]


@dataclass(frozen=True, slots=True, eq=False)
class Issue:
    """Forecast values, shape (hours,), slot i covering [start + i h, start + (i+1) h); NaN in gaps."""

    source: str
    issued_at: datetime
    fetched_at: datetime
    start: datetime
    grams_per_kwh: FloatArray
    exact: bool = False

    @classmethod
    def of_values(
        cls,
        *,
        source: str,
        issued_at: datetime,
        fetched_at: datetime,
        start: datetime,
        values: Sequence[float | None],
        exact: bool,
    ) -> Self:
        """From a store's row."""
        return cls(source, issued_at, fetched_at, start, np.array(values, dtype=np.float64), exact)

    @property
    def end(self) -> datetime:
        """The end of the last hour."""
        return self.start + HOUR * self.grams_per_kwh.size

    def continuing(self, earlier: "Issue") -> "Issue":
        """The same forecast, told again, with the hours that it told before they went by; those of now on stand as they
        are told now.
        """
        gone_by = (min(self.start, self.fetched_at) - earlier.start) // HOUR
        if gone_by <= 0:
            return self
        values = self.over(earlier.start, (self.end - earlier.start) // HOUR)
        values[:gone_by] = earlier.over(earlier.start, gone_by)
        return replace(self, start=earlier.start, grams_per_kwh=values)

    def over(self, start: datetime, hours: int) -> FloatArray:
        """The values of `hours` hours from `start` on; NaN where there are none."""
        result = np.full(hours, np.nan)
        shift = (self.start - start) // HOUR
        first, last = max(0, shift), min(hours, shift + self.grams_per_kwh.size)
        if first < last:
            result[first:last] = self.grams_per_kwh[first - shift : last - shift]
        return result
