"""A forecast as a provider issued it, on whole hours."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

import numpy as np

from carbonfleet.placement.snapshot import FloatArray
from carbonfleet.signals.reading import HOUR, Reading
from carbonfleet.signals.source import Batch
from carbonfleet.signals.trace import floor_hour


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
    def of(cls, batch: Batch) -> Self:
        """From a source's answer."""
        hours = hourly_means(batch.readings)
        start = min(hours)
        count = (max(hours) - start) // HOUR + 1
        values = np.full(count, np.nan)
        for hour, (value, _) in hours.items():
            values[(hour - start) // HOUR] = value
        return cls(batch.source, batch.issued_at, batch.fetched_at, start, values, batch.exact)

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

    def over(self, start: datetime, hours: int) -> FloatArray:
        """The values of `hours` hours from `start` on; NaN where there are none."""
        result = np.full(hours, np.nan)
        shift = (self.start - start) // HOUR
        first, last = max(0, shift), min(hours, shift + self.grams_per_kwh.size)
        if first < last:
            result[first:last] = self.grams_per_kwh[first - shift : last - shift]
        return result


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
