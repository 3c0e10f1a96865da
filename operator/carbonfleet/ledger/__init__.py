"""What was really emitted, kept append-only."""

from carbonfleet.ledger.account import (
    EnergyUse,
    Intensities,
    emitted_grams,
    emitted_grams_each,
    mean_grams_per_kwh,
)
from carbonfleet.ledger.chain import Anchor, ChainedRow, ChainFault, Link, chain_faults
from carbonfleet.ledger.entry import EVIDENCE_FIELDS, Entry, EntryKind
from carbonfleet.ledger.evidence import ArchivingGrid, Document, EvidenceError, archived_grid, document_in
from carbonfleet.ledger.export import ExportError, exported
from carbonfleet.ledger.measured import MeteredUse, metered_use
from carbonfleet.ledger.settlement import FINAL_AFTER, Grid, curve_of, energy_use, settlement
from carbonfleet.ledger.store import Ledger, LedgerError, Query
from carbonfleet.ledger.sums import By, Sums
from carbonfleet.ledger.table import entry_of

__all__ = [
    "EVIDENCE_FIELDS",
    "FINAL_AFTER",
    "Anchor",
    "ArchivingGrid",
    "By",
    "ChainFault",
    "ChainedRow",
    "Document",
    "EnergyUse",
    "Entry",
    "EntryKind",
    "EvidenceError",
    "ExportError",
    "Grid",
    "Intensities",
    "Ledger",
    "LedgerError",
    "Link",
    "MeteredUse",
    "Query",
    "Sums",
    "archived_grid",
    "chain_faults",
    "curve_of",
    "document_in",
    "emitted_grams",
    "emitted_grams_each",
    "energy_use",
    "entry_of",
    "exported",
    "mean_grams_per_kwh",
    "metered_use",
    "settlement",
]
