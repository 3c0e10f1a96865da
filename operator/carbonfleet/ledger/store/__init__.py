"""The database that keeps the ledger's lines."""

from carbonfleet.ledger.store.ledger import Ledger, Query
from carbonfleet.ledger.store.sums import By, Sums, added
from carbonfleet.ledger.store.table import entry_of

__all__ = ["By", "Ledger", "Query", "Sums", "added", "entry_of"]
