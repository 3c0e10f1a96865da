"""The hub's use of the ledger: attempts that ended are accounted once, and budgets are counted from it."""

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from carbonfleet.api.job_status import DecisionRecord, Figures
from carbonfleet.api.report import ReportSpec
from carbonfleet.api.signal import SignalKind
from carbonfleet.fleet import decision_in
from carbonfleet.hub.accounting import Attempt, account, figures_of
from carbonfleet.hub.scene import Scene
from carbonfleet.hub.view import JobView, Stage
from carbonfleet.hub.world import World
from carbonfleet.ledger import Intensities, Ledger, Query
from carbonfleet.placement.assumptions import Assumptions
from carbonfleet.placement.snapshot import Usage
from carbonfleet.signals import Signals


def close(world: World, scene: Scene) -> dict[str, Figures]:
    """Account every attempt that ended and stands in Git; the figures by job UID.

    The ledger's line is durable before the status says that the job is over, and before Git forgets it.
    """
    found: dict[str, Figures] = {}
    for view in scene.views:
        report = view.current_report
        if report is None or not report.phase.is_terminal or view.stage not in (Stage.ENDED, Stage.LEAVING):
            continue
        if report.placement_id not in world.accounts:
            figures = _close(world, scene, view, report)
            if figures is None:
                continue
            world.accounts[report.placement_id] = figures
        found[view.uid] = world.accounts[report.placement_id]
    return found


def _close(world: World, scene: Scene, view: JobView, report: ReportSpec) -> Figures | None:
    if view.job is None or scene.tip is None:
        return None
    lines = world.ledger.attempts(Query(job_uid=view.uid))
    if known := [line for line in lines if line.placement_id == report.placement_id]:
        return figures_of(known[0])
    region = view.job.spec.baseline_region or world.settings.default_baseline_region
    attempt = Attempt(view.job, report, record_in_git(world, scene, view), scene.tip.clusters, region)
    entry = account(attempt, _Grid(world.signals), Assumptions(), scene.now)
    if entry is None:
        return None
    world.ledger.record(entry)
    return figures_of(entry)


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


class _Grid:
    """What zones emitted, as the signals room knows it."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals

    def __call__(self, zone: str, kind: SignalKind, start: datetime, end: datetime) -> Intensities | None:
        readings = self._signals.intensities(zone, kind, start, end)
        if not readings:
            return None
        first, step = readings[0].start, readings[0].step
        slots = int((readings[-1].start - first) / step) + 1
        at = [int((reading.start - first) / step) for reading in readings]
        held = np.full(slots, np.nan)
        held[at] = [reading.value for reading in readings]
        source = readings[-1].source
        settled = all(reading.settled for reading in readings) and len(readings) == slots
        return Intensities(zone, first, step, _filled(held), source, settled)


def _filled(values: np.ndarray) -> np.ndarray:
    """An hour that nobody measured is taken as the one before it."""
    known = np.where(np.isnan(values), 0, np.arange(values.size))
    filled: np.ndarray = values[np.maximum.accumulate(known)]
    return filled


def usage(ledger: Ledger, has_budgets: bool, scene: Scene) -> Mapping[str, Usage]:
    """What each namespace used since the month (UTC) began; nothing is counted where no budget asks."""
    if not has_budgets:
        return {}
    month = scene.now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    used: dict[str, Usage] = {}
    for entry in ledger.attempts(Query(since=month)):
        before = used.get(entry.namespace, Usage())
        used[entry.namespace] = Usage(
            before.carbon_kg + entry.grams / 1000, before.gpu_hours + entry.gpu_hours, before.running_gpus
        )
    return used
