"""Moves of jobs under way that people must agree to: asked for, agreed to, refused, or come to nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from carbonfleet.api.wire import format_time
from carbonfleet.fleet import FleetError, Lapse, Place, Placement, Proposal, Propose
from carbonfleet.fleet.review import ProposalStage as ReviewStage
from carbonfleet.hub.observe.job_state import JobView, Stage
from carbonfleet.hub.observe.observation import Agreed, Scene
from carbonfleet.hub.planning import Planned
from carbonfleet.hub.running.turns import has_same_spec
from carbonfleet.hub.world import World
from carbonfleet.placement.decision import Decision, Outcome
from carbonfleet.placement.rules import residency_verdict

GOOD_FOR: Final = timedelta(hours=2)
"""After its start a proposal, of a placement or a move, can be merged for so long; then it is made anew."""
STOP_GRACE: Final = timedelta(hours=1)
"""What has been begun in time may take so much longer to stop where it ran."""
_OVER: Final = {
    Stage.DONE: "the job has ended",
    Stage.ENDED: "the job has ended",
    Stage.LEAVING: "the job was deleted",
    Stage.INVALID: "the job's spec is not valid any more",
}


def recalled(world: World, scene: Scene) -> Scene:
    """The scene with what people said of moves: yes, on the branch; no, as far as it was heard."""
    if not world.no_moves and not (scene.tip and scene.tip.moves):
        return scene
    refusals = {view.uid: said for view in scene.views if (said := _refusal(world, view))}
    if scene.tip is None or not scene.tip.moves:
        return replace(scene, no_moves=refusals)
    agreed = {}
    for view in scene.views:
        move = scene.tip.moves.get(view.uid)
        if move is not None and _is_next(view, move) and not _in_the_way(view, move, scene):
            agreed[view.uid] = Agreed(move, _agreed_in(world, scene, move))
    return replace(scene, no_moves=refusals, agreed=agreed)


def _refusal(world: World, view: JobView) -> str:
    generation, said = world.no_moves.get(view.uid, (0, ""))
    return said if generation == view.body["metadata"].get("generation") else ""


def _agreed_in(world: World, scene: Scene, move: Placement) -> str:
    try:
        found = world.repository.agreed_in(move)
    except FleetError:
        found = ""
    return found or (scene.tip.commit if scene.tip else "")


def _is_next(view: JobView, move: Placement) -> bool:
    """It is about this very job, the attempt that follows, and the spec as it is."""
    if view.stage not in (Stage.LIVE, Stage.QUEUED, Stage.ENDED) or move.key != view.key:
        return False
    same_spec = view.body["metadata"].get("generation") == move.generation
    return same_spec and move.attempt == (view.placement.attempt if view.placement else view.last_attempt) + 1


def _in_the_way(view: JobView, move: Placement, scene: Scene) -> bool:
    """What keeps a move from being made now: its time is over, or its place takes nothing or is forbidden."""
    grace = STOP_GRACE if view.stage is Stage.QUEUED else timedelta()
    if move.expires_at is not None and scene.now >= move.expires_at + grace:
        return True
    spoke = next((spoke for spoke in scene.spokes if spoke.name == move.cluster), None)
    if spoke is None or not spoke.healthy or view.job is None or scene.tip is None:
        return True
    residency, namespace = view.job.spec.residency, view.job.metadata.namespace
    return not residency_verdict(scene.tip.policies, residency.data_class, namespace, residency, spoke.facts).allowed


def lapses(scene: Scene) -> list[Lapse]:
    """People's word on moves that can't be made any more; of a job that has stopped it is kept until it is placed."""
    if scene.tip is None or not scene.tip_is_fresh or not scene.tip.moves:
        return []
    found = [Lapse(move, "its job is no more") for move in scene.stray_moves]
    for view in scene.views:
        move = scene.tip.moves.get(view.uid)
        if move is None or view.stage is Stage.ENDED:
            continue
        if not _is_next(view, move):
            found.append(Lapse(move, _OVER.get(view.stage, "the job is not where it was when people were asked")))
        elif view.stage is Stage.LIVE and move.expires_at is not None and scene.now >= move.expires_at:
            found.append(Lapse(move, f"it was good until {format_time(move.expires_at)}"))
    return found


@dataclass(frozen=True, slots=True)
class Asking:
    """What people are to be asked about jobs under way, and what no longer."""

    wanted: tuple[Propose, ...] = ()
    undecided: frozenset[tuple[str, int]] = frozenset()
    """Jobs under way (UID and next attempt) on which nothing was decided: what is asked about them stays."""
    over: Mapping[str, str] = field(default_factory=dict)
    """By job UID: why its move is not wanted any more."""


def ask_first(world: World, scene: Scene, planned: Planned) -> tuple[Planned, Asking]:
    """Moves to which people must agree, taken out of what was planned: until they have, the job is left as it is."""
    if not (world.asked or world.reviews.has_open or any(map(_must_be_asked, planned.decisions.values()))):
        return planned, Asking()
    live = {view.uid: view for view in scene.views if view.stage is Stage.LIVE and has_same_spec(view)}
    asked = {uid for uid, decision in planned.decisions.items() if _must_be_asked(decision) and uid in live}
    decided = planned.decisions.keys() - asked
    for uid in asked:
        world.asked[uid] = _proposal(world, live[uid], planned)
        world.looked[uid] = scene.now
    for uid, before in list(world.asked.items()):
        if uid in decided or uid in scene.no_moves or not _is_about(before, live.get(uid)):
            del world.asked[uid]
    for uid in world.moves.keys() - world.asked.keys():
        del world.moves[uid]
    left = Planned(
        {uid: decision for uid, decision in planned.decisions.items() if uid in decided},
        {uid: record for uid, record in planned.records.items() if uid in decided},
        planned.faults,
    )
    undecided = {(uid, view.placement.attempt + 1) for uid, view in live.items() if view.placement}
    asking = Asking(
        tuple(world.asked[uid] for uid in sorted(world.asked)),
        frozenset(pair for pair in undecided if pair[0] not in planned.decisions and pair[0] not in scene.no_moves),
        _why_over(scene, left),
    )
    return left, asking


def _must_be_asked(decision: Decision) -> bool:
    return decision.outcome is Outcome.MOVE and decision.review_required


def _proposal(world: World, view: JobView, planned: Planned) -> Propose:
    assert view.job is not None, "only a valid job is decided on"  # noqa: S101
    place = Place(planned.decisions[view.uid], view.job.spec, planned.records[view.uid])
    lapses = world.repository.lapses(place.id)
    return Propose(place, place.window.start + GOOD_FOR, leaves=view.placement, lapses=lapses)


def _is_about(asked: Propose, view: JobView | None) -> bool:
    """The job still runs the attempt, of the spec, about which people are asked."""
    if view is None or view.placement is None or asked.leaves is None:
        return False
    return view.placement.placement_id == asked.leaves.placement_id


def _why_over(scene: Scene, planned: Planned) -> Mapping[str, str]:
    over = {view.uid: _OVER[view.stage] for view in scene.views if view.stage in _OVER}
    changed = (view for view in scene.views if view.stage is Stage.LIVE and not has_same_spec(view))
    over |= dict.fromkeys((view.uid for view in changed), "the job's spec was changed")
    stays = (uid for uid, decision in planned.decisions.items() if decision.outcome in (Outcome.KEEP, Outcome.PAUSE))
    return over | dict.fromkeys(stays, "moving gains too little by now")


def heard(world: World, proposals: Mapping[str, Proposal], scene: Scene) -> bool:
    """Remember where what was asked stands; whether a no was heard, with which the job is to be decided on again."""
    generations = {view.uid: int(view.body["metadata"].get("generation") or 0) for view in scene.views}
    for uid in world.no_moves.keys() - generations.keys():
        del world.no_moves[uid]
    refused = False
    for uid, proposal in proposals.items():
        if uid not in world.asked:
            continue
        world.moves[uid] = proposal
        if proposal.stage is ReviewStage.REJECTED:
            world.no_moves[uid] = generations[uid], f"It is not moved: people said no ({proposal.message})."
            world.looked.pop(uid, None)
            refused = True
    return refused
