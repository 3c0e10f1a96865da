"""The hub's use of the ledger: attempts that ended are accounted once, and budgets are counted from it."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from statistics import median
from typing import Final

from carbonfleet.api.job_status import DecisionRecord, Figures, Phase
from carbonfleet.api.report import ReportSpec
from carbonfleet.api.signal import SignalKind
from carbonfleet.faults import said
from carbonfleet.fleet import Stood
from carbonfleet.forecast import HISTORY
from carbonfleet.hub.accounting.account import account, figures_of
from carbonfleet.hub.accounting.attempt import attempt_of
from carbonfleet.hub.accounting.grid_history import KnownPast
from carbonfleet.hub.observe import NOT_ACCOUNTED, Blocker, JobStage, JobState, Observation
from carbonfleet.ledger.emissions import Intensities
from carbonfleet.ledger.store import By, Ledger, Query
from carbonfleet.placement.assumptions import Assumptions
from carbonfleet.placement.hardware import canonical
from carbonfleet.placement.snapshot import RunProfile, Usage
from carbonfleet.signals import Signals

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class LedgerUpdates:
    """Writes the ledger's lines. What it remembers can be read again from the ledger."""

    ledger: Ledger
    signals: Signals
    baseline_region: str
    """Of jobs that name none."""
    placed: Callable[[str], tuple[Stood, ...]]
    """By job UID: every attempt that the branch ever placed."""
    decision_at: Callable[[str, str], DecisionRecord | None]
    """Of a commit and path: the decision in the placement that stood there."""
    _figures: dict[str, Figures] = field(default_factory=dict)
    """What the ledger says of attempts that ended, by placement id."""

    def account(self, observation: Observation) -> Observation:
        """Account every attempt that ended: the observation with figures, and with holds where that failed.

        The ledger's line is durable before the status says that the job is over, and before Git forgets it.
        """
        figures: dict[str, Figures] = {}
        blockers: dict[str, Blocker] = {}
        kept: dict[str, Figures] = {}
        ended = observation.which("whether it has ended can't be told", _is_unsettled)
        for state, report in ((state, state.current_report) for state in ended):
            if report is None:
                continue
            try:
                found = self._figures.get(report.placement_id) or self._account(observation, state, report)
            except Exception as error:  # noqa: BLE001 - one job's fault must not stop the others
                _log.exception("the attempt %s of %s was not accounted", report.attempt, state.key)
                fault = (
                    f"attempt {report.attempt} ended and can't be accounted ({said(error)}); it is tried again each "
                    "cycle: see that the ledger can be written"
                )
                blockers[state.uid] = Blocker(NOT_ACCOUNTED, fault)
                continue
            if found is not None:
                figures[state.uid] = kept[report.placement_id] = found
        self._figures = kept
        return replace(observation, figures=figures).holding(blockers)

    def _account(self, observation: Observation, state: JobState, report: ReportSpec) -> Figures | None:
        if state.job is None or observation.tip is None:
            return None
        lines = self.ledger.attempts(Query(job_uid=state.uid))
        if any(line.placement_id == report.placement_id for line in lines):
            return figures_of(lines)
        commit = self._commit_of(state, report.placement_id)
        attempt = attempt_of(
            state.job,
            report,
            observation.records.get(state.uid) or self._decision_of(state, report, commit),
            observation.facts,
            state.job.spec.baseline_region or self.baseline_region,
            Assumptions(),
            commit,
        )
        found = account(attempt, _Recent(self.signals, observation.now), observation.now) if attempt else None
        if found is None:
            return None
        entry, evidence = found
        self.ledger.record(entry, evidence)
        return figures_of([*lines, entry])

    def _decision_of(self, state: JobState, report: ReportSpec, commit: str) -> DecisionRecord | None:
        """Of an attempt that left Git before it ended: what it was placed with."""
        noted = state.status.placement
        is_it = noted is not None and noted.placement_id == report.placement_id
        return self.decision_at(commit, noted.path) if noted is not None and is_it and commit else None

    def _commit_of(self, state: JobState, placement_id: str) -> str:
        """The commit that placed an attempt: by Git, or by the status where the branch was rewritten since."""
        stood = (one.commit for one in self.placed(state.uid) if one.placement_id == placement_id)
        noted = state.status.placement
        return next(stood, noted.commit if noted and noted.placement_id == placement_id else "")


_SETTLED: Final = (Phase.SUCCEEDED, Phase.FAILED, Phase.STOPPED_EARLY)


def _is_unsettled(state: JobState) -> bool:
    """Its attempt has ended, and its status does not have the result yet, which comes after the ledger's line."""
    if state.current_report is None or not state.current_report.phase.is_terminal:
        return False
    return state.stage is not JobStage.DONE or state.status.phase not in _SETTLED


@dataclass(frozen=True, slots=True)
class _Recent:
    """The grid's past as it is known now. For an hour that nobody has measured yet the forecast serves,
    until the line is settled.
    """

    signals: Signals
    now: datetime

    def __call__(self, zone: str, kind: SignalKind, start: datetime, end: datetime) -> Intensities | None:
        known = KnownPast(self.signals)(zone, kind, start, end)
        return known or self._expected(zone, kind)

    def _expected(self, zone: str, kind: SignalKind) -> Intensities | None:
        reading = self.signals.forecasts({(zone, kind)}, self.now, self.now + timedelta(hours=1))
        found = reading.forecasts.get((zone, kind))
        if found is None:
            return None
        return Intensities(zone, found.start, found.step, found.grams_per_kwh, f"{found.source} ({found.link})")


_MOST_LENGTHS: Final = 20_000
"""Of runs that are looked at to learn how long they take."""
_KEPT_LENGTHS: Final = 50
"""Of one profile and GPU type, the newest."""


_FEWEST_RUNS: Final = 3


def run_lengths(ledger: Ledger, now: datetime) -> Mapping[RunProfile, tuple[float, ...]]:
    """How long the runs of the last 90 days took, by what was trained on what, oldest first."""
    found: dict[RunProfile, list[float]] = {}
    for profile, gpu_type, gpus, hours in ledger.run_lengths(now - HISTORY, _MOST_LENGTHS):
        found.setdefault((profile, canonical(gpu_type), gpus), []).append(hours)
    return {key: tuple(lengths[-_KEPT_LENGTHS:]) for key, lengths in found.items()}


def measured_ingress(ledger: Ledger, now: datetime) -> Mapping[str, tuple[float, int]]:
    """How fast datasets came in during the last 90 days, by cluster: the median in GiB an hour, and of how many runs.

    Of clusters with three runs or more; of each the newest count.
    """
    found: dict[str, list[float]] = {}
    for cluster, gib_per_hour in ledger.ingress(now - HISTORY, _MOST_LENGTHS):
        found.setdefault(cluster, []).append(gib_per_hour)
    newest = {cluster: speeds[-_KEPT_LENGTHS:] for cluster, speeds in found.items()}
    return {cluster: (median(speeds), len(speeds)) for cluster, speeds in newest.items() if len(speeds) >= _FEWEST_RUNS}


def usage(ledger: Ledger, has_budgets: bool, now: datetime) -> Mapping[str, Usage]:
    """What each namespace used since the month (UTC) began; nothing is counted where no budget asks."""
    if not has_budgets:
        return {}
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    used: dict[str, Usage] = {}
    for sums in ledger.sums(By.NAMESPACE, Query(since=month)):
        before = used.get(sums.group, Usage())
        used[sums.group] = Usage(
            before.carbon_kg + sums.grams / 1000, before.gpu_hours + sums.gpu_hours, before.running_gpus
        )
    return used
