"""Why a job's placement is not in Git as it should be: for its condition `Committed` and its summary."""

import logging
from collections.abc import Iterable

from carbonfleet.api import ANNOTATION
from carbonfleet.fleet import Intent, Lapse, Place, Published, Refused, Remove
from carbonfleet.hub.observe.job_state import JobView, Stage
from carbonfleet.hub.observe.observation import Scene
from carbonfleet.hub.status.status_inputs import WAITING_FOR_STOP, Trouble, still_runs

_log = logging.getLogger(__name__)


def troubles_of(
    scene: Scene, intents: Iterable[Intent], published: Published | None, trouble: Trouble | None
) -> dict[str, Trouble]:
    """By job UID; `trouble` is why nothing at all could be published."""
    found = {view.uid: stuck for view in scene.views if (stuck := _before_publishing(view, scene))}
    told = {view.uid for view in scene.views if view.stage is Stage.ENDED or scene.is_late(view)}
    for intent in intents:
        if isinstance(intent, Lapse):
            continue  # that an old word still stands there keeps the job from nothing
        uid = intent.decision.uid if isinstance(intent, Place) else intent.placement.uid
        stuck = trouble or _refusal(intent, published)
        if stuck is not None and uid not in told:  # how it ended, or was late, is what people want to know
            found[uid] = stuck
    return found


def _before_publishing(view: JobView, scene: Scene) -> Trouble | None:
    if view.uid in scene.holds:
        return scene.holds[view.uid]
    if scene.was_reverted(view) and view.status.placement is not None:
        return Trouble(
            "RevertedByHuman",
            f"{view.status.placement.path} was taken out of Git by somebody else; it is not written again until the "
            f"job's spec changes or its annotation {ANNOTATION.REPLACE} is set to a new value",
        )
    if view.stage is Stage.QUEUED and not scene.has_stopped(view):
        return Trouble(WAITING_FOR_STOP, still_runs(view, is_spoke_lost=scene.is_spoke_lost(view)))
    waits_for_git = view.stage is Stage.QUEUED or (view.stage is Stage.LEAVING and view.placement is not None)
    return scene.trouble if waits_for_git else None


def _refusal(intent: Intent, published: Published | None) -> Trouble | None:
    result = published.results.get(intent.id) if published else None
    if not isinstance(result, Refused):
        return None
    if isinstance(intent, Remove):
        _log.warning("%s stays in Git: %s", intent.placement.path, result.message)
    return Trouble(result.reason, result.message + _way_out(result))


def _way_out(refused: Refused) -> str:
    if refused.reason != "DeletionGuardTripped":
        return ""
    return f"; to confirm each: kubectl annotate ctj NAME {ANNOTATION.CONFIRM_DELETION}=yes"
