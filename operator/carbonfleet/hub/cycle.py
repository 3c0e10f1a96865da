"""The planning cycle: observe, plan, claim, publish, account, record, release; the same from any state."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, TypeVar

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.job_status import DecisionRecord, Figures, JobStatus
from carbonfleet.fleet import Committed, FleetError, Intent, Place, Placement, Proposal, Propose, Published, Remove, Tip
from carbonfleet.hub import books, declared, leftovers, reviewing
from carbonfleet.hub.events import happening
from carbonfleet.hub.intentions import intents_of, may_leave
from carbonfleet.hub.known import Known, Trouble
from carbonfleet.hub.mirror import JOBS, REPORTS, SPOKES
from carbonfleet.hub.planning import Planned, plan_around
from carbonfleet.hub.scene import Scene, last_known_facts, snapshot_of, spokes_of
from carbonfleet.hub.status import is_due, needs_update, status_of
from carbonfleet.hub.troubles import troubles_of
from carbonfleet.hub.view import FINALIZER, JobView, Stage, latest_reports, refusals
from carbonfleet.hub.world import WRITERS, World
from carbonfleet.kube import KubeError, Object, ours
from carbonfleet.placement import plan
from carbonfleet.placement.snapshot import Snapshot

_log = logging.getLogger(__name__)
Wanted = TypeVar("Wanted", bound=Intent | Propose)
_TRIES: Final = 3
"""Of a write that others were faster with."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a cycle did, for logs and benchmarks."""

    decided: int
    published: int
    written: int
    recheck_at: datetime | None
    """When the next cycle is due though nothing changes."""
    trouble: Trouble | None = None
    go_on: bool = False
    """This cycle's own writes call for another at once."""


@dataclass(frozen=True, slots=True)
class _Change:
    """A status that says something new."""

    view: JobView
    new: JobStatus


def run(world: World) -> Outcome:
    """One cycle. Raises KubeError when the Kubernetes API is gone; all else ends in conditions."""
    scene = observe(world)
    if scene.tip is not None and scene.tip_is_fresh:
        declared.mirror_clusters(world.kube, scene.tip, world.mirror)
    figures, unbooked = books.close(world, scene)
    scene, planned = decide(world, replace(scene, holds=unbooked))
    intents = claim(world, scene, intents_of(scene, planned.decisions, planned.records))
    announced = announce(world, scene, planned.records, intents)
    published, trouble = publish(world, intents)
    trouble = trouble or scene.trouble
    after = with_result(world, with_statuses(world, scene, announced), published)
    proposals = reviewing.advance(world, after, claim(world, after, reviewing.proposals_of(after, planned)))
    written = write_statuses(world, after, planned.records, intents, published, trouble, figures, proposals)
    release(world, after)
    leftovers.forget_reports(world, after)
    due = [decision.recheck_at for decision in planned.decisions.values()]
    go_on = _calls_for_more(after, written, intents, published)
    return Outcome(len(planned.decisions), len(intents), len(written), min(due, default=None), trouble, go_on)


def _calls_for_more(
    after: Scene, written: Collection[str], intents: Iterable[Intent], published: Published | None
) -> bool:
    """Whether an attempt's end was written down, which Git may now forget, or Git has just forgotten one."""
    results = published.results if published else {}
    removed = any(isinstance(i, Remove) and isinstance(results.get(i.id), Committed) for i in intents)
    return removed or any(view.uid in written for view in after.views if view.stage is Stage.ENDED)


def observe(world: World) -> Scene:
    """Freeze what is known; without an answer of the repository, its last known tip."""
    trouble = None
    try:
        world.tip = world.repository.fetch()
    except FleetError as error:
        trouble = Trouble(error.reason, str(error))
    jobs, now = world.mirror.all(JOBS), world.clock.now()
    grace = max(world.settings.heartbeat_grace, world.settings.heartbeat_grace_real * world.clock.speed)
    tip, spokes, reports = world.tip, world.mirror.all(SPOKES), world.mirror.all(REPORTS)
    views = world.views.of(jobs, tip.placements if tip else {}, latest_reports(reports))
    return Scene(
        now=now,
        views=tuple(views),
        spokes=spokes_of(tip, spokes, now, grace),
        tip=tip,
        tip_is_fresh=trouble is None,
        trouble=trouble,
        facts=_facts(tip, spokes),
        refusals=refusals(reports, now),
        unseen=leftovers.unseen(world, views, spokes),
        orphans=leftovers.orphans(world, views),
    )


def _facts(tip: Tip | None, spokes: Iterable[Object]) -> dict[str, ClusterFacts]:
    remembered = {body["metadata"]["name"]: facts for body in spokes if (facts := last_known_facts(body))}
    return remembered | dict(tip.clusters if tip else {})


