"""What the hub still has to hear: reports and the heartbeat, written when they are news and no more often."""

import logging
import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from carbonfleet.api.report import ReportSpec
from carbonfleet.api.spoke import PlannedStart, SpokeStatus
from carbonfleet.clock import Clock
from carbonfleet.faults import only
from carbonfleet.kube import KubeError
from carbonfleet.spoke.attempt_state import KnownAttempt
from carbonfleet.spoke.memory import Memory
from carbonfleet.spoke.report.attempt_report import is_news, is_urgent
from carbonfleet.spoke.report.connection import Connection
from carbonfleet.spoke.report.hub_link import HubLink
from carbonfleet.spoke.report.name_lease import Identity, NameLease
from carbonfleet.spoke.runtimes import joined
from carbonfleet.spoke.settings import AgentSettings

logger = logging.getLogger(__name__)

_OF_ONE = frozenset({400, 409, 422})
"""Refusals that are one report's own fault, however many follow each other."""
_MOST_REFUSED_IN_ROW = 3
"""Other refusals, such as a 429, after which the hub is taken to be away."""
_STATUS_SECONDS = 1.0
"""A changed status goes out at most this often."""


@dataclass(slots=True)
class ReportQueue:
    """Reports and heartbeats on their way to the hub; a hub that is away hears the latest when it is back."""

    settings: AgentSettings
    hub: HubLink
    clock: Clock
    memory: Memory
    lease: NameLease = field(init=False)
    link: Connection = field(default_factory=lambda: Connection("hub"))
    boot_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    rejected: dict[str, str] = field(default_factory=dict)
    """Reports that the hub will not take, by name: why."""
    _sequence: int = 0
    _written: dict[str, ReportSpec] | None = None
    _written_at: dict[str, float] = field(default_factory=dict)
    _resync_at: float = 0.0
    _beat_at: float = 0.0
    _beat: SpokeStatus | None = None
    _starts: tuple[PlannedStart, ...] | None = None
    _starts_at: float = 0.0

    def __post_init__(self) -> None:
        beats = self.clock.real_seconds(timedelta(seconds=self.settings.heartbeat_seconds))
        seconds = max(self.settings.lease_seconds, 3 * beats)
        self.lease = NameLease(self.hub, Identity(self.settings.state / "identity"), seconds)

    @property
    def has_listened(self) -> bool:
        """Whether the hub's reports have been read since the agent started."""
        return self._written is not None

    def why_do_nothing(self) -> str:
        """Why nothing may be started or reported now, as it may be another agent's; empty when all may."""
        return self.lease.problem or ("" if self.has_listened else "what the hub knows of this spoke is not read yet")

    def claim(self) -> None:
        """Ask for the spoke's name, where this agent does not hold it. What the hub has is then read anew."""
        if not self.lease.is_due or not self.link.is_due():
            return
        try:
            if self.lease.claim(self.clock.now()):
                self._written, self._beat, self._resync_at = None, None, 0.0
        except KubeError as error:
            self._failed(error)

    def resync(self, wanted: Collection[str]) -> None:
        """Read what the hub has: at the start, after it was away, and now and then."""
        if not self.link.is_due() or (self.link.is_up and time.monotonic() < self._resync_at):
            return
        try:
            reports = self.hub.reports()
        except KubeError as error:
            self._failed(error)
            return
        if self.link.worked():
            logger.info("Spoke %s: the hub answers again", self.settings.spoke)
        self._resync_at = time.monotonic() + self.settings.resync_seconds
        self._written = reports
        self._adopt(reports, wanted)

    def deliver(self) -> None:
        """Write the reports that are news; of one that differs only in progress, every few seconds."""
        if self._written is None or self.lease.problem or not self.link.is_up or not self.link.is_due():
            return
        refused_in_row = 0
        for name, known in list(self.memory.items()):
            with only(f"report {name}", partial(self.rejected.__setitem__, name), but=KubeError):
                if (known.delivered and known.is_over) or not self._is_due(name, known):
                    continue
                try:
                    self._write(name, known)
                    refused_in_row = 0
                except KubeError as error:
                    refused_in_row += error.status not in _OF_ONE
                    if error.is_away or refused_in_row > _MOST_REFUSED_IN_ROW:
                        self._failed(error)
                        return
                    self.rejected[name] = f"report {name}: {error}"

    def beat(self, status: SpokeStatus) -> None:
        """Write the status when it has changed, or when the hub should hear that we are alive."""
        if not self.link.is_due() or not self._is_beat_due(status):
            return
        now = self.clock.now()
        try:
            if not self.lease.renew(status.model_copy(update={"heartbeat_time": now})):
                return
        except KubeError as error:
            self._failed(error)
            return
        self.link.worked()
        self._beat, self._beat_at = status.model_copy(update={"heartbeat_time": now}), time.monotonic()

    def planned_starts(self) -> tuple[PlannedStart, ...] | None:
        """What the hub plans here, read about once a minute; None while it does not answer."""
        if not self.link.is_up:
            return None
        if time.monotonic() >= self._starts_at:
            try:
                self._starts = self.hub.planned_starts()
            except KubeError as error:
                self._failed(error)
                return None
            rest = self.clock.real_seconds(timedelta(seconds=self.settings.heartbeat_seconds))
            self._starts_at = time.monotonic() + max(rest, self.settings.heartbeat_least_seconds)
        return self._starts

    def _adopt(self, reports: dict[str, ReportSpec], wanted: Collection[str]) -> None:
        """Learn what we have forgotten, and note what the hub has forgotten or never heard."""
        for name, report in reports.items():
            with only(f"what the hub has of {name}", partial(self.rejected.__setitem__, name)):
                self._learn(name, report)
        for name, known in list(self.memory.items()):
            with only(f"report {name}", partial(self.rejected.__setitem__, name)):
                missing = name not in reports and name in wanted
                if known.delivered and (missing or (name in reports and is_news(known.report, reports[name]))):
                    self.memory.keep(name, replace(known, delivered=False))

    def _learn(self, name: str, report: ReportSpec) -> None:
        known = self.memory.get(name)
        if known is None or (report.phase.is_terminal and not known.is_over):
            path = known or KnownAttempt(report)
            self.memory.keep(name, replace(path, report=report, delivered=True))
        elif _samples(report) > _samples(known.report):
            energy = joined(report.energy, known.report.energy)
            self.memory.keep(name, replace(known, report=known.report.model_copy(update={"energy": energy})))

    def _is_due(self, name: str, known: KnownAttempt) -> bool:
        written = (self._written or {}).get(name)
        if not is_news(known.report, written):
            if not known.delivered:
                self.memory.keep(name, replace(known, delivered=True))
            return False
        waited = time.monotonic() - self._written_at.get(name, 0.0)
        return is_urgent(known.report, written) or waited >= self.settings.progress_seconds

    def _write(self, name: str, known: KnownAttempt) -> None:
        """Store a report. Raises KubeError."""
        self._sequence += 1
        stamps = {"boot_id": self.boot_id, "sequence": self._sequence}
        report = known.report.model_copy(update=stamps)
        self._written_at[name] = time.monotonic()
        self.hub.write(name, report)
        self.rejected.pop(name, None)
        if self._written is not None:
            self._written[name] = report
        self.memory.keep(name, replace(known, report=report, delivered=True))

    def _is_beat_due(self, status: SpokeStatus) -> bool:
        last, waited = self._beat, time.monotonic() - self._beat_at
        if last is None:
            return True
        rest = self.clock.real_seconds(timedelta(seconds=self.settings.heartbeat_seconds))
        if waited >= rest:
            return waited >= self.settings.heartbeat_least_seconds
        return waited >= _STATUS_SECONDS and _facts(status) != _facts(last)

    def _failed(self, error: KubeError) -> None:
        if self.link.failed(str(error)):
            logger.warning("Spoke %s: %s", self.settings.spoke, error)


def _samples(report: ReportSpec) -> int:
    return len(report.energy.samples) if report.energy else 0


def _facts(status: SpokeStatus) -> SpokeStatus:
    never: datetime | None = None
    uncounted = {"idle_kwh": None, "idle_saved_kwh": None}
    pools = tuple(pool.model_copy(update=uncounted) for pool in status.pools)
    return status.model_copy(update={"heartbeat_time": never, "pools": pools})
