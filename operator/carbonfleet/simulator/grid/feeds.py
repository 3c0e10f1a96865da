"""What the planner is told of the grid at a moment of the replay: nothing, everything, or recorded forecasts."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final, Protocol

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import Forecast, Hindcast, hindcast
from carbonfleet.simulator.grid.trace import HOUR, Grid, ReplayError

Forecasts = Mapping[tuple[str, SignalKind], Forecast]
FEWEST_HOURS: Final = 24


class ForecastFeed(Protocol):
    """Forecasts as they stand at the begin of an hour."""

    name: str

    def at(self, hour: int) -> Forecasts:
        """By zone and signal, from the begin of hour `hour` on; no value of it or later may have been looked at."""
        ...


class Perfect:
    """The future itself, `hours` hours of it."""

    name = "perfect"

    def __init__(self, grid: Grid, hours: int) -> None:
        self._grid, self._hours = grid, hours

    def at(self, hour: int) -> Forecasts:
        """What will be measured."""
        values = self._grid.grams_per_kwh[:, hour : hour + self._hours]
        none = np.zeros(values.shape[1])
        return {
            (zone, self._grid.signal): _forecast(self._grid, zone, hour, values[row], none, "forecast")
            for row, zone in enumerate(self._grid.zones)
        }


class FromHistory:
    """Forecast from the hours before alone, for issues from hour `first` to hour `last`."""

    name = "none"

    def __init__(self, grid: Grid, first: int, last: int, hours: int) -> None:
        if first < FEWEST_HOURS:
            raise ReplayError(
                f"the first job comes {first} hours after the trace begins; from history alone at least "
                f"{FEWEST_HOURS} are needed, and 672 (28 days) are good: start later (--start)"
            )
        self._grid, self._last, self._hours = grid, min(last, grid.hours), hours
        self._casts: dict[str, Hindcast] = {}
        for row, zone in enumerate(grid.zones):
            self._casts[zone] = hindcast(grid.grams_per_kwh[row], grid.start, first, self._last, hours)

    def at(self, hour: int) -> Forecasts:
        """What could have been known."""
        found = {}
        for zone, cast in self._casts.items():
            row = hour - cast.first
            values, doubt = cast.grams_per_kwh[row], cast.doubt_grams_per_kwh[row]
            found[zone, self._grid.signal] = _forecast(self._grid, zone, hour, values, doubt, "profile")
        return found


def _forecast(grid: Grid, zone: str, hour: int, values: np.ndarray, doubt: np.ndarray, link: str) -> Forecast:
    start = grid.moment(hour)
    seen = start - timedelta(hours=1)
    return Forecast(zone, grid.signal, start, HOUR, values, doubt, "replay", link, seen)
