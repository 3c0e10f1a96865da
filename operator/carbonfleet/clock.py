"""The one clock of the program: real time by default, faster for demos and soak tests."""

import os
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

VARIABLE = "CARBONFLEET_CLOCK"


@dataclass(frozen=True, slots=True)
class Clock:
    """Maps real time to carbonfleet's time: `time = origin + (real - real_origin) * speed`.

    Processes that share a clock pass it on in the environment (see `encode`). At speed 1 with
    equal origins it is the machine's own clock.
    """

    real_origin_seconds: float = 0.0
    origin_seconds: float = 0.0
    speed: float = 1.0

    @classmethod
    def starting_at(cls, origin: datetime, speed: float) -> Self:
        """A clock that reads `origin` now and runs `speed` times as fast as real time."""
        if not 0 < speed <= 100_000:
            raise ValueError(f"clock speed must be between 0 and 100000, not {speed}")
        return cls(time.time(), origin.timestamp(), speed)

    @classmethod
    def from_environment(cls) -> Self:
        """The clock that this process was started with; real time if none was given."""
        text = os.environ.get(VARIABLE, "")
        if not text:
            return cls()
        try:
            real, origin, speed = (float(part) for part in text.split(","))
        except ValueError:
            raise ValueError(f"{VARIABLE} must be real_origin,origin,speed in seconds: {text!r}") from None
        return cls(real, origin, speed)

    def encode(self) -> str:
        """The value of the environment variable that hands this clock to another process."""
        return f"{self.real_origin_seconds!r},{self.origin_seconds!r},{self.speed!r}"

    def now(self) -> datetime:
        """carbonfleet's time, aware UTC."""
        return self.at(time.time())

    def at(self, real_seconds: float) -> datetime:
        """What this clock showed, or will show, at a moment of real time (seconds since 1970)."""
        elapsed = real_seconds - self.real_origin_seconds
        return datetime.fromtimestamp(self.origin_seconds + elapsed * self.speed, UTC)

    def elapsed_seconds(self) -> float:
        """Seconds of carbonfleet's time since some moment: for intervals, since it goes on whatever the machine's clock
        is set to.
        """
        return time.monotonic() * self.speed

    def real_seconds(self, span: timedelta) -> float:
        """How many real seconds `span` of carbonfleet's time takes."""
        return max(0.0, span.total_seconds() / self.speed)

    def sleep(self, span: timedelta) -> None:
        """Wait for `span` of carbonfleet's time."""
        time.sleep(self.real_seconds(span))

    def wait(self, event: threading.Event, span: timedelta) -> bool:
        """Wait until `event` is set, at most `span` of carbonfleet's time; whether it was set."""
        return event.wait(self.real_seconds(span))
