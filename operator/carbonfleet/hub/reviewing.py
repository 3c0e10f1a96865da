"""Placements that people must agree to: what is proposed, and where each proposal stands."""

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from carbonfleet.fleet import FleetError, Place, Proposal, Propose
from carbonfleet.hub.planning import Planned
from carbonfleet.hub.scene import Scene, asks_to_replace
from carbonfleet.hub.world import World
from carbonfleet.placement.decision import Outcome

_log = logging.getLogger(__name__)
GOOD_FOR: Final = timedelta(hours=2)
"""After its start a proposal can still be merged for so long; then it is made anew."""


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


def advance(world: World, scene: Scene, wanted: list[Propose]) -> Mapping[str, Proposal]:
    """Bring all proposals a step further; where each stands, by job UID."""
    if scene.tip is None or not scene.tip_is_fresh or not (wanted or world.has_proposals):
        return {}
    try:
        found = world.reviews.advance(wanted, scene.now)
    except FleetError as error:
        _log.warning("proposals were not looked after: %s", error)
        return {}
    world.has_proposals = bool(wanted)
    return {propose.place.decision.uid: found[propose.place.id] for propose in wanted if propose.place.id in found}
