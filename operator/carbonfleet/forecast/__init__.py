"""What the grid will do: from measured history and issued forecasts to a forecast with its doubt, as pure functions."""

from carbonfleet.forecast.history import Hindcast, complete, hindcast, profile_forecast
from carbonfleet.forecast.issued import combined, extend
from carbonfleet.forecast.values import FloatArray, Forecast, History, IntArray

__all__ = [
    "FloatArray",
    "Forecast",
    "Hindcast",
    "History",
    "IntArray",
    "combined",
    "complete",
    "extend",
    "hindcast",
    "profile_forecast",
]
