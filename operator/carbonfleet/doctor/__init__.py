"""Checks of an installation: what is there, what is missing, and what to do about it."""

from carbonfleet.doctor.check import Check, CheckResult, CheckState, examine
from carbonfleet.doctor.hub import HUB_CHECKS, HubContext
from carbonfleet.doctor.repository import scratch_folder

__all__ = ["HUB_CHECKS", "Check", "CheckResult", "CheckState", "HubContext", "examine", "scratch_folder"]
