"""What the grid will do: from measured history and issued forecasts to a forecast with its doubt, as pure functions."""

from .accuracy import Accuracy
from .fallback import AgeLimits, Link, Measured, Span, ZoneData, forecast_of
from .history import HISTORY, Hindcast, complete, hindcast, profile_forecast
from .issued import ISSUES_KEPT, Blend, OwnForecast, blends_of, extend
from .outcomes import Outcomes, Shape, outcomes
from .values import HOUR, RECENT, FloatArray, Forecast, History, IntArray, Issue, PastForecasts

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
