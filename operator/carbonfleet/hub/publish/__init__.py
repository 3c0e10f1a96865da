"""What the hub changes outside: intents for Git, finalizers, proposals that people review, reports that are spent."""

from carbonfleet.hub.publish.finalizers import claim, may_leave, release
from carbonfleet.hub.publish.intents import intents_of, is_stored, publish
from carbonfleet.hub.publish.proposals import ProposalReviews, proposals_of
from carbonfleet.hub.publish.spent_reports import delete_spent_reports

__all__ = [
    "ProposalReviews",
    "claim",
    "delete_spent_reports",
    "intents_of",
    "is_stored",
    "may_leave",
    "proposals_of",
    "publish",
    "release",
]
