"""The clouds' own footprint exports, read by the layouts that they document and laid beside the ledger."""

from .footprint import CloudFootprint, FootprintError
from .layouts import Cloud, footprints_in
from .reasons import Cause
from .reconciliation import Reconciled, Reconciliation, reconcile

__all__ = [
    "Cause",
    "Cloud",
    "CloudFootprint",
    "FootprintError",
    "Reconciled",
    "Reconciliation",
    "footprints_in",
    "reconcile",
]
