"""The planning cycle: observe, plan, claim, publish, account, record, release; the same from any state."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from carbonfleet.api.job_status import DecisionRecord, Figures, JobStatus
from carbonfleet.fleet import FleetError, Intent, Place, Placement, Published, Refused
from carbonfleet.hub import books, declared
from carbonfleet.hub.events import happening, tell
from carbonfleet.hub.intentions import intents_of, may_leave
from carbonfleet.hub.mirror import JOBS, REPORTS, SPOKES
from carbonfleet.hub.scene import Scene, snapshot_of, spokes_of
from carbonfleet.hub.status import Known, Trouble, needs_update, status_of
from carbonfleet.hub.view import FINALIZER, JobView, Stage, latest_reports
from carbonfleet.hub.world import World
from carbonfleet.kube import KubeError, Object, ours
from carbonfleet.placement import plan
from carbonfleet.placement.decision import Decision
from carbonfleet.placement.record import record_of
from carbonfleet.placement.snapshot import Snapshot

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a cycle did, for logs and benchmarks."""

    decided: int
    published: int
    written: int
    recheck_at: datetime | None
    """When the next cycle is due though nothing changes."""
    trouble: Trouble | None = None


def run(world: World) -> Outcome:
    """One cycle. Raises KubeError when the Kubernetes API is gone; all else ends in conditions."""
    scene = observe(world)
    if scene.tip is not None and scene.tip_is_fresh:
        declared.mirror_clusters(world.kube, scene.tip, world.mirror)
    scene, decisions = decide(world, scene)
    records = {uid: record_of(decision, scene.now) for uid, decision in decisions.items()}
    intents = claim(world, scene, intents_of(scene, decisions, records))
    published, trouble = publish(world, intents)
    trouble = trouble or scene.trouble
    after = with_result(world, scene, published)
    figures = books.close(world, after)
    written = write_statuses(world, after, records, intents, published, trouble, figures)
    release(world, after)
    due = [decision.recheck_at for decision in decisions.values()]
    return Outcome(len(decisions), len(intents), written, min(due, default=None), trouble)


def observe(world: World) -> Scene:
    """Freeze what is known; without an answer of the repository, its last known tip."""
    trouble = None
    try:
        world.tip = world.repository.fetch()
    except FleetError as error:
        trouble = Trouble(error.reason, str(error))
    jobs, now = world.mirror.all(JOBS), world.clock.now()
    grace = max(world.settings.heartbeat_grace, world.settings.heartbeat_grace_real * world.clock.speed)
    tip = world.tip
    spokes, synced = spokes_of(tip.clusters if tip else {}, world.mirror.all(SPOKES), now, grace)
    reports = latest_reports(world.mirror.all(REPORTS))
    views = world.views.of(jobs, tip.placements if tip else {}, reports)
    return Scene(
        now=now,
        views=tuple(views),
        spokes=spokes,
        tip=tip,
        tip_is_fresh=trouble is None,
        trouble=trouble,
        synced_commits=synced,
        jobs_are_complete=world.mirror.synced,
    )


def decide(world: World, scene: Scene) -> tuple[Scene, dict[str, Decision]]:
    """A decision for each queued job, by UID; none without a fleet repository to plan for.

    A fault of the planner is told to each queued job, so that nobody waits without knowing why.
    """
    if scene.tip is None or not scene.queued():
        return scene, {}
    try:
        decisions = _plan(world, scene)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop the cycle
        _log.exception("planning failed")
        fault = f"the planner failed, and tries again with back-off: {type(error).__name__}: {error}"
        return replace(scene, trouble=Trouble("PlanningFailed", fault[:1024])), {}
    return scene, decisions


def _plan(world: World, scene: Scene) -> dict[str, Decision]:
    snapshot = snapshot_of(scene, world.settings.default_baseline_region)
    kinds = {job.spec.signal for job in snapshot.jobs}
    wanted = {(spoke.facts.zone, kind) for spoke in snapshot.spokes for kind in kinds}
    reading = world.signals.forecasts(wanted, scene.now, scene.now + world.settings.horizon)
    complete = replace(
        snapshot,
        forecasts=reading.forecasts,
        histories=reading.histories,
        signal_problems=reading.problems,
        usage=books.usage(world.ledger, _has_budgets(snapshot), scene),
    )
    world.plan = plan(complete, scene.now)
    return {decision.uid: decision for decision in world.plan}


def _has_budgets(snapshot: Snapshot) -> bool:
    """Whether any policy has a budget, so that usage must be counted."""
    return any(policy.spec.budget is not None for policy in snapshot.policies.policies)


def claim(world: World, scene: Scene, intents: list[Intent]) -> list[Intent]:
    """Put the finalizer on each job before its placement is written; what can't be claimed must wait."""
    views = {view.uid: view for view in scene.views}

    def claimed(intent: Intent) -> bool:
        if not isinstance(intent, Place):
            return True
        view = views[intent.decision.uid]
        return view.has_finalizer or _patch_finalizers(world, view, [*_finalizers(view), FINALIZER])

    return [intent for intent, done in zip(intents, world.writers.map(claimed, intents), strict=True) if done]


def publish(world: World, intents: list[Intent]) -> tuple[Published | None, Trouble | None]:
    """Write all intents to Git together; a failure is a trouble that a later cycle tries again."""
    if not intents:
        return None, None
    try:
        return world.repository.publish(intents), None
    except FleetError as error:
        _log.warning("the fleet repository was not written: %s", error)
        return None, Trouble(error.reason, str(error))


