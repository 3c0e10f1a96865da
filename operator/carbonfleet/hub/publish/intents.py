"""What the hub wants of Git and of finalizers, from the scene and the plan: a function of values."""

from collections.abc import Mapping

from carbonfleet.api import ANNOTATION
from carbonfleet.api.job_status import DecisionRecord, Phase
from carbonfleet.fleet import Intent, Place, Placement, Remove, Suspend, Tip
from carbonfleet.hub.observe.job_state import IN_GIT, JobView, Stage, ended_phase, may_try_again
from carbonfleet.hub.observe.observation import Scene, asks_to_replace
from carbonfleet.placement.decision import Decision, Outcome


def intents_of(scene: Scene, decisions: Mapping[str, Decision], records: Mapping[str, DecisionRecord]) -> list[Intent]:
    """Every change that the fleet repository needs; decisions and records are by job UID."""
    if scene.tip is None or not scene.tip_is_fresh:
        return []
    intents: list[Intent] = []
    for view in scene.views:
        if (intent := _intent(view, decisions.get(view.uid), records, scene)) is not None:
            intents.append(intent)
    return intents + _late(scene) + _orphans(scene, scene.tip)


def _intent(
    view: JobView, decision: Decision | None, records: Mapping[str, DecisionRecord], scene: Scene
) -> Intent | None:
    placed = view.placement
    if placed is not None and view.stage is Stage.LEAVING:
        return Remove(placed, "the job was deleted", finished=_has_ended(view) or is_confirmed(view))
    if placed is not None and view.stage is Stage.ENDED and is_stored(view) and view.report:
        return Remove(placed, f"attempt {placed.attempt} ended: {view.report.phase}", finished=True)
    if placed is not None and view.stage is Stage.LIVE and decision is not None:
        return _turn(view, placed, decision, records[view.uid].message, scene)
    if decision is not None and decision.outcome is Outcome.START and view.job is not None:
        if decision.review_required:
            return None
        replace, approved_in = asks_to_replace(view), _approved_in(scene, decision)
        return Place(decision, view.job.spec, records[view.uid], replace=replace, approved_in=approved_in)
    return None


def _approved_in(scene: Scene, decision: Decision) -> str:
    """The commit with which people agreed to the move that this placement ends; empty where there is none."""
    agreed, window = scene.agreed.get(decision.uid), decision.window
    return agreed.commit if agreed and window and agreed.place == (window.cluster, window.pool) else ""


def _late(scene: Scene) -> list[Intent]:
    """What was merged after its time; only once its attempt is written down, so that it is never counted twice.

    However many they are, each has its own reason, so the deletion guard does not count them.
    """
    late = [view for view in scene.views if scene.is_late(view) and view.status.phase not in IN_GIT]
    return [
        Remove(view.placement, scene.holds[view.uid].message, finished=True)
        for view in late
        if view.placement is not None and view.status.attempt == view.placement.attempt
    ]


def _turn(view: JobView, placed: Placement, decision: Decision, why: str, scene: Scene) -> Intent | None:
    """What a decision on a job under way changes in Git.

    A move begins with the removal, once the status says that it is one, so that nobody takes it for a person's
    revert; its spoke saves the attempt and stops it, and the next is placed when it has said so.
    """
    match decision.outcome:
        case Outcome.PAUSE if not placed.suspended:
            return Suspend(placed, suspended=True, why=why)
        case Outcome.KEEP if placed.suspended:
            return Suspend(placed, suspended=False, why=why)
        case Outcome.MOVE if view.status.phase is Phase.MOVING:
            agreed = scene.agreed.get(view.uid)
            return Remove(placed, why, finished=True, agreed=agreed.move.placement_id if agreed else "")
    return None


def _has_ended(view: JobView) -> bool:
    report = view.current_report
    return report is not None and report.phase.is_terminal


def is_confirmed(view: JobView) -> bool:
    """A person said that the job's deletion is meant, however many are deleted with it."""
    annotations = view.body["metadata"].get("annotations") or {}
    return bool(annotations.get(ANNOTATION.CONFIRM_DELETION))


def is_stored(view: JobView) -> bool:
    """How the attempt ended stands in the job's status, so Git may forget the placement."""
    report = view.current_report
    if report is None or view.job is None:
        return False
    status = view.job.status
    wanted = Phase.WAITING if may_try_again(report) else ended_phase(report)
    return status.phase is wanted and status.attempt == report.attempt


def _orphans(scene: Scene, tip: Tip) -> list[Intent]:
    """Placements of jobs that are no more, and of attempts that were overtaken."""
    orphans: list[Intent] = [Remove(placed, "its job is no more", orphaned=True) for placed in scene.orphans]
    for view in scene.views:
        attempts = tip.index.attempts.get(view.uid, ())
        others = [placed for placed in attempts[1:] if placed.placement_id != attempts[0].placement_id]
        orphans += [Remove(placed, "a later attempt stands elsewhere") for placed in others]
    return orphans


def may_leave(view: JobView, scene: Scene) -> bool:
    """A deleted job may go: nothing of it stands in Git, and its spoke has stopped it or never saw it."""
    return scene.tip_is_fresh and scene.has_stopped(view)