def decide(world: World, scene: Scene) -> tuple[Scene, Planned]:
    """A decision for each queued job; none without a fleet repository to plan for.

    A fault of the planner is told to each job that waits for it, so that nobody waits without knowing why.
    """
    if scene.tip is None or not scene.queued():
        return scene, Planned()
    try:
        planned = _plan(world, scene)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop the cycle
        _log.exception("planning failed")
        fault = f"the planner failed, and tries again with back-off: {type(error).__name__}: {error}"
        return replace(scene, trouble=Trouble("PlanningFailed", fault[:1024])), Planned()
    faults = {uid: Trouble("PlanningFailed", _POISON.format(fault)[:1024]) for uid, fault in planned.faults.items()}
    return replace(scene, holds={**scene.holds, **faults}), planned


_POISON: Final = "the planner fails on this job, which is left out for two minutes or until its spec changes: {}"


def _plan(world: World, scene: Scene) -> Planned:
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
    if (known := world.last_plan.recall(complete, scene.now)) is not None:
        return known
    planned = plan_around(complete, scene.now, world.quarantine, plan)
    signed = {uid: record.model_copy(update={"hub": world.hub_id}) for uid, record in planned.records.items()}
    world.last_plan.keep(complete, replace(planned, records=signed))
    return world.last_plan.planned


def _has_budgets(snapshot: Snapshot) -> bool:
    """Whether any policy has a budget, so that usage must be counted."""
    return any(policy.spec.budget is not None for policy in snapshot.policies.policies)


def claim(world: World, scene: Scene, wanted: list[Wanted]) -> list[Wanted]:
    """Put the finalizer on each job before its placement is written or proposed; what can't be claimed must wait."""
    views = {view.uid: view for view in scene.views}

    def claimed(wish: Intent | Propose) -> bool:
        place = wish.place if isinstance(wish, Propose) else wish
        if not isinstance(place, Place):
            return True
        view = views[place.decision.uid]
        return view.has_finalizer or _patch_finalizers(world, view, lambda present: present | {FINALIZER})

    return [wish for wish, done in zip(wanted, world.writers.map(claimed, wanted), strict=True) if done]


def announce(
    world: World, scene: Scene, records: Mapping[str, DecisionRecord], intents: list[Intent]
) -> list[Future[_Change | None]]:
    """Begin to show new decisions while Git is written, which takes far longer than a status.

    Only where they are few: of many, each costs a write that delays the others.
    """
    wanted = {intent.decision.uid for intent in intents if isinstance(intent, Place)}
    if len(wanted) > WRITERS:
        return []
    fresh = [view for view in scene.views if view.uid in wanted and not _is_scheduled(view.status)]
    changes = [_Change(view, status_of(Known(view, records[view.uid]), scene.now)) for view in fresh]
    return [world.writers.submit(_write_status, world, change) for change in changes]


def _is_scheduled(status: JobStatus) -> bool:
    return any(condition.type == "Scheduled" and condition.status == "True" for condition in status.conditions)


def with_statuses(world: World, scene: Scene, announced: Iterable[Future[_Change | None]]) -> Scene:
    """The scene with what was shown meanwhile. Raises KubeError when the API is gone."""
    written = [change for future in announced if (change := future.result()) is not None]
    if not written:
        return scene
    _tell(world, written, scene.now)
    shown = {change.view.uid: change.new for change in written}
    views = (view.showing(shown[view.uid]) if view.uid in shown else view for view in scene.views)
    return replace(scene, views=tuple(views))


def publish(world: World, intents: list[Intent]) -> tuple[Published | None, Trouble | None]:
    """Write all intents to Git together; a failure is a trouble that a later cycle tries again."""
    if not intents:
        return None, None
    try:
        published = world.repository.publish(intents)
    except FleetError as error:
        _log.warning("the fleet repository was not written: %s", error)
        return None, Trouble(error.reason, str(error))
    for intent in intents:
        if isinstance(intent, Place) and isinstance(published.results.get(intent.id), Committed):
            world.records[intent.id] = intent.record  # what was just written need not be read back
    return published, None


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
    proposals: Mapping[str, Proposal],
) -> set[str]:
    """Write each status that changed, and tell of it; the UIDs of the jobs."""
    troubles = troubles_of(scene, intents, published, trouble)

    def changes() -> Iterator[_Change]:
        for view in scene.views:
            if view.stage is Stage.DONE:
                continue
            placed = view.placement
            record = books.record_in_git(world, scene, view) if placed else records.get(view.uid)
            commit = _commit_of(view, placed, published, scene)
            actual = figures.get(view.uid)
            known = Known(view, record, troubles.get(view.uid), commit, actual, proposals.get(view.uid))
            if (change := _change(world, known, scene.now)) is not None:
                yield change

    answers = list(world.writers.map(lambda change: _write_status(world, change), changes()))
    written = [change for change in answers if change is not None]
    _tell(world, written, scene.now)
    for uid in world.told.keys() - {view.uid for view in scene.views}:
        del world.told[uid]
    return {change.view.uid for change in written}