def with_result(world: World, scene: Scene, published: Published | None) -> Scene:
    """The scene after publishing: the same moment, on the new tip."""
    if published is None or scene.tip is None or published.commit == scene.tip.commit:
        return scene
    world.tip = world.repository.known()
    placements = world.tip.placements
    views = tuple(replace(view, placement=placements.get(view.uid)) for view in scene.views)
    return replace(scene, tip=world.tip, views=views)


def write_statuses(
    world: World,
    scene: Scene,
    records: Mapping[str, DecisionRecord],
    intents: Iterable[Intent],
    published: Published | None,
    trouble: Trouble | None,
    figures: Mapping[str, Figures],
) -> int:
    """Write each status that changed, and tell of it; how many were written."""
    troubles = _troubles(scene, intents, published, trouble)

    def write(view: JobView) -> bool:
        placed = view.placement
        record = books.record_in_git(world, scene, view) if placed else records.get(view.uid)
        commit = _commit_of(view, placed, published, scene)
        actual = figures.get(view.uid)
        known = Known(view, record, troubles.get(view.uid), commit, actual)
        return _write_status(world, known, scene.now)

    wanted = [view for view in scene.views if view.stage is not Stage.DONE]
    return sum(world.writers.map(write, wanted))


def release(world: World, scene: Scene) -> None:
    """Take the finalizer off jobs of which nothing stands outside any more."""

    def let_go(view: JobView) -> None:
        _patch_finalizers(world, view, [name for name in _finalizers(view) if name != FINALIZER])

    over = [view for view in scene.views if view.has_finalizer and _is_over(view, scene)]
    list(world.writers.map(let_go, over))


def _is_over(view: JobView, scene: Scene) -> bool:
    if view.stage is Stage.LEAVING:
        return may_leave(view, scene)
    return view.stage is Stage.DONE and scene.tip_is_fresh


def _troubles(
    scene: Scene, intents: Iterable[Intent], published: Published | None, trouble: Trouble | None
) -> dict[str, Trouble]:
    """By job UID: why its placement is not in Git as it should be."""
    found: dict[str, Trouble] = {}
    for view in scene.views:
        if scene.was_reverted(view) and view.job and view.job.status.placement:
            where = view.job.status.placement.path
            found[view.uid] = Trouble(
                "RevertedByHuman",
                f"{where} was taken out of Git by somebody else; it is not written again until the job's "
                "spec changes or its annotation carbonfleet.dev/replace is set to a new value",
            )
        elif scene.trouble is not None and view.stage is Stage.QUEUED:
            found[view.uid] = scene.trouble
    for intent in intents:
        if isinstance(intent, Place):
            result = published.results.get(intent.id) if published else None
            if trouble is not None:
                found[intent.decision.uid] = trouble
            elif isinstance(result, Refused):
                found[intent.decision.uid] = Trouble(result.reason, result.message)
    return found


def _commit_of(view: JobView, placed: Placement | None, published: Published | None, scene: Scene) -> str:
    """The commit that brought the placement; the present tip when it was found there after a restart."""
    if placed is None or view.job is None:
        return ""
    known = view.job.status.placement
    if known is not None and known.placement_id == placed.placement_id and known.commit:
        return known.commit
    return published.commit if published else scene.tip.commit if scene.tip else ""


def _write_status(world: World, known: Known, now: datetime) -> bool:
    view = known.view
    old = view.job.status if view.job else JobStatus.model_validate(_old_status(view))
    new = status_of(known, now)
    if not needs_update(old, new, now):
        return False
    metadata = view.body["metadata"]
    where = ours("carbontrainingjobs", metadata["namespace"], metadata["name"])
    try:
        body = world.kube.patch(f"{where}/status", {"status": _patch(old, new)})
        world.mirror.refresh(JOBS, body)
        if (what := happening(old, new)) is not None:
            tell(world.kube, view, what, now)
    except KubeError as error:
        if not error.is_gone:
            _log.warning("the status of %s was not written: %s", view.key, error)
        return False
    return True


def _old_status(view: JobView) -> object:
    return view.body.get("status") or {}


def _patch(old: JobStatus, new: JobStatus) -> Object:
    """A merge patch from the old status to the new: null, at every depth, for what is no more."""
    return _difference(old.to_wire(), new.to_wire())


def _difference(before: Object, after: Object) -> Object:
    gone: Object = dict.fromkeys(key for key in before if key not in after)
    for key, value in after.items():
        inner = before.get(key)
        if isinstance(value, dict) and isinstance(inner, dict):
            gone[key] = _difference(inner, value)
        elif value != inner:
            gone[key] = value
    return gone


def _finalizers(view: JobView) -> list[str]:
    return list(view.body["metadata"].get("finalizers") or ())


def _patch_finalizers(world: World, view: JobView, finalizers: list[str]) -> bool:
    """Set the finalizers if the object is still as we saw it; otherwise the next cycle tries again."""
    metadata = view.body["metadata"]
    where = ours("carbontrainingjobs", metadata["namespace"], metadata["name"])
    wanted = {"finalizers": finalizers, "resourceVersion": metadata["resourceVersion"]}
    try:
        world.mirror.refresh(JOBS, world.kube.patch(where, {"metadata": wanted}))
    except KubeError as error:
        if error.status in (404, 409):
            return False
        raise
    return True
