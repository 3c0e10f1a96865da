"""Follows what the page shows: objects of the Kubernetes API by watches, the ledger and the grid by looking again."""

import logging
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from carbonfleet.api.signal import SignalKind
from carbonfleet.clock import Clock
from carbonfleet.faults import said
from carbonfleet.kube import Kube, KubeError, Object, ours
from carbonfleet.ledger import Anchor, Entry, EntryKind, LedgerError
from carbonfleet.ledger.report import Report, report
from carbonfleet.ledger.store import By, Ledger, Query
from carbonfleet.signals import SignalReading, SignalSettings, StoreError, read_signals
from carbonfleet.ui.values import (
    AttemptRow,
    JobRow,
    SpokeRow,
    Stints,
    accounted_attempt,
    archived_stints,
    attempt_row,
    job_row,
    spoke_row,
)

MOST_OBJECTS: Final = 50_000
"""Of a kind that are kept; what is beyond is told, and not shown."""
AHEAD: Final = timedelta(hours=96)
"""How far forecasts are shown."""
RECENT: Final = timedelta(hours=36)
MOST_REPORTS: Final = 500
"""Archived reports that are read for their attempts' pauses, the newest."""
_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 10.0
_LEDGER_SECONDS: Final = 5.0
"""Between two looks at the ledger's last line; its figures are added up only where that changed."""
_GRID_SECONDS: Final = (10.0, 300.0)
"""Between two looks at the grid's store: a quarter of an hour by carbonfleet's clock, and at least and most so long."""
_log = logging.getLogger(__name__)


class _Identified(Protocol):
    @property
    def uid(self) -> str: ...


Row = TypeVar("Row", bound=_Identified)


@dataclass(frozen=True, slots=True)
class Accounts:
    """The ledger's figures."""

    by_month: Report
    by_namespace: Report
    by_job: Report
    recent: tuple[AttemptRow, ...]
    """Attempts that ended within RECENT."""


@dataclass(frozen=True, slots=True)
class FleetState:
    """All that lists show, as it was at one moment."""

    version: int
    """Rises with every change."""
    jobs: tuple[JobRow, ...]
    """By namespace and name."""
    spokes: tuple[SpokeRow, ...]
    attempts: tuple[AttemptRow, ...]
    grid: SignalReading | None
    """None before the first look, and where there is no store."""
    accounts: Accounts | None
    """None before the first look, and where there is no ledger."""
    problems: Mapping[str, str]
    """What can't be read now, by what it is, in sentences; what was read before is shown meanwhile."""
    is_loading: bool
    """The API's objects are still being read for the first time."""


@dataclass(slots=True)
class _Objects(Generic[Row]):
    """The rows of a kind."""

    read: Callable[[Object], Row]
    rows: dict[str, Row] = field(default_factory=dict)
    is_complete: bool = False
    left_out: int = 0


