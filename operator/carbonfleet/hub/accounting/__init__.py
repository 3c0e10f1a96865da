"""The ledger's lines: energy, emissions and counterfactuals of attempts that ended, settled later."""

from carbonfleet.hub.accounting.account import account, figures_of, settle
from carbonfleet.hub.accounting.attempt import attempt_of
from carbonfleet.hub.accounting.derivation import Derivation
from carbonfleet.hub.accounting.grid_history import FinalPast, KnownPast
from carbonfleet.hub.accounting.ledger_updates import LedgerUpdates, measured_ingress, run_lengths, usage
from carbonfleet.hub.accounting.settling import AT_ONCE, Settling

__all__ = [
    "AT_ONCE",
    "Derivation",
    "FinalPast",
    "KnownPast",
    "LedgerUpdates",
    "Settling",
    "account",
    "attempt_of",
    "figures_of",
    "measured_ingress",
    "run_lengths",
    "settle",
    "usage",
]
