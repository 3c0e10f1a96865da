"""Holds requests to one server back: a rate limit, the server's own wish, and a circuit breaker."""

import random
import threading
from collections import Counter
from datetime import datetime, timedelta
from typing import Final

from carbonfleet.clock import Clock
from carbonfleet.http.endpoint import Endpoint
from carbonfleet.http.errors import HttpThrottled, HttpUnavailable

_FAILURES_TO_OPEN: Final = 5
_FIRST_COOLING_SECONDS: Final = 30.0
LONGEST_WAIT_SECONDS: Final = 3600.0


class RateLimiter:
    """Says whether a request may go now. All spans are real seconds: the server lives in real time."""

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        self._endpoint, self._host = endpoint, endpoint.host
        self._clock = clock
        # Half at once and half as refill: no minute ever holds more than the limit.
        self._per_second = endpoint.requests_per_minute / (60 if endpoint.burst else 120)
        self._burst = endpoint.burst or max(1.0, endpoint.requests_per_minute / 2)
        self._tokens = self._burst
        self._counted_at = clock.now()
        self._held_until: datetime | None = None
        self._failures = 0
        self._openings = 0
        self._limits = Counter[str]()
        """By kind of request: limits in a row."""
        self._lock = threading.Lock()

    def enter(self) -> None:
        """Pass, or raise HttpThrottled while requests are held back, HttpUnavailable with the breaker open."""
        with self._lock:
            now = self._clock.now()
            if self._held_until is not None and now < self._held_until:
                raise self._holding(self._held_until)
            self._take(now)

    def succeeded(self, kind: str) -> None:
        """A server that answers is trusted again."""
        with self._lock:
            self._limits[kind] = 0
            self._failures = self._openings = 0
            self._held_until = None

    def failed(self) -> None:
        """After five failures in a row: no requests for 30 s, then one try, then twice as long, to 10 min."""
        with self._lock:
            self._failures += 1
            if self._failures >= _FAILURES_TO_OPEN:
                longest = min(_FIRST_COOLING_SECONDS * 2**self._openings, self._endpoint.longest_cooling_seconds)
                self._openings = min(self._openings + 1, 10)
                seconds = random.uniform(longest / 2, longest)  # noqa: S311 - jitter is no secret
                self._held_until = self._after(self._clock.now(), seconds)
                # One more failure opens it again.
                self._failures = _FAILURES_TO_OPEN - 1

    def throttled(self, kind: str, said_seconds: float | None) -> datetime:
        """Let nothing pass for as long as the server says, or else ever longer while it limits this kind of request."""
        with self._lock:
            unsaid = self._endpoint.throttle_seconds * 2 ** min(self._limits[kind], 6)
            unsaid *= random.uniform(1.0, 1.5)  # noqa: S311 - jitter is no secret
            self._limits[kind] += 1
            until = self._after(self._clock.now(), min(said_seconds or unsaid, LONGEST_WAIT_SECONDS))
            self._held_until = max(until, self._held_until or until)
            return until

    def _holding(self, until: datetime) -> HttpUnavailable | HttpThrottled:
        wait = self._clock.real_seconds(until - self._clock.now())
        if self._failures:
            return HttpUnavailable(f"{self._host} failed repeatedly and is left alone for {wait:.0f} s", until)
        return HttpThrottled(f"{self._host} asked us to wait; {wait:.0f} s are left", until)

    def _take(self, now: datetime) -> None:
        elapsed = self._clock.real_seconds(now - self._counted_at)
        self._counted_at = now
        self._tokens = min(self._burst, self._tokens + elapsed * self._per_second)
        if self._tokens < 1:
            until = self._after(now, (1 - self._tokens) / self._per_second)
            raise HttpThrottled(f"our own limit of requests to {self._host} is reached", until)
        self._tokens -= 1

    def _after(self, now: datetime, seconds: float) -> datetime:
        return now + timedelta(seconds=seconds * self._clock.speed)
