"""The conditions of a job: rungs in order, the first that is not met told by Ready."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from carbonfleet.api.condition import Condition, ConditionStatus
from carbonfleet.api.job_status import JobStatus, Phase
from carbonfleet.api.report import AttemptPhase
from carbonfleet.fleet.review import ProposalStage as ReviewStage
from carbonfleet.hub.status.status_inputs import (
    LONGEST_TROUBLE,
    MERGED_LATE,
    Known,
    asked_of,
    change_of,
    expected_end,
    failure_of,
    in_full,
    outcome_of,
    summary_of,
)
from carbonfleet.placement.phrase import LONGEST_SUMMARY, shortened, time
from carbonfleet.placement.rules import POLICY_REASONS

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN


@dataclass(frozen=True, slots=True)
class Rung:
    """One condition without its history."""

    type: str
    status: ConditionStatus
    reason: str
    message: str


def conditions_of(known: Known, phase: Phase, generation: int, now: datetime) -> tuple[Condition, ...]:
    """All that apply; times of transition are kept where a condition did not change."""
    rungs = [rung for make in _LADDER if (rung := make(known, phase)) is not None]
    rungs.append(_ready(known, rungs, phase))
    return tuple(_with_history(rung, known.view.status, generation, now) for rung in rungs)


def _accepted(known: Known, phase: Phase) -> Rung:
    view = known.view
    if view.job is None:
        return Rung("Accepted", FALSE, "InvalidSpec", view.problem)
    placed = view.placement
    if placed is not None and placed.generation != view.job.metadata.generation and not phase.is_terminal:
        return Rung(
            "Accepted",
            FALSE,
            "ChangedWhileRunning",
            f"the spec was changed after attempt {placed.attempt} was committed, which goes on as it was "
            f"(generation {placed.generation}); to run the new spec, delete the job and create it again",
        )
    return Rung("Accepted", TRUE, "Valid", "the spec is valid")


def _policy_allowed(known: Known, phase: Phase) -> Rung | None:
    record = known.record
    if record is None:
        return None
    if record.outcome == "Blocked" and record.reason in POLICY_REASONS:
        return Rung("PolicyAllowed", FALSE, record.reason, record.message)
    allowed = [c.cluster for c in record.candidates if c.reason not in POLICY_REASONS]
    return Rung("PolicyAllowed", TRUE, "Allowed", f"policy allows {', '.join(allowed) or 'no spoke'}"[:1024])


def _scheduled(known: Known, phase: Phase) -> Rung | None:
    record = known.record
    if record is None:
        return None
    if record.outcome == "Blocked" and record.reason in POLICY_REASONS:
        return Rung("Scheduled", FALSE, record.reason, "policy or the job's own residency leaves it no spoke")
    status = TRUE if record.outcome == "Start" else FALSE
    return Rung("Scheduled", status, record.reason, record.message)


def _approved(known: Known, phase: Phase) -> Rung | None:
    if known.trouble is not None and known.trouble.reason == MERGED_LATE:
        return Rung("Approved", FALSE, MERGED_LATE, known.trouble.message)
    if known.view.placement is not None:
        if known.view.placement.approved_in:
            agreed = f"a person agreed to its move in commit {known.view.placement.approved_in[:12]}"
            return Rung("Approved", TRUE, "Merged", agreed)
        if known.view.placement.expires_at is not None:
            return Rung("Approved", TRUE, "Merged", "a person merged the proposal")
        return Rung("Approved", TRUE, "AutoApproved", "policy and job ask for no review")
    if (proposal := known.proposal) is None:
        return None
    where = proposal.url or proposal.branch
    if proposal.stage is ReviewStage.OPEN:
        return Rung("Approved", FALSE, "AwaitingReview", f"a person must merge {where}")
    reason = proposal.reason or proposal.stage.value
    return Rung("Approved", FALSE, reason, proposal.message or f"see {where}")


def _committed(known: Known, phase: Phase) -> Rung | None:
    if known.trouble is not None:
        return Rung("Committed", FALSE, known.trouble.reason, known.trouble.message[:1024])
    placed = known.view.placement
    if placed is None:
        return None
    at = f"commit {known.commit[:12]}, " if known.commit else ""
    return Rung("Committed", TRUE, "Pushed", f"{at}{placed.path}")


def _synced(known: Known, phase: Phase) -> Rung | None:
    placed, report = known.view.placement, known.view.current_report
    if placed is None:
        return None
    if report is None:
        return Rung("Synced", UNKNOWN, "SpokeBehind", f"{placed.cluster} has not reported this attempt yet")
    return Rung("Synced", TRUE, "Observed", f"{placed.cluster} has seen commit {report.observed_commit[:12]}")


def _running(known: Known, phase: Phase) -> Rung | None:
    report, placed = known.view.current_report, known.view.placement
    if report is None:
        return None
    progress = report.progress
    done = f"step {progress.step} of {progress.total_steps}" if progress else "no step reported yet"
    if phase is Phase.MOVING:
        return Rung("Running", FALSE if report.phase.is_terminal else TRUE, "Moving", f"{change_of(known, phase)}")
    if phase is Phase.PAUSED and placed is not None and not placed.suspended:
        return Rung("Running", FALSE, "Resuming", f"{placed.cluster} was asked to go on from {done}")
    asked, words = asked_of(known)
    if phase is Phase.PAUSED:
        said = f"{words} {change_of(known, phase)}".strip()
        return Rung("Running", FALSE, asked or "Paused", f"{said} ({done})")
    if report.phase is AttemptPhase.RUNNING and placed is not None and placed.suspended:
        return Rung("Running", TRUE, "Pausing", f"{placed.cluster} was asked to save it and give up its GPUs; {done}")
    if report.phase is AttemptPhase.RUNNING:
        done += "" if report.reason or not report.message else f". {_capitalised(report.message)}"
        if known.is_overdue and (end := expected_end(known)) is not None:
            return Rung("Running", TRUE, "Overdue", f"{done}; it was expected to end by {time(end)}")
        stays = words or known.why_it_stays
        return Rung("Running", TRUE, asked or "Training", f"{done}. {stays}" if stays else done)
    reason = report.reason or report.phase.value
    return Rung("Running", FALSE, reason, report.message or f"attempt {report.attempt}: {report.phase.value.lower()}")


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _finished(known: Known, phase: Phase) -> Rung | None:
    report = known.view.current_report
    if not phase.is_terminal or report is None or not report.phase.is_terminal:
        return None
    if report.phase is AttemptPhase.SUCCEEDED:
        return Rung("Finished", TRUE, "Succeeded", outcome_of(known, report))
    return Rung("Finished", TRUE, report.reason or report.phase.value, failure_of(known, report))


_LADDER: Final = (
    _accepted,
    _policy_allowed,
    _scheduled,
    _approved,
    _committed,
    _synced,
    _running,
    _finished,
)


def _ready(known: Known, rungs: list[Rung], phase: Phase) -> Rung:
    if phase is Phase.CANCELLED and known.trouble is None:
        return Rung("Ready", FALSE, "Deleting", in_full(known, phase))
    if phase is Phase.SUCCEEDED:
        return Rung("Ready", TRUE, "Succeeded", summary_of(known, phase))
    if phase is Phase.MOVING:
        return Rung("Ready", FALSE, "Moving", summary_of(known, phase))
    unmet = next((rung for rung in rungs if rung.status is not TRUE), rungs[-1])
    reason = unmet.reason if unmet.type != "Finished" else "Failed"
    return Rung(
        "Ready",
        FALSE,
        reason,
        shortened(unmet.message, LONGEST_TROUBLE if unmet.type == "Committed" else LONGEST_SUMMARY),
    )


def _with_history(rung: Rung, old: JobStatus, generation: int, now: datetime) -> Condition:
    before = next((condition for condition in old.conditions if condition.type == rung.type), None)
    same = before is not None and before.status is rung.status
    return Condition(
        type=rung.type,
        status=rung.status,
        reason=rung.reason,
        message=rung.message[:1024],
        last_transition_time=before.last_transition_time if before and same else now,
        observed_generation=generation,
    )
