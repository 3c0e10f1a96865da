"""Energy times intensity over time: the arithmetic of the ledger, on values."""

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

    def shifted(self, span: timedelta) -> "EnergyUse":
        """The same use at another time, for counterfactuals."""
        return EnergyUse(self.times + span.total_seconds(), self.kwh)

    @property
    def total_kwh(self) -> float:
        """Energy over the whole use."""
        return float(self.kwh[-1] - self.kwh[0])


def emitted_grams(use: EnergyUse, intensities: Intensities, pue: float = 1.0) -> float:
    """Energy-weighted emissions, building included: PUE x sum over slots of energy x intensity."""
    values = intensities.grams_per_kwh
    origin, step = intensities.start.timestamp(), intensities.step.total_seconds()
    first = int((use.times[0] - origin) // step)
    last = int(np.ceil((use.times[-1] - origin) / step))
    edges = origin + step * np.arange(first, max(last, first + 1) + 1)
    energy = np.diff(np.interp(edges, use.times, use.kwh))
    held = values[np.clip(np.arange(first, first + energy.size), 0, values.size - 1)]
    return float(pue * np.dot(energy, held))


def mean_grams_per_kwh(use: EnergyUse, intensities: Intensities) -> float:
    """The energy-weighted mean intensity; the plain value at the start when no energy was used."""
    if use.total_kwh > 0:
        return emitted_grams(use, intensities) / use.total_kwh
    return emitted_grams(EnergyUse(use.times, np.linspace(0.0, 1.0, use.times.size)), intensities)
