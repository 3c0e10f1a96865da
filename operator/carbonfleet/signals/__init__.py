"""Carbon and price signals: sources behind one protocol, with cache and fallback."""

from carbonfleet.signals.desk import SignalReading, Signals
from carbonfleet.signals.opening import open_signals, open_signals_file
from carbonfleet.signals.reading import PriceKind, Reading, Rejection
from carbonfleet.signals.settings import SettingsError, SignalSettings, load_settings
from carbonfleet.signals.source import Finding, Source, SourceError
from carbonfleet.signals.store import HistoryStore, StoreError
from carbonfleet.signals.trace import Trace, TraceError, TraceSource, read_trace

__all__ = [
    "Finding",
    "HistoryStore",
    "PriceKind",
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
    "load_settings",
    "open_signals",
    "open_signals_file",
    "read_trace",
]
