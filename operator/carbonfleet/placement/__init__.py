"""The heart: what to run where and when, as a function of values."""

from carbonfleet.placement.assumptions import Assumptions
from carbonfleet.placement.decision import Baseline, Candidate, Decision, Explanation, Outcome, Verdict, Window
from carbonfleet.placement.explain import explain, frontier
from carbonfleet.placement.plan import Plan, plan
from carbonfleet.placement.rules import residency_verdict, review_verdict
from carbonfleet.placement.snapshot import (
    Incumbent,
    PolicySet,
    QueuedJob,
    Reservation,
    Snapshot,
    Spoke,
    Usage,
)

__all__ = [
    "Assumptions",
    "Baseline",
    "Candidate",
    "Decision",
    "Explanation",
    "Incumbent",
    "Outcome",
    "Plan",
    "PolicySet",
    "QueuedJob",
    "Reservation",
    "Snapshot",
    "Spoke",
    "Usage",
    "Verdict",
    "Window",
    "explain",
    "frontier",
    "plan",
    "residency_verdict",
    "review_verdict",
]
