"""What was really emitted, kept append-only."""

from carbonfleet.ledger.account import EnergyUse, Intensities, emitted_grams, mean_grams_per_kwh
from carbonfleet.ledger.entry import Entry, EntryKind
from carbonfleet.ledger.store import Ledger, Query

__all__ = [
    "EnergyUse",
    "Entry",
    "EntryKind",
    "Intensities",
    "Ledger",
    "Query",
    "emitted_grams",
    "mean_grams_per_kwh",
]
