"""What the hub wants of Git, from the observation and the plan, and its writing."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from carbonfleet.api import ANNOTATION
from carbonfleet.api.job_status import DecisionRecord, Phase, RungStatus
from carbonfleet.faults import said
from carbonfleet.fleet import FleetError, Intent, Place, Placement, Published, Remove, Repository, Suspend, Tip
from carbonfleet.hub.observe import (
    IN_GIT,
    Blocker,
    JobStage,
    JobState,
    Observation,
    asks_to_replace,
)
from carbonfleet.placement.decision import Decision, Outcome

_log = logging.getLogger(__name__)
_TRIED_AGAIN: Final = "it is tried again in each cycle. The hub's log has the fault: please report it"


def intents_of(
    observation: Observation, decisions: Mapping[str, Decision], records: Mapping[str, DecisionRecord]
) -> list[Intent]:
    """Every change that the fleet repository needs; decisions and records are by job UID."""
    tip = observation.tip
    if tip is None or not observation.tip_is_fresh:
        return []
    found = observation.each(
        "what it needs in Git can't be told",
        lambda state: (
            _intent(state, decisions.get(state.uid), records, observation),
            _late(state, observation),
            *_overtaken(state, tip),
        ),
    )
    intents: list[Intent] = [intent for _, wanted in found for intent in wanted if intent is not None]
    return intents + [Remove(placed, "its job is no more", orphaned=True) for placed in observation.orphans]


def _intent(
    state: JobState, decision: Decision | None, records: Mapping[str, DecisionRecord], observation: Observation
) -> Intent | None:
    placed = state.placement
    if placed is not None and state.stage is JobStage.LEAVING:
        return Remove(placed, "the job was deleted", finished=_has_ended(state) or is_confirmed(state))
    if placed is not None and state.stage is JobStage.ENDED and is_stored(state) and state.report:
        return Remove(placed, f"attempt {placed.attempt} ended: {state.report.phase}", finished=True)
    if placed is not None and state.stage is JobStage.LIVE and state.is_stopped_early:
        return Remove(placed, _why_stopped(state.status.rungs), finished=True)
    if placed is not None and state.stage is JobStage.LIVE and decision is not None:
        return _turn(state, placed, decision, records[state.uid], observation)
    if decision is not None and decision.outcome is Outcome.START and state.job is not None:
        if decision.review_required:
            return None
        return Place(
            decision,
            state.job.spec,
            records[state.uid],
            replace=asks_to_replace(state),
            approved_in=_approved_in(observation, decision),
            form=observation.form_for(decision),
        )
    return None


def _why_stopped(rungs: Sequence[RungStatus]) -> str:
    last = rungs[-1] if rungs else None
    where = f" at {last.percent} % of its steps, number {last.rank} of {last.reached}" if last else ""
    return f"stopped early{where}"


def _approved_in(observation: Observation, decision: Decision) -> str:
    """The commit with which people agreed to the move that this placement ends; empty where there is none."""
    agreed, window = observation.agreed.get(decision.uid), decision.window
    return agreed.commit if agreed and window and agreed.place == (window.cluster, window.pool) else ""


def _late(state: JobState, observation: Observation) -> Remove | None:
    """What was merged after its time; only once its attempt is written down, so that it is never counted twice.

    However many they are, each has its own reason, so the deletion guard does not count them.
    """
    placed = state.placement
    if placed is None or not observation.is_late(state) or state.status.phase in IN_GIT:
        return None
    is_noted = state.status.attempt == placed.attempt
    return Remove(placed, observation.holds[state.uid].message, finished=True) if is_noted else None


def _turn(
    state: JobState, placed: Placement, decision: Decision, record: DecisionRecord, observation: Observation
) -> Intent | None:
    """What a decision on a job under way changes in Git.

    A move begins with the removal, once the status says that it is one, so that nobody takes it for a person's
    revert; its spoke saves the attempt and stops it, and the next is placed when it has said so.
    """
    match decision.outcome:
        case Outcome.PAUSE if not placed.suspended:
            return Suspend(placed, suspended=True, why=record.message)
        case Outcome.KEEP if placed.suspended:
            return Suspend(placed, suspended=False, why=record.message)
        case Outcome.MOVE if state.status.phase is Phase.MOVING and state.job is not None:
            approved_in, form = _approved_in(observation, decision), observation.form_for(decision)
            to = Place(decision, state.job.spec, record, approved_in=approved_in, form=form)
            return Remove(placed, record.message, finished=True, to=to)
    return None


def _has_ended(state: JobState) -> bool:
    report = state.current_report
    return report is not None and report.phase.is_terminal


def is_confirmed(state: JobState) -> bool:
    """A person said that the job's deletion is meant, however many are deleted with it."""
    annotations = state.body["metadata"].get("annotations") or {}
    return bool(annotations.get(ANNOTATION.CONFIRM_DELETION))


def is_stored(state: JobState) -> bool:
    """How the attempt ended stands in the job's status, so Git may forget the placement."""
    report = state.current_report
    if report is None or state.job is None:
        return False
    status = state.job.status
    return status.phase is state.phase_after(report) and status.attempt == report.attempt


def _overtaken(state: JobState, tip: Tip) -> list[Remove]:
    """Placements of attempts that were overtaken."""
    attempts = tip.index.attempts.get(state.uid, ())
    others = [placed for placed in attempts[1:] if placed.placement_id != attempts[0].placement_id]
    return [Remove(placed, "a later attempt stands elsewhere") for placed in others]


def publish(
    repository: Repository, intents: Sequence[Intent], planned_on: Tip | None = None
) -> tuple[Published | None, Blocker | None]:
    """Write all intents to Git together; a failure blocks them until a later cycle tries again."""
    if not intents:
        return None, None
    try:
        return repository.publish(intents, planned_on=planned_on), None
    except FleetError as error:
        _log.warning("the fleet repository was not written: %s", error)
        return None, Blocker(error.reason, str(error))
    except Exception as error:  # noqa: BLE001 - what runs goes on, and statuses are written, whatever it is
        _log.exception("the fleet repository was not written")
        return None, Blocker("PublishFailed", f"the fleet repository was not written ({said(error)}): {_TRIED_AGAIN}")
