"""What a spoke says to the hub: a report of each attempt, and its heartbeat, written when they are news."""

from .attempt_report import Context, is_urgent, report_of, with_status
from .connection import Connection
from .hub_link import MOST_PROBLEMS, HubLink
from .name_lease import release
from .report_queue import ReportQueue

__all__ = [
    "MOST_PROBLEMS",
    "Connection",
    "Context",
    "HubLink",
    "ReportQueue",
    "is_urgent",
    "release",
    "report_of",
    "with_status",
]
