"""The conditions of a job in order; Ready tells the first that is not met."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from carbonfleet.api.condition import Condition, ConditionStatus
from carbonfleet.api.job_status import JobStatus, Phase
from carbonfleet.api.report import AttemptPhase
from carbonfleet.fleet.review import ProposalStage
from carbonfleet.hub.observe import MERGED_LATE
from carbonfleet.hub.status.status_inputs import StatusInputs, expected_end
from carbonfleet.hub.status.summary import (
    LONGEST_BLOCKER,
    asked_of,
    change_of,
    failure_of,
    in_full,
    outcome_of,
    stop_of,
    summary_of,
)
from carbonfleet.placement.phrase import LONGEST_SUMMARY, shortened, time
from carbonfleet.placement.rules import POLICY_REASONS

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN


@dataclass(frozen=True, slots=True)
class ConditionState:
    """One condition without its history."""

    type: str
    status: ConditionStatus
    reason: str
    message: str


def conditions_of(inputs: StatusInputs, phase: Phase, generation: int, now: datetime) -> tuple[Condition, ...]:
    """All that apply; times of transition are kept where a condition did not change."""
    conditions = [condition for make in CONDITIONS if (condition := make(inputs, phase)) is not None]
    conditions.append(_ready(inputs, conditions, phase))
    return tuple(_with_history(condition, inputs.state.status, generation, now) for condition in conditions)


def _accepted(inputs: StatusInputs, phase: Phase) -> ConditionState:
    state = inputs.state
    if state.job is None:
        return ConditionState("Accepted", FALSE, "InvalidSpec", state.problem)
    placed = state.placement
    if placed is not None and placed.generation != state.job.metadata.generation and not phase.is_terminal:
        return ConditionState(
            "Accepted",
            FALSE,
            "ChangedWhileRunning",
            f"the spec was changed after attempt {placed.attempt} was committed, which goes on as it was "
            f"(generation {placed.generation}); to run the new spec, delete the job and create it again",
        )
    return ConditionState("Accepted", TRUE, "Valid", "the spec is valid")


def _policy_allowed(inputs: StatusInputs, phase: Phase) -> ConditionState | None:
    record = inputs.record
    if record is None:
        return None
    if record.outcome == "Blocked" and record.reason in POLICY_REASONS:
        return ConditionState("PolicyAllowed", FALSE, record.reason, record.message)
    allowed = [c.cluster for c in record.candidates if c.reason not in POLICY_REASONS]
    return ConditionState("PolicyAllowed", TRUE, "Allowed", f"policy allows {', '.join(allowed) or 'no spoke'}"[:1024])


def _scheduled(inputs: StatusInputs, phase: Phase) -> ConditionState | None:
    record = inputs.record
    if record is None:
        return None
    if record.outcome == "Blocked" and record.reason in POLICY_REASONS:
        return ConditionState("Scheduled", FALSE, record.reason, "policy or the job's own residency leaves it no spoke")
    status = TRUE if record.outcome == "Start" else FALSE
    return ConditionState("Scheduled", status, record.reason, record.message)


def _approved(inputs: StatusInputs, phase: Phase) -> ConditionState | None:
    if inputs.blocker is not None and inputs.blocker.reason == MERGED_LATE:
        return ConditionState("Approved", FALSE, MERGED_LATE, inputs.blocker.message)
    if inputs.state.placement is not None:
        if inputs.state.placement.approved_in:
            agreed = f"a person agreed to its move in commit {inputs.state.placement.approved_in[:12]}"
            return ConditionState("Approved", TRUE, "Merged", agreed)
        if inputs.state.placement.expires_at is not None:
            return ConditionState("Approved", TRUE, "Merged", "a person merged the proposal")
        return ConditionState("Approved", TRUE, "AutoApproved", "policy and job ask for no review")
    if (proposal := inputs.proposal) is None:
        return None
    where = proposal.url or proposal.branch
    if proposal.stage is ProposalStage.OPEN:
        how = f"merge {proposal.url}" if proposal.url else f"run `carbonfleet review approve {proposal.branch}`"
        return ConditionState("Approved", FALSE, "AwaitingReview", f"a person must agree: {how}")
    reason = proposal.reason or proposal.stage.value
    return ConditionState("Approved", FALSE, reason, proposal.message or f"see {where}")


def _committed(inputs: StatusInputs, phase: Phase) -> ConditionState | None:
    if inputs.blocker is not None:
        return ConditionState("Committed", FALSE, inputs.blocker.reason, inputs.blocker.message[:1024])
    placed = inputs.state.placement
    if placed is None:
        return None
    at = f"commit {inputs.commit[:12]}, " if inputs.commit else ""
    return ConditionState("Committed", TRUE, "Pushed", f"{at}{placed.path}")


def _synced(inputs: StatusInputs, phase: Phase) -> ConditionState | None:
    placed, report = inputs.state.placement, inputs.state.current_report
    if placed is None:
        return None
    if report is None:
        return ConditionState("Synced", UNKNOWN, "SpokeBehind", f"{placed.cluster} has not reported this attempt yet")
    return ConditionState("Synced", TRUE, "Observed", f"{placed.cluster} has seen commit {report.observed_commit[:12]}")


def _running(inputs: StatusInputs, phase: Phase) -> ConditionState | None:
    report, placed = inputs.state.current_report, inputs.state.placement
    if report is None:
        return None
    progress = report.progress
    done = f"step {progress.step} of {progress.total_steps}" if progress else "no step reported yet"
    if phase is Phase.STOPPED_EARLY and not report.phase.is_terminal:
        said = f"{report.spoke} is asked to save it and give up its GPUs; {done}"
        return ConditionState("Running", TRUE, "StoppingEarly", said)
    if phase is Phase.MOVING:
        return ConditionState(
            "Running", FALSE if report.phase.is_terminal else TRUE, "Moving", f"{change_of(inputs, phase)}"
        )
    if phase is Phase.PAUSED and placed is not None and not placed.suspended:
        return ConditionState("Running", FALSE, "Resuming", f"{placed.cluster} was asked to go on from {done}")
    asked, words = asked_of(inputs)
    if phase is Phase.PAUSED:
        said = f"{words} {change_of(inputs, phase)}".strip()
        return ConditionState("Running", FALSE, asked or "Paused", f"{said} ({done})")
    if report.phase is AttemptPhase.RUNNING and placed is not None and placed.suspended:
        return ConditionState(
            "Running", TRUE, "Pausing", f"{placed.cluster} was asked to save it and give up its GPUs; {done}"
        )
    if report.phase is AttemptPhase.RUNNING:
        done += "" if report.reason or not report.message else f". {_capitalised(report.message)}"
        if inputs.is_overdue and (end := expected_end(inputs)) is not None:
            return ConditionState("Running", TRUE, "Overdue", f"{done}; it was expected to end by {time(end)}")
        stays = words or inputs.why_it_stays
        return ConditionState("Running", TRUE, asked or "Training", f"{done}. {stays}" if stays else done)
    reason = report.reason or report.phase.value
    return ConditionState(
        "Running", FALSE, reason, report.message or f"attempt {report.attempt}: {report.phase.value.lower()}"
    )


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _finished(inputs: StatusInputs, phase: Phase) -> ConditionState | None:
    report = inputs.state.current_report
    if not phase.is_terminal or report is None or not report.phase.is_terminal:
        return None
    if report.phase is AttemptPhase.SUCCEEDED:
        return ConditionState("Finished", TRUE, "Succeeded", outcome_of(inputs, report))
    if phase is Phase.STOPPED_EARLY:
        return ConditionState("Finished", TRUE, "StoppedEarly", stop_of(inputs))
    return ConditionState("Finished", TRUE, report.reason or report.phase.value, failure_of(inputs, report))


CONDITIONS: Final = (
    _accepted,
    _policy_allowed,
    _scheduled,
    _approved,
    _committed,
    _synced,
    _running,
    _finished,
)


def _ready(inputs: StatusInputs, conditions: list[ConditionState], phase: Phase) -> ConditionState:
    if phase is Phase.CANCELLED and inputs.blocker is None:
        return ConditionState("Ready", FALSE, "Deleting", in_full(inputs, phase))
    if phase is Phase.SUCCEEDED:
        return ConditionState("Ready", TRUE, "Succeeded", summary_of(inputs, phase))
    if phase is Phase.MOVING:
        return ConditionState("Ready", FALSE, "Moving", summary_of(inputs, phase))
    if phase is Phase.STOPPED_EARLY:
        return ConditionState("Ready", FALSE, "StoppedEarly", summary_of(inputs, phase))
    unmet = next((condition for condition in conditions if condition.status is not TRUE), conditions[-1])
    reason = unmet.reason if unmet.type != "Finished" else "Failed"
    return ConditionState(
        "Ready",
        FALSE,
        reason,
        shortened(unmet.message, LONGEST_BLOCKER if unmet.type == "Committed" else LONGEST_SUMMARY),
    )


def _with_history(condition: ConditionState, old: JobStatus, generation: int, now: datetime) -> Condition:
    before = next((each for each in old.conditions if each.type == condition.type), None)
    same = before is not None and before.status is condition.status
    return Condition(
        type=condition.type,
        status=condition.status,
        reason=condition.reason,
        message=condition.message[:1024],
        last_transition_time=before.last_transition_time if before and same else now,
        observed_generation=generation,
    )