class Reader:
    """Keeps the newest state in threads of its own; `start` begins, `close` ends."""

    def __init__(self, kubeconfig: Path | None, ledger: str, signals: SignalSettings, clock: Clock) -> None:
        self.clock = clock
        self._kubeconfig, self._ledger_address, self._signals = kubeconfig, ledger, signals
        self._kube: Kube | None = None
        self._ledger: Ledger | None = None
        self._jobs = _Objects(job_row)
        self._spokes = _Objects(spoke_row)
        self._attempts = _Objects(attempt_row)
        self._grid: SignalReading | None = None
        self._accounts: Accounts | None = None
        self._head: Anchor | None = None
        self._stints: dict[str, Stints] = {}
        """By a report's digest, of attempts that ended lately."""
        self._problems: dict[str, str] = {}
        self._version = 0
        self._state: FleetState | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()

    def start(self) -> None:
        """Begin to read."""
        loops: Mapping[str, Callable[[], None]] = {
            "jobs": partial(self._follow, "carbontrainingjobs", self._jobs),
            "spokes": partial(self._follow, "spokeclusters", self._spokes),
            "reports": partial(self._follow, "trainingreports", self._attempts),
            "ledger": partial(self._look_again, "The ledger", self._read_ledger),
            "grid": partial(self._look_again, "The grid's figures", self._read_grid),
        }
        for name, loop in loops.items():
            threading.Thread(target=loop, name=f"ui-{name}", daemon=True).start()

    def close(self) -> None:
        """Read no more."""
        self._over.set()

    def state(self) -> FleetState:
        """As it is now."""
        with self._lock:
            if self._state is None or self._state.version != self._version:
                self._state = self._made()
            return self._state

    def _made(self) -> FleetState:
        kinds = (self._jobs, self._spokes, self._attempts)
        return FleetState(
            version=self._version,
            jobs=tuple(sorted(self._jobs.rows.values(), key=lambda row: (row.namespace, row.name))),
            spokes=tuple(sorted(self._spokes.rows.values(), key=lambda row: row.name)),
            attempts=tuple(self._attempts.rows.values()),
            grid=self._grid,
            accounts=self._accounts,
            problems=dict(self._problems),
            is_loading=not all(kind.is_complete for kind in kinds) and "jobs" not in self._problems,
        )

    def job(self, namespace: str, name: str) -> Object:
        """One job whole. Raises KubeError."""
        return self._connected().get(ours("carbontrainingjobs", namespace, name))

    def accounted(self, job_uid: str) -> list[Entry]:
        """The ledger's lines on a job's attempts. Raises LedgerError."""
        ledger = self._ledger
        return ledger.attempts(Query(job_uid=job_uid)) if ledger is not None and job_uid else []

    def _changed(self, problem: str = "", what: str = "") -> None:
        """Something is new: a problem of `what`, or that there is none."""
        with self._lock:
            if problem:
                self._problems[what] = problem
            else:
                self._problems.pop(what, None)
            self._version += 1

    def _connected(self) -> Kube:
        if self._kube is None:
            self._kube = Kube.connect(self._kubeconfig)
        return self._kube

    def _follow(self, kind: str, objects: _Objects[Row]) -> None:
        """List, then watch from there on; list again after a failure, later each time while the API does not answer."""
        pause = _PAUSE_SECONDS
        while not self._over.is_set():
            try:
                version = self._list(kind, objects)
                self._changed(self._told(objects, kind), kind)
                pause = _PAUSE_SECONDS
                self._watch(kind, version, objects)
            except KubeError as error:
                if error.status != 410:
                    self._changed(_api_problem(error), kind)
                    pause = self._wait(pause)
            except Exception as error:  # noqa: BLE001 - an API may answer anything; the next list may do
                self._changed(f"The Kubernetes API's answer can't be read: {said(error)}", kind)
                pause = self._wait(pause)

    def _watch(self, kind: str, version: str, objects: _Objects[Row]) -> None:
        """Take in what changes, until the end. Raises KubeError."""
        while not self._over.is_set():
            for event, body in self._connected().watch(ours(kind), version):
                version = str(body["metadata"]["resourceVersion"])
                self._take(event, body, objects)
                if self._over.is_set():
                    return

    def _list(self, kind: str, objects: _Objects[Row]) -> str:
        """Read all; rows that are there already are replaced as their page comes, so that something shows at once."""
        seen: set[str] = set()
        version, left_out = "", 0
        for page, listed_at in self._connected().pages(ours(kind)):
            version = listed_at
            rows = [objects.read(body) for body in page]
            kept = rows[: max(0, MOST_OBJECTS - len(seen))]
            left_out += len(rows) - len(kept)
            seen.update(row.uid for row in kept)
            with self._lock:
                objects.rows.update((row.uid, row) for row in kept)
                self._version += 1
        with self._lock:
            objects.rows = {uid: row for uid, row in objects.rows.items() if uid in seen}
            objects.is_complete, objects.left_out = True, left_out
        return version

    def _take(self, event: str, body: Object, objects: _Objects[Row]) -> None:
        if event not in ("ADDED", "MODIFIED", "DELETED"):
            return
        row = objects.read(body)
        with self._lock:
            if event == "DELETED":
                objects.rows.pop(row.uid, None)
            elif row.uid in objects.rows or len(objects.rows) < MOST_OBJECTS:
                objects.rows[row.uid] = row
            else:
                objects.left_out += 1
            self._version += 1

    def _told(self, objects: _Objects[Row], kind: str) -> str:
        return f"Only the first {MOST_OBJECTS:,} {kind} are shown." if objects.left_out else ""

    def _look_again(self, what: str, look: Callable[[], float]) -> None:
        """Look, and after as many seconds as that says, again."""
        pause = _PAUSE_SECONDS
        while not self._over.is_set():
            try:
                seconds = look()
            except Exception as error:  # noqa: BLE001 - files and databases of others; what was read before stays
                self._changed(f"{what} can't be read: {said(error).partition(': ')[2] or said(error)}.", what)
                pause = self._wait(pause)
            else:
                pause = _PAUSE_SECONDS
                self._over.wait(seconds)

    def _wait(self, seconds: float) -> float:
        """Wait about so long; how long to wait next time."""
        self._over.wait(seconds * random.uniform(0.5, 1.0))  # noqa: S311 - jitter is no secret
        return min(2 * seconds, _LONGEST_PAUSE_SECONDS)

    def _read_ledger(self) -> float:
        try:
            if self._ledger is None:
                self._ledger = Ledger.existing(self._ledger_address, is_read_only=True)
            head = self._ledger.head()
            if self._accounts is None or head != self._head:
                now = self.clock.now()
                month, team, job = (report(self._ledger, by, Query(), now) for by in (By.MONTH, By.NAMESPACE, By.JOB))
                self._accounts, self._head = Accounts(month, team, job, self._recent(self._ledger, now)), head
                self._changed(what="The ledger")
        except LedgerError:
            self._ledger = None
            raise
        return _LEDGER_SECONDS

    def _recent(self, ledger: Ledger, now: datetime) -> tuple[AttemptRow, ...]:
        """Attempts that ended lately, the newest of them with the pauses that their archived reports tell."""
        lines = [each for each in ledger.entries(Query(since=now - RECENT)) if each.kind is EntryKind.ATTEMPT]
        wanted = [each.report_digest for each in lines[-MOST_REPORTS:] if each.report_digest]
        fresh = ledger.documents(set(wanted) - self._stints.keys())
        self._stints = {each: self._stints.get(each) or archived_stints(fresh.get(each, "")) for each in wanted}
        return tuple(accounted_attempt(each, self._stints.get(each.report_digest, ())) for each in lines)

    def _read_grid(self) -> float:
        least, most = _GRID_SECONDS
        if self._signals.store == SignalSettings().store:
            raise StoreError("the hub keeps it in memory: name a `store` in its signal settings, and here the same")
        zones = sorted({spoke.zone for spoke in self.state().spokes if spoke.zone})
        if zones:
            wanted = [(zone, SignalKind.AVERAGE_LIFECYCLE) for zone in zones]
            self._grid = read_signals(self._signals, self.clock, wanted, self.clock.now() + AHEAD)
            self._changed(what="The grid's figures")
        elif self.state().is_loading:
            return _PAUSE_SECONDS
        return min(most, max(least, self.clock.real_seconds(timedelta(minutes=15))))


def _api_problem(error: KubeError) -> str:
    return f"The Kubernetes API can't be read: {error.for_people}."
