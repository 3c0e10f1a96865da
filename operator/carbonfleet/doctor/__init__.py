"""Checks of an installation: what is there, what is missing, and what to do about it."""

from carbonfleet.doctor.check import Check, CheckResult, CheckState, examine
from carbonfleet.doctor.hub import HUB_CHECKS, HubContext
from carbonfleet.doctor.repository import scratch_folder
from carbonfleet.doctor.spoke import HOST_CHECKS, SPOKE_CHECKS, SpokeContext

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
