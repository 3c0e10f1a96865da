"""Where a job may go at all: policies, and the constraints of an option."""

from carbonfleet.placement.rules.constraints import Admission, Refusal
from carbonfleet.placement.rules.policy import (
    NO_REVIEW,
    POLICY_REASONS,
    ReviewRuling,
    Ruling,
    applicable,
    budgets,
    covers_namespace,
    is_reviewed,
    job_verdict,
    policies_verdict,
    residency_verdict,
    review_verdict,
    share_weight,
    tiers,
    undeclared_stores,
    with_objectives,
)

__all__ = [
    "NO_REVIEW",
    "POLICY_REASONS",
    "Admission",
    "Refusal",
    "ReviewRuling",
    "Ruling",
    "applicable",
    "budgets",
    "covers_namespace",
    "is_reviewed",
    "job_verdict",
    "policies_verdict",
    "residency_verdict",
    "review_verdict",
    "share_weight",
    "tiers",
    "undeclared_stores",
    "with_objectives",
]
