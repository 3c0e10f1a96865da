"""What the grid will do: from measured history and issued forecasts to a forecast with its doubt, as pure functions."""

from carbonfleet.forecast.accuracy import Accuracy
from carbonfleet.forecast.fallback import AgeLimits, Link, Measured, Span, ZoneData, forecast_of
from carbonfleet.forecast.history import HISTORY, Hindcast, complete, hindcast, profile_forecast
from carbonfleet.forecast.issued import combined, extend
from carbonfleet.forecast.outcomes import Outcomes, Shape, outcomes
from carbonfleet.forecast.values import HOUR, RECENT, FloatArray, Forecast, History, IntArray, Issue, PastForecasts

__all__ = [
    "HISTORY",
    "HOUR",
    "RECENT",
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
    "Outcomes",
    "PastForecasts",
    "Shape",
    "Span",
    "ZoneData",
    "combined",
    "complete",
    "extend",
    "forecast_of",
    "hindcast",
    "outcomes",
    "profile_forecast",
]
