"""Which carbon signal a number is: kinds never mix."""

from enum import StrEnum


class SignalKind(StrEnum):
    """What a gram stands for: average or marginal, lifecycle or direct (at the stack)."""

    AVERAGE_LIFECYCLE = "average-lifecycle"
    AVERAGE_DIRECT = "average-direct"
    MARGINAL = "marginal"
