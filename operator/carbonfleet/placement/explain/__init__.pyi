"""Why a decision is what it is: candidates, and sentences for people."""

from .promise import promise_of
from .sentences import explain
from .trade import frontier

__all__ = [
    "explain",
    "frontier",
    "promise_of",
]
