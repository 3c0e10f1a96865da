"""The telling of a cycle: statuses that say something new are written, and events told of them."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime

from carbonfleet.api.job_status import DecisionRecord, Figures, JobStatus
from carbonfleet.fleet import Intent, Place, Placement, Proposal, Published
from carbonfleet.hub.accounting import ledger_updates
from carbonfleet.hub.observe.job_state import JobView, Stage
from carbonfleet.hub.observe.mirror import JOBS
from carbonfleet.hub.observe.observation import Scene
from carbonfleet.hub.publish.finalizers import pass_over
from carbonfleet.hub.running.turns import may_turn
from carbonfleet.hub.status.blockers import troubles_of
from carbonfleet.hub.status.events import happening
from carbonfleet.hub.status.status import is_due, needs_update, status_of
from carbonfleet.hub.status.status_inputs import Known, Trouble
from carbonfleet.hub.world import WRITERS, World
from carbonfleet.kube import KubeError, Object, ours


@dataclass(frozen=True, slots=True)
class Change:
    """A status that says something new."""

    view: JobView
    new: JobStatus


def announce(
    world: World, scene: Scene, records: Mapping[str, DecisionRecord], intents: list[Intent]
) -> list[Future[Change | None]]:
    """Begin to show new decisions while Git is written, which takes far longer than a status.

    Only where they are few: of many, each costs a write that delays the others.
    """
    wanted = {intent.decision.uid for intent in intents if isinstance(intent, Place)}
    if len(wanted) > WRITERS:
        return []
    fresh = [view for view in scene.views if view.uid in wanted and not _is_scheduled(view.status)]
    changes = [Change(view, status_of(Known(view, records[view.uid]), scene.now)) for view in fresh]
    return [world.writers.submit(_write_status, world, change) for change in changes]


def _is_scheduled(status: JobStatus) -> bool:
    return any(condition.type == "Scheduled" and condition.status == "True" for condition in status.conditions)


def with_statuses(world: World, scene: Scene, announced: Iterable[Future[Change | None]]) -> Scene:
    """The scene with what was shown meanwhile. Raises KubeError when the API is gone."""
    written = [change for future in announced if (change := future.result()) is not None]
    if not written:
        return scene
    _tell(world, written, scene.now)
    shown = {change.view.uid: change.new for change in written}
    views = (view.showing(shown[view.uid]) if view.uid in shown else view for view in scene.views)
    return replace(scene, views=tuple(views))


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

    def changes() -> Iterator[Change]:
        for view in scene.views:
            if view.stage is Stage.DONE:
                continue
            placed = view.placement
            record = ledger_updates.record_in_git(world, scene, view) if placed else records.get(view.uid)
            commit = _commit_of(view, placed, published, scene)
            actual = figures.get(view.uid)
            turn = records.get(view.uid) if view.uid in scene.turns else None
            known = Known(view, record, troubles.get(view.uid), commit, actual, proposals.get(view.uid), turn=turn)
            if view.uid in scene.agreed:
                known = replace(known, agreed=scene.agreed[view.uid].move.cluster)
            if view.uid in scene.no_moves:
                known = replace(known, no_move=scene.no_moves[view.uid])
            if may_turn(view):
                known = replace(known, why_it_stays=scene.why_it_stays(view))
            known = replace(known, is_overdue=scene.is_overdue(known), is_spoke_lost=scene.is_spoke_lost(view))
            if (change := _change(world, known, scene.now)) is not None:
                yield change

    answers = list(world.writers.map(lambda change: _write_status(world, change), changes()))
    written = [change for change in answers if change is not None]
    _tell(world, written, scene.now)
    for uid in world.told.keys() - {view.uid for view in scene.views}:
        del world.told[uid]
    return {change.view.uid for change in written}


def _tell(world: World, written: Iterable[Change], now: datetime) -> None:
    """Events of what was written; after all statuses, which they must not delay."""
    for change in written:
        if (what := happening(change.view.status, change.new)) is not None:
            world.teller.tell(change.view, what, now)


def _commit_of(view: JobView, placed: Placement | None, published: Published | None, scene: Scene) -> str:
    """The commit that brought the placement; the present tip when it was found there after a restart."""
    if placed is None or view.job is None:
        return ""
    known = view.job.status.placement
    if known is not None and known.placement_id == placed.placement_id and known.commit:
        return known.commit
    return published.commit if published else scene.tip.commit if scene.tip else ""


def _change(world: World, known: Known, now: datetime) -> Change | None:
    """The status to write, if it says anything new; what says nothing new is not looked at again."""
    old, uid = known.view.status, known.view.uid
    if world.told.get(uid) == known and not is_due(old, now):
        return None
    new = status_of(known, now)
    if needs_update(old, new, now):
        return Change(known.view, new)
    world.told[uid] = known
    return None


def _write_status(world: World, change: Change) -> Change | None:
    """The change, when it was written; None where the API would not have it."""
    view, new = change.view, change.new
    metadata = view.body["metadata"]
    where = ours("carbontrainingjobs", metadata["namespace"], metadata["name"])
    try:
        patch = _difference(view.body.get("status") or {}, new.to_wire())
        body = world.kube.patch(f"{where}/status", {"status": patch})
    except KubeError as error:
        pass_over(world, view, error, "status")
        return None
    world.mirror.refresh(JOBS, body)
    return change


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
