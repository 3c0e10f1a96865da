"""The heart: what to run where and when, as a function of values."""

from .assumptions import Assumptions
from .decision import Baseline, Candidate, Decision, Explanation, Outcome, Verdict, Window
from .explain import explain, frontier
from .plan import Plan, plan
from .rules import residency_verdict, review_verdict
from .snapshot import Incumbent, PolicySet, QueuedJob, Reservation, Snapshot, Spoke, Usage

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
