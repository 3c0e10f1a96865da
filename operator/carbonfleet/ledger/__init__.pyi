"""What was really emitted, kept append-only.

Here are the lines, the chain over them and their export, by the standard library alone, so that an audit of many lines
starts at once; `emissions/` has the arithmetic, `store/` the database.
"""

from .chain import Anchor, ChainedRow, ChainFault, Link, chain_faults
from .entry import EVIDENCE_FIELDS, Entry, EntryKind, LedgerError
from .evidence import Document, EvidenceError, document_in
from .export import exported, lines_in

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
