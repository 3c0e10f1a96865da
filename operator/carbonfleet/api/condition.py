"""Conditions as Kubernetes keeps them: a type, a status, and since when."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from carbonfleet.api.wire import Text, Time, Wire


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Wire):
    """One condition of an object; a list of them is a map by type."""

    type: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]*$", max_length=64)]
    """What it is about."""
    status: ConditionStatus
    """Whether it holds."""
    reason: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=64)]
    """Why, in one stable word."""
    message: Text = ""
    """Why, in a sentence for people."""
    last_transition_time: Time
    """Since when the status is what it is."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation of the spec that it speaks of."""
