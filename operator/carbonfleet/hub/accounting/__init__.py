"""The ledger's lines: energy, emissions and counterfactuals of attempts that ended, settled later."""

from carbonfleet.hub.accounting.account import Attempt, account, figures_of
from carbonfleet.hub.accounting.grid_history import FinalPast, KnownPast
from carbonfleet.hub.accounting.ledger_updates import LedgerUpdates, usage
from carbonfleet.hub.accounting.settling import AT_ONCE, Settling

__all__ = [
    "AT_ONCE",
    "Attempt",
    "FinalPast",
    "KnownPast",
    "LedgerUpdates",
    "Settling",
    "account",
    "figures_of",
    "usage",
]
