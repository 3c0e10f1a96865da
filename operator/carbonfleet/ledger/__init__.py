"""What was really emitted, kept append-only."""

from carbonfleet.ledger.account import (
    EnergyUse,
    Intensities,
    emitted_grams,
    emitted_grams_each,
    mean_grams_per_kwh,
)
from carbonfleet.ledger.entry import Entry, EntryKind
from carbonfleet.ledger.measured import MeteredUse, metered_use
from carbonfleet.ledger.settlement import FINAL_AFTER, Grid, curve_of, energy_use, settlement
from carbonfleet.ledger.store import Ledger, LedgerError, Query
from carbonfleet.ledger.sums import By, Sums

__all__ = [
    "FINAL_AFTER",
    "By",
    "EnergyUse",
    "Entry",
    "EntryKind",
    "Grid",
    "Intensities",
    "Ledger",
    "LedgerError",
    "MeteredUse",
    "Query",
    "Sums",
    "curve_of",
    "emitted_grams",
    "emitted_grams_each",
    "energy_use",
    "mean_grams_per_kwh",
    "metered_use",
    "settlement",
]
