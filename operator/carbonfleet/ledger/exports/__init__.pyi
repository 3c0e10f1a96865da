"""The ledger's attempts in others' formats: FOCUS, CSV, Parquet and OpenMetrics, each figure to its last digit."""

from .attempts import ExportError, columns, rows
from .focus import focus_columns, focus_row
from .market import MarketFactors, read_market_factors
from .openmetrics import openmetrics_text
from .parquet import write_parquet

__all__ = [
    "ExportError",
    "MarketFactors",
    "columns",
    "focus_columns",
    "focus_row",
    "openmetrics_text",
    "read_market_factors",
    "rows",
    "write_parquet",
]
