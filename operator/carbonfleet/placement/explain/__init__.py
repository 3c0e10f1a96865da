"""Why a decision is what it is: candidates, and sentences for people."""

from carbonfleet.placement.explain.sentences import explain

__all__ = [
    "explain",
]
