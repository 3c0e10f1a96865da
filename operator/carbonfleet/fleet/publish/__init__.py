"""Changes wanted of the fleet repository, as values, and the one way in which they are committed."""

from carbonfleet.fleet.publish.batch import most_removals
from carbonfleet.fleet.publish.clone_session import NO_CHANGES, CloneSession, in_our_words
from carbonfleet.fleet.publish.history import PLACE, Stood, Vanished
from carbonfleet.fleet.publish.intents import (
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
from carbonfleet.fleet.publish.message import FROM, Change, changes_in, compose, ledger_head_in
from carbonfleet.fleet.publish.repository import Repository

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
