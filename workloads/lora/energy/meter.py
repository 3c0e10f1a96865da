"""A meter of energy: sources that may fail, fall or jump, made into a count that never does."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from .series import Series

JOULES_PER_KWH = 3_600_000
BOARD_WATTS = 1500.0
"""The most that a board of any model draws (a GB300's limit is 1,400 W), where nothing tells this one's limit."""

_PATIENCE_SECONDS = 5.0

Source = Literal["nvml", "dcgm", "rapl", "prometheus"]


@dataclass(frozen=True, slots=True)
class Count:
    """Energy since a meter was opened, and how much of it stands for what could not be read."""

    kwh: float
    estimated_kwh: float = 0.0


class Meter:
    """The energy of some series since it was opened; no reading of them ends a run or makes the count fall.

    A thread reads every `every_seconds`, for a step or a validation may take minutes; those that answer at once are
    also read whenever the count is asked for. `is_per_gpu`: each worker has its own. `fault`: why none measures.
    """

    def __init__(
        self,
        source: Source | None,
        series: Sequence[Series] = (),
        *,
        every_seconds: float = 5.0,
        is_remote: bool = False,
        covers_host: bool = False,
        is_per_gpu: bool = False,
        fault: str = "",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source, self.covers_host, self.is_per_gpu, self.fault = source, covers_host, is_per_gpu, fault
        self._series, self._every, self._is_remote, self._now = tuple(series), every_seconds, is_remote, now
        self._reading, self._lock, self._closed = threading.Lock(), threading.Lock(), threading.Event()
        self._first, self._most = threading.Event(), Count(0.0)

    def opened(self) -> "Meter":
        """Begin to count, and go on in a thread until it is closed; a server that hangs is not waited for."""
        threading.Thread(target=self._watch, name="meter", daemon=True).start()
        self._first.wait(_PATIENCE_SECONDS)
        return self

    def expect_readings(self) -> None:
        """Raise `OSError` unless every series can be read now."""
        self.sample()
        if not all(series.is_read for series in self._series):
            raise OSError(f"{self.source} can't be read")

    def sample(self) -> None:
        """Read every series once, unless another thread does so now."""
        if not self._reading.acquire(blocking=False):
            return
        try:
            for series in self._series:
                moment, value = self._now(), series.read()
                with self._lock:
                    series.note(moment, value)
        finally:
            self._reading.release()

    def count(self) -> Count | None:
        """Energy so far; None where nothing measures, or nothing was measured before the readings ended."""
        if not self._is_remote and not self._closed.is_set():
            self.sample()
        with self._lock:
            now = self._now()
            totals = [series.total(now) for series in self._series]
        known = [total for total in totals if total is not None]
        if not known or (len(known) < len(totals) and not any(measured for measured, _ in known)):
            return None
        measured, estimated = (sum(part) / JOULES_PER_KWH for part in zip(*known, strict=True))
        if measured + estimated > self._most.kwh:  # an estimate gives way to a lower count when readings come back
            self._most = Count(measured + estimated, estimated)
        return self._most

    def close(self) -> None:
        """Stop reading."""
        self._closed.set()

    def _watch(self) -> None:
        self.sample()
        self._first.set()
        while not self._closed.wait(self._every):
            self.sample()
