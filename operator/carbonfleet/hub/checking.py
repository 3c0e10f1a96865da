"""Trying the signals' keys, zones and licences: at the hub's start, and when a cluster brings another zone."""

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.clock import Clock
from carbonfleet.signals import Finding, Signals, zone_doubt

AGAIN: Final = timedelta(hours=6)
"""Keys run out, and plans change."""
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Checking:
    """Checks beside the cycles, and only reports: a zone without data is left out by each plan, with its reason."""

    signals: Signals
    clock: Clock
    tell: Callable[[Sequence[Finding]], None]
    """Also called with what was found."""
    _zones: frozenset[str] = frozenset()
    _due: datetime | None = None
    _worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "checking"))
    _under_way: "Future[None] | None" = None

    def begin(self, clusters: Iterable[ClusterFacts]) -> None:
        """Check the clusters' zones in the background if that is due; never waits, never raises."""
        known = tuple(clusters)
        zones, now = frozenset(facts.zone for facts in known), self.clock.now()
        if not zones or (zones <= self._zones and self._due is not None and now < self._due):
            return
        if self._under_way is not None:
            if not self._under_way.done():
                return
            if (error := self._under_way.exception()) is not None:
                _log.warning("checking the signals failed, trying again: %s", error)
        self._zones, self._due = zones, now + AGAIN
        self._under_way = self._worker.submit(self._check, known)

    def _check(self, clusters: Sequence[ClusterFacts]) -> None:
        zones = sorted({facts.zone for facts in clusters})
        findings = self.signals.check(zones)
        for finding in findings:
            where = f" {finding.zone}" if finding.zone else ""
            say = _log.info if finding.ok else _log.warning
            say("signals: %s%s: %s: %s", finding.source, where, finding.reason, finding.message)
        served = {finding.zone for finding in findings if finding.ok}
        for zone in (zone for zone in zones if zone not in served):
            _log.warning("signals: no source is ready for zone %s; for its clusters onSignalLoss decides", zone)
        for doubt in filter(None, map(zone_doubt, clusters)):
            _log.warning("signals: %s", doubt)
        self.tell(findings)

    def close(self) -> None:
        """Begin nothing more; what is under way ends by the sources' time-outs."""
        self._worker.shutdown(wait=False, cancel_futures=True)
