"""Placements that people must agree to: what is proposed, and where each proposal stands."""

import logging
from collections.abc import Mapping
from datetime import datetime

from carbonfleet.api.job_status import Phase
from carbonfleet.api.wire import format_time
from carbonfleet.fleet import FleetError, Place, Placement, Proposal, Propose
from carbonfleet.hub.observe.job_state import JobView, Stage
from carbonfleet.hub.observe.observation import Scene, asks_to_replace
from carbonfleet.hub.planning import Planned
from carbonfleet.hub.running.moves import GOOD_FOR, Asking
from carbonfleet.hub.status.status_inputs import MERGED_LATE, Trouble
from carbonfleet.hub.world import World
from carbonfleet.placement.decision import Outcome

_log = logging.getLogger(__name__)


def proposals_of(scene: Scene, planned: Planned) -> list[Propose]:
    """What people are to be asked: decisions that would start, and that policy or job want reviewed."""
    if scene.tip is None or not scene.tip_is_fresh:
        return []
    wanted = []
    for view in scene.queued():
        decision = planned.decisions.get(view.uid)
        if decision is None or decision.window is None or view.job is None:
            continue
        if decision.outcome is Outcome.START and decision.review_required:
            place = Place(decision, view.job.spec, planned.records[view.uid], replace=asks_to_replace(view))
            wanted.append(Propose(place, decision.window.start + GOOD_FOR))
    return wanted


def late(world: World, scene: Scene) -> Mapping[str, Trouble]:
    """Live placements, by job UID, that were merged after their time: they leave Git and are proposed anew.

    By the clock of who merged: a hub that was down meanwhile judges as one that was there. A merge that
    writes no commit of its own (fast-forward) leaves no time to judge by.
    """
    found = {}
    for view in scene.views:
        placed = view.placement
        if placed is None or placed.expires_at is None or view.stage is not Stage.LIVE or _is_accepted(view, placed):
            continue
        if said := _lateness(world, placed, placed.expires_at):
            found[view.uid] = Trouble(MERGED_LATE, said)
    return found


def _is_accepted(view: JobView, placed: Placement) -> bool:
    """It was judged before and found in time, whatever became of the branch's history since."""
    known = view.status.placement
    return known is not None and known.placement_id == placed.placement_id and view.status.phase is not Phase.WAITING


def _lateness(world: World, placed: Placement, expires_at: datetime) -> str:
    try:
        merged_at = world.repository.arrived_at(placed)
    except FleetError:
        return ""
    if merged_at is None or merged_at < expires_at:
        return ""
    return (
        f"the proposal was good until {format_time(expires_at)} and was merged at {format_time(merged_at)}: it is "
        "taken back and, once its spoke has stopped it, proposed anew"
    )


def advance(world: World, scene: Scene, wanted: list[Propose], asking: Asking) -> Mapping[str, Proposal]:
    """Bring all proposals, of placements and moves, a step further; where each stands, by job UID."""
    if scene.tip is None or not scene.tip_is_fresh or not (wanted or world.reviews.has_open):
        return {}
    hint = world.hinted.is_set()
    world.hinted.clear()
    try:
        found = world.reviews.advance(
            wanted, scene.now, hint=hint, undecided=asking.undecided, over=asking.over, hub=world.hub_id
        )
    except FleetError as error:
        _log.warning("proposals were not looked after: %s", error)
        return {}
    return {propose.place.decision.uid: found[propose.place.id] for propose in wanted if propose.place.id in found}
