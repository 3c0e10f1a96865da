"""Settling: attempts that ended two days ago are integrated again, a few at a time, beside the cycles."""

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from carbonfleet.clock import Clock
from carbonfleet.faults import only
from carbonfleet.hub.accounting.account import settle
from carbonfleet.hub.accounting.grid_history import FinalPast
from carbonfleet.ledger import LedgerError
from carbonfleet.ledger.emissions import FINAL_AFTER
from carbonfleet.ledger.store import Ledger
from carbonfleet.signals import Signals

AT_ONCE: Final = 8
"""Attempts that one step settles at most."""
_GIVEN_UP_AFTER: Final = timedelta(days=30)
"""After so long without final values, an attempt's first account stands."""
_BETWEEN_ROUNDS: Final = timedelta(hours=1)
"""Until those whose values were not final are tried again."""
MOST_NAMED: Final = 20
"""Broken lines of the ledger, in the log."""
_START: Final = (datetime.min.replace(year=1970, tzinfo=UTC), "")
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Settling:
    """Goes round the attempts that wait to be settled. What it remembers can be lost at any time."""

    ledger: Ledger
    signals: Signals
    clock: Clock
    _reached: tuple[datetime, str] = _START
    _rests_until: datetime = _START[0]
    _broken: tuple[str, ...] = ()
    _worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "settling"))
    _under_way: "Future[int] | None" = None
    _closed: threading.Event = field(default_factory=threading.Event)

    def begin(self) -> None:
        """Take the next step in the background unless one is under way; never waits, never raises."""
        if self._closed.is_set():
            return
        if self._under_way is not None:
            if not self._under_way.done():
                return
            if (error := self._under_way.exception()) is not None:
                _log.warning("settling failed, trying again: %s", error)
        self._under_way = self._worker.submit(self.step)

    def step(self) -> int:
        """Settle some attempts; how many were. Raises LedgerError."""
        now = self.clock.now()
        if now < self._rests_until:
            return 0
        oldest, newest = now - _GIVEN_UP_AFTER, now - FINAL_AFTER
        waiting = self.ledger.unsettled(oldest, newest, self._reached, AT_ONCE)
        if not waiting:
            self._reached, self._rests_until = _START, now + _BETWEEN_ROUNDS
            self._name_broken()
            return 0
        past, settled = FinalPast(self.signals), 0
        for entry in waiting:
            if self._closed.is_set():
                break
            with only(f"the ledger's line {entry.id} can't be settled", but=LedgerError):
                found = settle(entry, past, now)
                settled += found is not None and self.ledger.record(*found)
            self._reached = (entry.end, entry.id)
        return settled

    def _name_broken(self) -> None:
        """Say once which lines of the ledger are left out of all figures."""
        broken = tuple(islice(self.ledger.broken(), MOST_NAMED + 1))
        if broken and broken != self._broken:
            more = " and more" if len(broken) > MOST_NAMED else ""
            named = ", ".join(broken[:MOST_NAMED])
            _log.warning(
                "lines of the ledger hold what no line can, and are left out of all figures: %s%s", named, more
            )
        self._broken = broken

    def wait(self, timeout_seconds: float) -> None:
        """Until the step under way has ended. Raises what it raised, or TimeoutError."""
        if self._under_way is not None:
            self._under_way.result(timeout_seconds)

    def close(self) -> None:
        """Begin nothing more; the attempt under way ends by the sources' time-outs."""
        self._closed.set()
        self._worker.shutdown(wait=False, cancel_futures=True)
