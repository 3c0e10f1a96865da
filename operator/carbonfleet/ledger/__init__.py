"""What was really emitted, kept append-only.

Here are the lines, the chain over them and their export, by the standard library alone, so that an audit of many lines
starts at once; `emissions/` has the arithmetic, `store/` the database.
"""

from carbonfleet.ledger.chain import Anchor, ChainedRow, ChainFault, Link, chain_faults
from carbonfleet.ledger.entry import EVIDENCE_FIELDS, Entry, EntryKind, LedgerError
from carbonfleet.ledger.evidence import Document, EvidenceError, document_in
from carbonfleet.ledger.export import exported, lines_in

__all__ = [
    "EVIDENCE_FIELDS",
    "Anchor",
    "ChainFault",
    "ChainedRow",
    "Document",
    "Entry",
    "EntryKind",
    "EvidenceError",
    "LedgerError",
    "Link",
    "chain_faults",
    "document_in",
    "exported",
    "lines_in",
]
