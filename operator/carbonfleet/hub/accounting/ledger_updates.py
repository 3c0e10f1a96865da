"""The hub's use of the ledger: attempts that ended are accounted once, and budgets are counted from it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from carbonfleet.api.job_status import DecisionRecord, Figures, Phase
from carbonfleet.api.report import ReportSpec
from carbonfleet.api.signal import SignalKind
from carbonfleet.fleet import decision_in
from carbonfleet.hub.accounting.account import Attempt, account, figures_of
from carbonfleet.hub.accounting.grid_history import KnownPast
from carbonfleet.hub.observe.job_state import JobView, Stage
from carbonfleet.hub.observe.observation import Scene
from carbonfleet.hub.status.status_inputs import NOT_ACCOUNTED, Trouble
from carbonfleet.hub.world import World
from carbonfleet.ledger import By, Intensities, Ledger, Query
from carbonfleet.placement.assumptions import Assumptions
from carbonfleet.placement.snapshot import Usage
from carbonfleet.signals import Signals

_log = logging.getLogger(__name__)


def close(world: World, scene: Scene) -> tuple[dict[str, Figures], dict[str, Trouble]]:
    """Account every attempt that ended; by job UID the figures, and why one could not be accounted.

    The ledger's line is durable before the status says that the job is over, and before Git forgets it.
    """
    found: dict[str, Figures] = {}
    troubles: dict[str, Trouble] = {}
    for view in scene.views:
        report = view.current_report
        if report is None or not report.phase.is_terminal or _is_settled(view):
            continue
        try:
            figures = world.accounts.get(report.placement_id) or _close(world, scene, view, report)
        except Exception as error:  # noqa: BLE001 - one job's fault must not stop the others
            _log.exception("the attempt %s of %s was not accounted", report.attempt, view.key)
            fault = f"attempt {report.attempt} ended and can't be accounted, trying again: {error}"
            troubles[view.uid] = Trouble(NOT_ACCOUNTED, fault)
            continue
        if figures is not None:
            found[view.uid] = world.accounts[report.placement_id] = figures
    return found, troubles


def _is_settled(view: JobView) -> bool:
    """Its status has the result already, which came after the ledger's line."""
    return view.stage is Stage.DONE and view.status.phase in (Phase.SUCCEEDED, Phase.FAILED)


def _close(world: World, scene: Scene, view: JobView, report: ReportSpec) -> Figures | None:
    if view.job is None or scene.tip is None:
        return None
    lines = world.ledger.attempts(Query(job_uid=view.uid))
    if any(line.placement_id == report.placement_id for line in lines):
        return figures_of(lines)
    region = view.job.spec.baseline_region or world.settings.baseline_region
    attempt = Attempt(view.job, report, record_in_git(world, scene, view), scene.facts, region)
    entry = account(attempt, _Recent(world.signals, scene.now), Assumptions(), scene.now)
    if entry is None:
        return None
    world.ledger.record(entry)
    return figures_of([*lines, entry])


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


def forget(world: World, scene: Scene) -> None:
    """Of attempts that are neither in Git nor a job's last, nothing need be remembered: it can be read again."""
    if scene.tip is None:
        return
    last = {view.report.placement_id for view in scene.views if view.report is not None}
    for placement_id in world.records.keys() - scene.tip.index.by_id.keys() - last:
        del world.records[placement_id]
    for placement_id in world.accounts.keys() - last:
        del world.accounts[placement_id]


def record_in_git(world: World, scene: Scene, view: JobView) -> DecisionRecord | None:
    """The decision that the placement's file holds, so that status, ledger and Git never differ."""
    placed = view.placement
    if placed is None or scene.tip is None:
        return None
    if placed.placement_id not in world.records:
        found = decision_in(placed.path, scene.tip.file(placed.path) or b"")
        if found is None:
            return None
        world.records[placed.placement_id] = found
    return world.records[placed.placement_id]


def usage(ledger: Ledger, has_budgets: bool, scene: Scene) -> Mapping[str, Usage]:
    """What each namespace used since the month (UTC) began; nothing is counted where no budget asks."""
    if not has_budgets:
        return {}
    month = scene.now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    used: dict[str, Usage] = {}
    for sums in ledger.sums(By.NAMESPACE, Query(since=month)):
        before = used.get(sums.group, Usage())
        used[sums.group] = Usage(
            before.carbon_kg + sums.grams / 1000, before.gpu_hours + sums.gpu_hours, before.running_gpus
        )
    return used
