"""Carbon and price signals: sources behind one protocol, with cache and fallback."""

from .prices import Market, Quotes, price_sources, repriced
from .reading import PriceKind, Reading, Reason, RejectedValue, floor_hour, hourly_means
from .regions import zone_doubt, zone_of, zones_without_spoke
from .series import Series, Trace, TraceError, open_csv, read_time, read_trace
from .service import SignalReading, Signals, ZoneView, open_market, open_signals, open_signals_file, read_signals
from .settings import SettingsError, SignalSettings, load_settings
from .source import Finding, Source, SourceError
from .sources import FREE_SOURCES, TOKEN_VARIABLE, DemoGridSettings, ElectricityMapsSettings, TraceSource
from .store import HistoryStore, StoreError
from .zone_carbon import ZoneCarbon, zone_carbon

__all__ = [
    "FREE_SOURCES",
    "TOKEN_VARIABLE",
    "DemoGridSettings",
    "ElectricityMapsSettings",
    "Finding",
    "HistoryStore",
    "Market",
    "PriceKind",
    "Quotes",
    "Reading",
    "Reason",
    "RejectedValue",
    "Series",
    "SettingsError",
    "SignalReading",
    "SignalSettings",
    "Signals",
    "Source",
    "SourceError",
    "StoreError",
    "Trace",
    "TraceError",
    "TraceSource",
    "ZoneCarbon",
    "ZoneView",
    "floor_hour",
    "hourly_means",
    "load_settings",
    "open_csv",
    "open_market",
    "open_signals",
    "open_signals_file",
    "price_sources",
    "read_signals",
    "read_time",
    "read_trace",
    "repriced",
    "zone_carbon",
    "zone_doubt",
    "zone_of",
    "zones_without_spoke",
]
