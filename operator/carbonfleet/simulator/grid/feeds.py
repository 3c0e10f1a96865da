"""What the planner is told of the grid at a moment of the replay: nothing, everything, or recorded forecasts."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Protocol

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import Forecast, Hindcast, hindcast
from carbonfleet.simulator.grid.trace import Grid, ReplayError

Forecasts = Mapping[tuple[str, SignalKind], Forecast]
FEWEST_HOURS: Final = 24


class ForecastFeed(Protocol):
    """Forecasts as they stand at the begin of a slot."""

    name: str

    def at(self, slot: int) -> Forecasts:
        """By zone and signal, from the begin of `slot` on; no value of it or later may have been looked at."""
        ...


class Perfect:
    """The future itself, `hours` hours of it."""

    name = "perfect"

    def __init__(self, grid: Grid, hours: int) -> None:
        self._grid, self._slots = grid, hours * grid.per_hour

    def at(self, slot: int) -> Forecasts:
        """What will be measured."""
        values = self._grid.grams_per_kwh[:, slot : slot + self._slots]
        none = np.zeros(values.shape[1])
        return {
            (zone, self._grid.signal): _forecast(self._grid, zone, slot, values[row], none, "forecast")
            for row, zone in enumerate(self._grid.zones)
        }


class FromHistory:
    """Forecast from what was before alone, for issues from slot `first` to slot `last`.

    Forecasts are made by the hour. In a finer trace, what begins at :00 is one hourly series, at :30 another.
    """

    name = "none"

    def __init__(self, grid: Grid, first: int, last: int, hours: int) -> None:
        begin, end = first // grid.per_hour, last // grid.per_hour + 1
        if begin < FEWEST_HOURS:
            raise ReplayError(
                f"the first job comes {begin} hours after the trace begins; from history alone at least "
                f"{FEWEST_HOURS} are needed, and 672 (28 days) are good: start later (--start)"
            )
        self._grid, self._slots = grid, hours * grid.per_hour
        self._casts: dict[str, list[Hindcast]] = {}
        for zone, values in zip(grid.zones, grid.grams_per_kwh, strict=True):
            series = [values[part :: grid.per_hour] for part in range(grid.per_hour)]
            self._casts[zone] = [
                hindcast(each, grid.moment(part), begin, min(end, each.size), hours) for part, each in enumerate(series)
            ]

    def at(self, slot: int) -> Forecasts:
        """What could have been known."""
        found = {}
        for zone, casts in self._casts.items():
            values, doubt = np.empty(self._slots), np.empty(self._slots)
            for part, cast in enumerate(casts):
                issue = -((part - slot) // len(casts))
                at = slice(issue * len(casts) + part - slot, None, len(casts))
                row = issue - cast.first
                values[at], doubt[at] = cast.grams_per_kwh[row], cast.doubt_grams_per_kwh[row]
            forecast = _forecast(self._grid, zone, slot, values, doubt, "profile")
            past = casts[0].past(self._grid.moment(slot)) if len(casts) == 1 else None
            found[zone, self._grid.signal] = replace(forecast, past=past)
        return found


def _forecast(grid: Grid, zone: str, slot: int, values: np.ndarray, doubt: np.ndarray, link: str) -> Forecast:
    start = grid.moment(slot)
    return Forecast(zone, grid.signal, start, grid.step, values, doubt, "replay", link, start - grid.step)
