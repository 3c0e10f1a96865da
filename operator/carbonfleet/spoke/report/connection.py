"""One connection that may be down: when to try again, and since when it is silent."""

import random
import time
from dataclasses import dataclass, field
from typing import Final

_FIRST_SECONDS: Final = 1.0
_FACTOR: Final = 1.6
_CAP_SECONDS: Final = 30.0


@dataclass(slots=True)
class Connection:
    """Failures in a row stretch the wait, half of it at random, up to half a minute. Seconds are real."""

    name: str
    failures: int = 0
    problem: str = ""
    _next_try: float = 0.0
    _down_since: float = 0.0
    _random: random.Random = field(default_factory=random.Random)

    @property
    def is_up(self) -> bool:
        """Whether the last try worked."""
        return self.failures == 0

    def is_due(self) -> bool:
        """Whether it is time for a try."""
        return time.monotonic() >= self._next_try

    def worked(self, again_in_seconds: float = 0.0) -> bool:
        """Note a try that worked; whether it had been down."""
        was_down = not self.is_up
        self.failures, self.problem = 0, ""
        self._next_try = time.monotonic() + again_in_seconds
        return was_down

    def failed(self, problem: str) -> bool:
        """Note a try that failed; whether it is news."""
        now = time.monotonic()
        if self.is_up:
            self._down_since = now
        self.failures += 1
        is_news, self.problem = self.failures == 1, problem[:1024]
        whole = min(_CAP_SECONDS, _FIRST_SECONDS * _FACTOR ** min(self.failures - 1, 20))
        self._next_try = now + whole * (0.5 + self._random.random() / 2)
        return is_news

    def down_seconds(self) -> float:
        """How long it has been silent; 0 when it is up."""
        return 0.0 if self.is_up else time.monotonic() - self._down_since
