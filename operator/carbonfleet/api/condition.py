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
    status: ConditionStatus
    reason: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=64)]
    message: Text = ""
    last_transition_time: Time
    observed_generation: Annotated[int, Field(ge=0)] = 0
