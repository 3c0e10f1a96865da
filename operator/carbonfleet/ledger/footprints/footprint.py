"""What a cloud says that an account emitted in a region and month."""

from dataclasses import dataclass


class FootprintError(Exception):
    """A cloud's export can't be used; the message names file and line, and says what to do."""

    def __init__(self, file: object, line: int, message: str) -> None:
        super().__init__(f"{file}:{line}: {message}")


@dataclass(frozen=True, slots=True)
class CloudFootprint:
    """A row of an export. Grams are of CO2 equivalent, None where the row has no value by that method."""

    account: str
    """Empty where the row belongs to none."""
    region: str
    """Empty where the row belongs to none, such as that of a global service."""
    month: str
    """As 2026-01."""
    service: str
    model: str
    """The version of the cloud's method; empty where the export has none."""
    location_based_grams: float | None
    market_based_grams: float | None
    unstated_grams: float | None
    """By a method that the cloud's documentation of the export does not name."""
    line: int
