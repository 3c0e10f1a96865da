"""What the grid will do: from measured history and issued forecasts to a forecast with its doubt, as pure functions."""

from carbonfleet.forecast.accuracy import Accuracy
from carbonfleet.forecast.fallback import AgeLimits, Link, Measured, Span, ZoneData, forecast_of
from carbonfleet.forecast.history import Hindcast, complete, hindcast, profile_forecast
from carbonfleet.forecast.issued import combined, extend
from carbonfleet.forecast.values import HOUR, FloatArray, Forecast, History, IntArray, Issue

__all__ = [
    "HOUR",
    "Accuracy",
    "AgeLimits",
    "FloatArray",
    "Forecast",
    "Hindcast",
    "History",
    "IntArray",
    "Issue",
    "Link",
    "Measured",
    "Span",
    "ZoneData",
    "combined",
    "complete",
    "extend",
    "forecast_of",
    "hindcast",
    "profile_forecast",
]
