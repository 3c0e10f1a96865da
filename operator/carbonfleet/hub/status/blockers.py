"""Why a job's placement is not in Git as it should be: for its condition `Committed` and its summary."""

import logging
from collections.abc import Iterable
from typing import Final

from carbonfleet.api import ANNOTATION
from carbonfleet.api.job_status import DECISIVE
from carbonfleet.fleet import Intent, Lapse, Place, Published, Refused, Remove
from carbonfleet.hub.observe import Blocker, JobStage, JobState, Observation, ended_before
from carbonfleet.hub.status.summary import still_runs

ENDED_BEFORE: Final = "EndedBefore"
"""The job comes from a backup of one that has ended."""
HELD_REASONS: Final = frozenset({"RevertedByHuman", "EditedByHuman", ENDED_BEFORE})
"""It is not placed (again) unless the spec changes or a person asks for it."""
STATUS_UNREADABLE: Final = "StatusUnreadable"
"""Whether the job has run can't be told."""
WAITING_FOR_STOP: Final = "WaitingForStop"
"""The last attempt may still run."""
HUB_FAULT: Final = "HubFault"
"""The hub failed over this job, in a way that nobody foresaw."""
_LEFT_ALONE: Final = (
    "It is left as it is until a later cycle succeeds, and no other job is held up. The hub's log has the fault: "
    "please report it"
)
_log = logging.getLogger(__name__)


def blockers_of(
    observation: Observation, intents: Iterable[Intent], published: Published | None, blocker: Blocker | None
) -> dict[str, Blocker]:
    """By job UID; `blocker` is why nothing at all could be published."""
    fails = "what it waits for can't be told"
    before = observation.each(fails, lambda state: _before_publishing(state, observation))
    found = {state.uid: stuck for state, stuck in before if stuck is not None}
    # How it ended, or was late, is what people want to know.
    told = {state.uid for state in observation.which(fails, lambda state: _is_told(state, observation))}
    for intent in intents:
        if isinstance(intent, Lapse):
            continue  # an approval that still stands there keeps the job from nothing
        uid = intent.decision.uid if isinstance(intent, Place) else intent.placement.uid
        with observation.only(uid, fails):
            if uid not in told and (stuck := blocker or _refusal(intent, published)) is not None:
                found[uid] = stuck
    return found | {uid: Blocker(HUB_FAULT, f"{fault}. {_LEFT_ALONE}") for uid, fault in observation.faults.items()}


def _is_told(state: JobState, observation: Observation) -> bool:
    return state.stage is JobStage.ENDED or observation.is_late(state)


def _before_publishing(state: JobState, observation: Observation) -> Blocker | None:
    if state.uid in observation.holds:
        return observation.holds[state.uid]
    if observation.was_reverted(state) and state.status.placement is not None:
        return Blocker(
            "RevertedByHuman",
            f"{state.status.placement.path} was taken out of Git by somebody else; it is not written again until the "
            f"job's spec changes or its annotation {ANNOTATION.REPLACE} is set to a new value",
        )
    if state.stage is JobStage.UNREADABLE:
        wrong = "; ".join(state.status_problems[name] for name in DECISIVE if name in state.status_problems)
        return Blocker(
            STATUS_UNREADABLE,
            f"its status can't be read ({wrong[:400]}), so that nobody can tell whether it has run; it is not placed: "
            "run the release of the hub that wrote it, or create the job again under another name",
        )
    if state.stage is JobStage.QUEUED and (ended := ended_before(state)):
        phase, attempt = ended.split()
        return Blocker(
            ENDED_BEFORE,
            f"it had ended as {phase} in attempt {attempt}, and its status does not say so, as in what comes from a "
            f"backup or from kubectl, so it does not run again; to run it, set its annotation {ANNOTATION.REPLACE} to "
            "a new value or change its spec",
        )
    if state.stage is JobStage.QUEUED and not observation.has_stopped(state):
        return Blocker(WAITING_FOR_STOP, still_runs(state, observation.last_spoke(state)))
    waits_for_git = state.stage is JobStage.QUEUED or (state.stage is JobStage.LEAVING and state.placement is not None)
    return observation.blocker if waits_for_git else None


def _refusal(intent: Intent, published: Published | None) -> Blocker | None:
    result = published.results.get(intent.id) if published else None
    if not isinstance(result, Refused):
        return None
    if isinstance(intent, Remove):
        _log.warning("%s stays in Git: %s", intent.placement.path, result.message)
    return Blocker(result.reason, result.message + _way_out(result))


def _way_out(refused: Refused) -> str:
    if refused.reason != "DeletionGuardTripped":
        return ""
    return f"; to confirm each: kubectl annotate ctj -n NAMESPACE NAME {ANNOTATION.CONFIRM_DELETION}=yes"
