"""Carbon and price signals: sources behind one protocol, with cache and fallback."""

from carbonfleet.signals.desk import SignalReading, Signals
from carbonfleet.signals.market import Market, Quotes, price_sources, repriced
from carbonfleet.signals.opening import open_market, open_signals, open_signals_file
from carbonfleet.signals.overview import ZoneView
from carbonfleet.signals.reading import PriceKind, Reading, Rejection
from carbonfleet.signals.regions import zone_doubt, zone_of
from carbonfleet.signals.settings import SettingsError, SignalSettings, load_settings
from carbonfleet.signals.source import Finding, Source, SourceError
from carbonfleet.signals.store import HistoryStore, StoreError
from carbonfleet.signals.trace import Trace, TraceError, TraceSource, read_trace

__all__ = [
    "Finding",
    "HistoryStore",
    "Market",
    "PriceKind",
    "Quotes",
    "Reading",
    "Rejection",
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
    "ZoneView",
    "load_settings",
    "open_market",
    "open_signals",
    "open_signals_file",
    "price_sources",
    "read_trace",
    "repriced",
    "zone_doubt",
    "zone_of",
]
