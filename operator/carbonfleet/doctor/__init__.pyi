"""Checks of an installation: what is there, what is missing, and what to do about it."""

from .check import Check, CheckResult, CheckState, examine
from .hub import HUB_CHECKS, HubContext
from .repository import scratch_folder
from .spoke import HOST_CHECKS, SPOKE_CHECKS, SpokeContext

__all__ = [
    "HOST_CHECKS",
    "HUB_CHECKS",
    "SPOKE_CHECKS",
    "Check",
    "CheckResult",
    "CheckState",
    "HubContext",
    "SpokeContext",
    "examine",
    "scratch_folder",
]
