"""The seven-day profile of the hours of the day, corrected towards the latest level."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np

from carbonfleet.placement.snapshot import FloatArray
from carbonfleet.signals.reading import HOUR

_DAYS: Final = 7
_LEVEL_HOURS: Final = 12.0
"""How fast a departure from the profile fades; e-folding time."""
_FEWEST_HOURS: Final = 48


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """The mean of each UTC hour of the day, shape (24,), and how the values scatter about it, in g/kWh."""

    by_hour: FloatArray
    scatter: float
    lowest: float

    @classmethod
    def of(cls, start: datetime, values: FloatArray) -> "Profile | None":
        """From hourly values, NaN in gaps; None with less than two days, or an hour never seen."""
        start += HOUR * max(0, values.size - _DAYS * 24)
        values = values[-_DAYS * 24 :]
        known = np.isfinite(values)
        hours = (start.astimezone(UTC).hour + np.arange(values.size)) % 24
        counts = np.bincount(hours[known], minlength=24)
        if known.sum() < _FEWEST_HOURS or counts.min() == 0:
            return None
        means = np.bincount(hours[known], values[known], minlength=24) / counts
        return cls(means, float(np.std(values[known] - means[hours[known]])), float(values[known].min()))

    def at(self, start: datetime, hours: int) -> FloatArray:
        """The profile over `hours` hours from `start` on."""
        found: FloatArray = self.by_hour[(start.astimezone(UTC).hour + np.arange(hours)) % 24]
        return found

    def continued(
        self, level: float, level_hour: datetime, start: datetime, hours: int
    ) -> tuple[FloatArray, FloatArray]:
        """Values and doubt from `start` on, given the level in the hour at `level_hour`.

        value(k) = profile + (level - profile then) x exp(-k / 12 h); the doubt is that of a first-order
        autoregression with the same memory: scatter x sqrt(1 - exp(-2 k / 12 h)), k hours ahead.
        """
        ahead = np.arange(hours) + max(0.0, (start - level_hour) / HOUR)
        memory = np.exp(-ahead / _LEVEL_HOURS)
        departure = level - float(self.at(level_hour, 1)[0])
        # A correction downwards may not lead below what the week has seen.
        values = np.maximum(self.at(start, hours) + departure * memory, min(self.lowest, level))
        return values, self.scatter * np.sqrt(1 - memory**2)