def _tell(world: World, written: Iterable[_Change], now: datetime) -> None:
    """Events of what was written; after all statuses, which they must not delay."""
    for change in written:
        if (what := happening(change.view.status, change.new)) is not None:
            world.teller.tell(change.view, what, now)


def release(world: World, scene: Scene) -> None:
    """Take the finalizer off jobs of which nothing stands outside any more."""

    def let_go(view: JobView) -> bool:
        return _patch_finalizers(world, view, lambda present: present - {FINALIZER})

    over = [view for view in scene.views if view.has_finalizer and _is_over(view, scene)]
    list(world.writers.map(let_go, over))


def _is_over(view: JobView, scene: Scene) -> bool:
    if view.stage is Stage.LEAVING:
        return may_leave(view, scene)
    return view.stage is Stage.DONE and scene.tip_is_fresh


def _commit_of(view: JobView, placed: Placement | None, published: Published | None, scene: Scene) -> str:
    """The commit that brought the placement; the present tip when it was found there after a restart."""
    if placed is None or view.job is None:
        return ""
    known = view.job.status.placement
    if known is not None and known.placement_id == placed.placement_id and known.commit:
        return known.commit
    return published.commit if published else scene.tip.commit if scene.tip else ""


def _change(world: World, known: Known, now: datetime) -> _Change | None:
    """The status to write, if it says anything new; what says nothing new is not looked at again."""
    old, uid = known.view.status, known.view.uid
    if world.told.get(uid) == known and not is_due(old, now):
        return None
    new = status_of(known, now)
    if needs_update(old, new, now):
        return _Change(known.view, new)
    world.told[uid] = known
    return None


def _write_status(world: World, change: _Change) -> _Change | None:
    """The change, when it was written; None where the API would not have it."""
    view, new = change.view, change.new
    metadata = view.body["metadata"]
    where = ours("carbontrainingjobs", metadata["namespace"], metadata["name"])
    try:
        patch = _difference(view.body.get("status") or {}, new.to_wire())
        body = world.kube.patch(f"{where}/status", {"status": patch})
    except KubeError as error:
        _pass_over(world, view, error, "status")
        return None
    world.mirror.refresh(JOBS, body)
    return change


def _pass_over(world: World, view: JobView, error: KubeError, what: str) -> None:
    """One job's write was refused: the others go on. Raises the error when the API itself is not well."""
    if not error.is_about_one_object:
        raise error
    if error.is_gone:
        world.mirror.drop(JOBS, view.body)
    else:
        _log.warning("the %s of %s was not written: %s", what, view.key, error)


def _difference(before: Object, after: Object) -> Object:
    """A merge patch from one to the other: null, at every depth, for what is no more."""
    gone: Object = dict.fromkeys(key for key in before if key not in after)
    for key, value in after.items():
        inner = before.get(key)
        if isinstance(value, dict) and isinstance(inner, dict):
            gone[key] = _difference(inner, value)
        elif value != inner:
            gone[key] = value
    return gone


def _patch_finalizers(world: World, view: JobView, change: Callable[[set[str]], set[str]]) -> bool:
    """Change the finalizers of this very object, as it is now; False where that can't be (yet)."""
    body = view.body
    where = ours("carbontrainingjobs", body["metadata"]["namespace"], body["metadata"]["name"])
    for _ in range(_TRIES):
        metadata = body["metadata"]
        wanted = sorted(change(set(metadata.get("finalizers") or ())))
        patch = {"metadata": {"finalizers": wanted, "resourceVersion": metadata["resourceVersion"]}}
        try:
            world.mirror.refresh(JOBS, world.kube.patch(where, patch))
        except KubeError as error:
            if not error.is_conflict:
                _pass_over(world, view, error, "finalizer")
                return False
        else:
            return True
        now = _read_again(world, view, where)
        if now is None:
            return False
        body = now
    return False


def _read_again(world: World, view: JobView, where: str) -> Object | None:
    """The object as it is now; None when it is no more, or another of the same name."""
    try:
        body = world.kube.get(where)
    except KubeError as error:
        _pass_over(world, view, error, "finalizer")
        return None
    if body["metadata"]["uid"] != view.uid:
        world.mirror.drop(JOBS, view.body)
        return None
    world.mirror.refresh(JOBS, body)
    return body
