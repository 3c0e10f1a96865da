"""What stays behind: attempts that may still run, placements without a job, reports that nobody needs."""

import logging
from collections.abc import Iterable, Sequence
from typing import Final

from carbonfleet.fleet import FleetError, Placement, Tip, decision_in
from carbonfleet.hub.observe.job_state import JobView
from carbonfleet.hub.observe.mirror import REPORTS
from carbonfleet.hub.observe.observation import Scene, synced_commit
from carbonfleet.hub.world import World
from carbonfleet.kube import KubeError, Object, ours

_log = logging.getLogger(__name__)
MOST_FORGOTTEN: Final = 50
"""Reports deleted in one cycle."""


def unseen(world: World, views: Iterable[JobView], spokes: Iterable[Object], alive: frozenset[str]) -> frozenset[str]:
    """Jobs whose last placement left Git before its spoke can have seen it: nothing of them will run.

    The spoke has said nothing of the attempt and has read the branch since; or it is declared no more and its agent
    does not beat: one whose folder is gone or renamed lets what runs go on.
    """
    tip, synced = world.tip, {body["metadata"]["name"]: synced_commit(body) for body in spokes}
    if tip is None:
        return frozenset()
    return frozenset(view.uid for view in views if _may_run_unheard(view) and _is_past(world, tip, view, synced, alive))


def _may_run_unheard(view: JobView) -> bool:
    heard = view.report is not None and view.report.attempt == view.last_attempt
    return view.placement is None and not heard and view.status.placement is not None


def _is_past(world: World, tip: Tip, view: JobView, synced: dict[str, str], alive: frozenset[str]) -> bool:
    placed = view.status.placement
    if placed is None:
        return True
    if placed.cluster not in tip.clusters and placed.cluster not in tip.cluster_problems:
        return placed.cluster not in alive
    commit = synced.get(placed.cluster, "")
    try:
        return bool(commit) and world.repository.saw_removal(placed.placement_id, placed.path, commit)
    except FleetError:
        return False


def orphans(world: World, views: Sequence[JobView]) -> tuple[Placement, ...]:
    """Placements that this hub wrote for jobs that the API no longer has.

    What another hub's cluster wrote to the same repository, or a person, is left alone.
    """
    if world.tip is None or not world.mirror.synced:
        return ()
    known = {view.uid for view in views}
    strangers = [placed for placed in world.tip.files.values() if placed.uid not in known]
    return tuple(placed for placed in strangers if _is_ours(world, world.tip, placed))


def stray_moves(world: World, views: Sequence[JobView]) -> tuple[Placement, ...]:
    """What people agreed to of moving jobs that this hub's cluster had and has no more."""
    if world.tip is None or not world.mirror.synced or not world.tip.moves:
        return ()
    known = {view.uid for view in views}
    strangers = [move for uid, move in world.tip.moves.items() if uid not in known]
    return tuple(move for move in strangers if _is_ours(world, world.tip, move))


def _is_ours(world: World, tip: Tip, placed: Placement) -> bool:
    key = (placed.path, placed.content_digest)
    if key not in world.authors:
        record = decision_in(placed.path, tip.file(placed.path) or b"")
        world.authors[key] = record.hub if record else ""
        if not world.hub_id or world.authors[key] != world.hub_id:
            _log.warning(
                "%s is for a job that this cluster does not have, and was not written by its hub: left alone",
                placed.path,
            )
    return bool(world.hub_id) and world.authors[key] == world.hub_id


def forget_reports(world: World, scene: Scene) -> None:
    """Delete reports that nobody needs any more."""
    if scene.tip is None or not scene.tip_is_fresh or not world.mirror.synced:
        return
    for body in scene.spent_reports[:MOST_FORGOTTEN]:
        metadata = body["metadata"]
        try:
            world.kube.delete(ours(REPORTS, metadata["namespace"], metadata["name"]))
        except KubeError as error:
            if not error.is_about_one_object:
                raise
            _log.warning("report %s/%s was not deleted: %s", metadata["namespace"], metadata["name"], error)
