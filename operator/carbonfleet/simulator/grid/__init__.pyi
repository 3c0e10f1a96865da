"""Recorded grids, and what a planner is told of them at each hour of a replay."""

from .feeds import ForecastFeed, Forecasts, FromHistory, Perfect
from .recorded import Corrected, Recording, Trusted, open_recording
from .trace import HOUR, MINUTE, Grid, ReplayError, open_grid, window_means

__all__ = [
    "HOUR",
    "MINUTE",
    "Corrected",
    "ForecastFeed",
    "Forecasts",
    "FromHistory",
    "Grid",
    "Perfect",
    "Recording",
    "ReplayError",
    "Trusted",
    "open_grid",
    "open_recording",
    "window_means",
]
