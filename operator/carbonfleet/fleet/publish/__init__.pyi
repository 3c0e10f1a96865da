"""Changes wanted of the fleet repository, as values, and the one way in which they are committed."""

from .batch import most_removals
from .clone_session import NO_CHANGES, CloneSession, in_our_words
from .history import PLACE, Stood, Vanished
from .intents import (
    AlreadyThere,
    Committed,
    Intent,
    Lapse,
    Place,
    ProposeMove,
    Published,
    Refused,
    Remove,
    Result,
    Suspend,
)
from .message import FROM, Change, changes_in, compose, ledger_head_in
from .repository import Repository

__all__ = [
    "FROM",
    "NO_CHANGES",
    "PLACE",
    "AlreadyThere",
    "Change",
    "CloneSession",
    "Committed",
    "Intent",
    "Lapse",
    "Place",
    "ProposeMove",
    "Published",
    "Refused",
    "Remove",
    "Repository",
    "Result",
    "Stood",
    "Suspend",
    "Vanished",
    "changes_in",
    "compose",
    "in_our_words",
    "ledger_head_in",
    "most_removals",
]
