"""Why a decision is what it is: candidates, and sentences for people."""

from carbonfleet.placement.explain.promise import promise_of
from carbonfleet.placement.explain.sentences import explain
from carbonfleet.placement.explain.trade import frontier

__all__ = [
    "explain",
    "frontier",
    "promise_of",
]
