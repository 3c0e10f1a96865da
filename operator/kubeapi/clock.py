"""The server's clock: the machine's own, or a faster one that the environment names."""

import os
import time
from datetime import UTC, datetime
from typing import Final, NamedTuple

VARIABLE: Final = "CARBONFLEET_CLOCK"


class Clock(NamedTuple):
    """Reads `origin + (real - real_origin) * speed`, in seconds since 1970; by default the machine's own time."""

    real_origin_seconds: float = 0.0
    origin_seconds: float = 0.0
    speed: float = 1.0

    @classmethod
    def from_environment(cls) -> "Clock":
        """The clock in `CARBONFLEET_CLOCK` (`real_origin,origin,speed`); real time where it is empty."""
        text = os.environ.get(VARIABLE, "")
        try:
            return cls(*(float(part) for part in text.split(","))) if text else cls()
        except (ValueError, TypeError):
            raise ValueError(f"{VARIABLE} must be real_origin,origin,speed in seconds: {text!r}") from None

    def now(self) -> datetime:
        """The present, aware UTC."""
        elapsed_seconds = time.time() - self.real_origin_seconds
        return datetime.fromtimestamp(self.origin_seconds + elapsed_seconds * self.speed, UTC)
