"""Energy times intensity over time: the arithmetic of the ledger, on values."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Intensities:
    """What a zone's grid emitted per kWh: value i held over [start + i*step, start + (i+1)*step).

    `grams_per_kwh` has shape (slots,), one or more. Before the first slot the first value is taken and
    after the last the last one: an attempt that outlives the data is not free.
    """

    zone: str
    start: datetime
    step: timedelta
    grams_per_kwh: FloatArray
    source: str = ""
    settled: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class EnergyUse:
    """Energy over time: `kwh[i]` were used in all until `times[i]`. Shapes (points,), two or more.

    Between two points power is taken as constant.
    """

    times: FloatArray
    """Seconds since the epoch, rising."""
    kwh: FloatArray

    @classmethod
    def constant(cls, start: datetime, end: datetime, kwh: float) -> "EnergyUse":
        """The same power all the time, as a hardware profile assumes."""
        return cls(np.array([start.timestamp(), end.timestamp()]), np.array([0.0, kwh]))

    def with_steady(self, kwh: float) -> "EnergyUse":
        """The same use and so much more, spread evenly over its time."""
        share = np.linspace(0.0, 1.0, self.times.size)
        if self.times[-1] > self.times[0]:
            share = (self.times - self.times[0]) / (self.times[-1] - self.times[0])
        return EnergyUse(self.times, self.kwh + kwh * share)

    def shifted(self, span: timedelta) -> "EnergyUse":
        """The same use at another time, for counterfactuals."""
        return EnergyUse(self.times + span.total_seconds(), self.kwh)

    def laid_over(self, stints: Sequence[tuple[datetime, datetime]]) -> "EnergyUse":
        """The same use, which knows no pauses and begins with the first stint, with nothing used between stints."""
        begun = np.array([start.timestamp() for start, _ in stints])
        over = np.cumsum([(end - start).total_seconds() for start, end in stints]) + self.times[0]
        times, kwh = [self.times[:1]], [self.kwh[:1]]
        for first, last, start in zip(np.concatenate([self.times[:1], over[:-1]]), over, begun, strict=True):
            inside = (self.times > first) & (self.times < last)
            times.append(np.concatenate([[first], self.times[inside], [last]]) + (start - first))
            kwh.append(np.interp(np.concatenate([[first], self.times[inside], [last]]), self.times, self.kwh))
        return EnergyUse(np.concatenate(times[1:]), np.concatenate(kwh[1:]))

    def unpaused(self) -> "EnergyUse":
        """The same use without the times in which nothing was used, as it would be where nobody pauses."""
        works = np.diff(self.kwh) > 0
        if works.all() or not works.any():
            return self
        seconds = np.diff(self.times)[works]
        times = self.times[0] + np.concatenate([[0.0], np.cumsum(seconds)])
        return EnergyUse(times, np.concatenate([self.kwh[:1], self.kwh[1:][works]]))

    @property
    def total_kwh(self) -> float:
        """Energy over the whole use."""
        return float(self.kwh[-1] - self.kwh[0])


def emitted_grams(use: EnergyUse, intensities: Intensities, pue: float = 1.0) -> float:
    """Energy-weighted emissions, building included: PUE x the integral of power x intensity."""
    return float(pue * emitted_grams_each([use], intensities)[0])


def emitted_grams_each(uses: Sequence[EnergyUse], intensities: Intensities) -> FloatArray:
    """What each use emitted in one zone, without PUE; shape (uses,). Made for many at once.

    Over a stretch of constant power, emissions are energy x the mean intensity, which is a difference of
    the intensity's running integral. A stretch without length takes the value that held then.
    """
    if not uses:
        return np.zeros(0)
    sizes = np.array([use.times.size for use in uses])
    times, kwh = np.concatenate([use.times for use in uses]), np.concatenate([use.kwh for use in uses])
    integral, held = _integral(times, intensities)
    seconds, carbon = np.diff(times), np.diff(integral)
    mean = np.divide(carbon, seconds, out=held[:-1].copy(), where=seconds != 0)
    grams = np.diff(kwh) * mean
    firsts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    grams[firsts[1:] - 1] = 0.0  # From the end of one use to the start of the next.
    return np.add.reduceat(grams, firsts)


def _integral(times: FloatArray, intensities: Intensities) -> tuple[FloatArray, FloatArray]:
    """The integral of the intensity from its first slot on, in g/kWh x seconds, and its value, at `times`."""
    values, step = intensities.grams_per_kwh, intensities.step.total_seconds()
    since = times - intensities.start.timestamp()
    slot = np.clip(np.floor(since / step), 0, values.size - 1).astype(int)
    until = np.concatenate([[0.0], np.cumsum(values[:-1]) * step])
    return until[slot] + values[slot] * (since - slot * step), values[slot]


def mean_grams_per_kwh(use: EnergyUse, intensities: Intensities) -> float:
    """The energy-weighted mean intensity; the plain value at the start when no energy was used."""
    if use.total_kwh > 0:
        return emitted_grams(use, intensities) / use.total_kwh
    return emitted_grams(EnergyUse(use.times, np.linspace(0.0, 1.0, use.times.size)), intensities)
