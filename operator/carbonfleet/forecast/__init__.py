"""What the grid will do: from measured history and issued forecasts to a forecast with its doubt, as pure functions."""

from carbonfleet.forecast.accuracy import Accuracy
from carbonfleet.forecast.fallback import AgeLimits, Link, Measured, Span, ZoneData, forecast_of
from carbonfleet.forecast.history import HISTORY, Hindcast, complete, hindcast, profile_forecast
from carbonfleet.forecast.issued import (
    ISSUES_KEPT,
    Blend,
    OwnForecast,
    blends_of,
    extend,
)
from carbonfleet.forecast.outcomes import Outcomes, Shape, outcomes
from carbonfleet.forecast.values import HOUR, RECENT, FloatArray, Forecast, History, IntArray, Issue, PastForecasts

__all__ = [
    "HISTORY",
    "HOUR",
    "ISSUES_KEPT",
    "RECENT",
    "Accuracy",
    "AgeLimits",
    "Blend",
    "FloatArray",
    "Forecast",
    "Hindcast",
    "History",
    "IntArray",
    "Issue",
    "Link",
    "Measured",
    "Outcomes",
    "OwnForecast",
    "PastForecasts",
    "Shape",
    "Span",
    "ZoneData",
    "blends_of",
    "complete",
    "extend",
    "forecast_of",
    "hindcast",
    "outcomes",
    "profile_forecast",
]
