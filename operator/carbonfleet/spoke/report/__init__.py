"""What a spoke says to the hub: a report of each attempt, and its heartbeat, written when they are news."""

from carbonfleet.spoke.report.attempt_report import Context, is_urgent, report_of, with_status
from carbonfleet.spoke.report.connection import Connection
from carbonfleet.spoke.report.hub_link import MOST_PROBLEMS, HubLink
from carbonfleet.spoke.report.name_lease import release
from carbonfleet.spoke.report.report_queue import ReportQueue

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
