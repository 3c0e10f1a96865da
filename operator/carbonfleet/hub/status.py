"""A job's status from what is known of it: conditions in order, so that nobody need read logs."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from carbonfleet.api.condition import Condition, ConditionStatus
from carbonfleet.api.job_status import (
    ClusterDecision,
    DecisionRecord,
    JobStatus,
    Phase,
    PlacementStatus,
)
from carbonfleet.api.report import AttemptPhase
from carbonfleet.api.wire import ANNOTATION
from carbonfleet.fleet.review import Stage as ReviewStage
from carbonfleet.hub.known import (
    HELD_REASONS,
    LONGEST_TROUBLE,
    MERGED_LATE,
    NOT_ACCOUNTED,
    WAITING_FOR_STOP,
    Known,
    asked_of,
    change_of,
    expected_end,
    failure_of,
    in_full,
    outcome_of,
    saved_text,
    summary_of,
)
from carbonfleet.hub.turns import pauses_used
from carbonfleet.hub.view import JobView, Stage, ended_phase, may_try_again
from carbonfleet.placement.phrase import LONGEST_SUMMARY, shortened, time
from carbonfleet.placement.policy import POLICY_REASONS

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN


@dataclass(frozen=True, slots=True)
class Rung:
    """One condition without its history."""

    type: str
    status: ConditionStatus
    reason: str
    message: str


def status_of(known: Known, now: datetime) -> JobStatus:
    """The whole status; times of transition are kept where a condition did not change."""
    view, record = known.view, known.record
    old = view.status
    generation = int(view.body["metadata"].get("generation") or 0)
    phase = phase_of(known, old)
    rungs = [rung for make in _LADDER if (rung := make(known, phase)) is not None]
    rungs.append(_ready(known, rungs, phase))
    report = view.current_report
    expected = record.expected if record else old.expected
    actual = known.actual or old.actual
    start = _start(known, phase, old)
    shown = actual if actual and phase.is_terminal else None if phase in _NOWHERE else expected
    return JobStatus(
        phase=phase,
        observed_generation=_observed(known, generation, old),
        summary=summary_of(known, phase),
        cluster=_cluster(known, old),
        start=start,
        when=f"{start:%m-%d %H:%M}" if start else "",
        first_start=old.first_start or (view.report.start_time if view.report else None),
        # What is to start is tried at each cycle: no time to show, and none to write again when Git is away.
        recheck_at=_recheck_at(known, phase, old),
        grams_per_kwh=shown.grams_per_kwh if shown else None,
        saved=saved_text(shown, measured=shown is actual),
        attempt=max(view.last_attempt, old.attempt),
        pauses=max(pauses_used(view), old.pauses),
        conditions=tuple(_with_history(rung, old, generation, now) for rung in rungs),
        candidates=record.candidates if record else old.candidates,
        candidates_total=record.candidates_total if record else old.candidates_total,
        decisions=_decisions(known, record),
        placement=_placement(known) or old.placement,
        expected=expected,
        actual=actual,
        progress=(report.progress if report and report.progress else old.progress),
        last_good_checkpoint=(report.checkpoint if report and report.checkpoint else old.last_good_checkpoint),
        decision_digest=record.digest if record else old.decision_digest,
        replaced=_replaced(view, old),
    )


def _recheck_at(known: Known, phase: Phase, old: JobStatus) -> datetime | None:
    """When it is decided on again; of what runs, the hub's own looks are not worth a write."""
    if phase is Phase.PAUSED:
        return known.turn.recheck_at if known.turn else old.recheck_at
    record = known.record
    return record.recheck_at if record and phase in _OPEN and record.outcome != "Start" else None


def _start(known: Known, phase: Phase, old: JobStatus) -> datetime | None:
    report, record = known.view.current_report, known.record
    if report is not None and report.start_time is not None:
        return report.start_time
    if phase in _NOWHERE:
        return None
    return record.start if record else old.start


_NOWHERE: Final = frozenset({Phase.BLOCKED, Phase.REJECTED, Phase.CANCELLED})
"""Nothing is planned in these phases, so there is nothing to expect."""
_OPEN: Final = frozenset({Phase.PENDING, Phase.WAITING, Phase.BLOCKED, Phase.PROPOSED})
_BY_REPORT: Final = {
    AttemptPhase.PENDING: Phase.COMMITTED,
    AttemptPhase.RUNNING: Phase.RUNNING,
    AttemptPhase.SUSPENDED: Phase.PAUSED,
}
_BY_OUTCOME: Final = {"Wait": Phase.WAITING, "Blocked": Phase.BLOCKED, "Start": Phase.PENDING}


def _replaced(view: JobView, old: JobStatus) -> str:
    """A wish to place again is fulfilled once a placement stands in Git."""
    if view.job is None or view.placement is None:
        return old.replaced
    return view.job.metadata.annotations.get(ANNOTATION.REPLACE, "")[:256]


def phase_of(known: Known, old: JobStatus) -> Phase:
    """The job in one word."""
    view = known.view
    report = view.current_report
    match view.stage:
        case Stage.LIVE if known.trouble is not None and known.trouble.reason == MERGED_LATE:
            return Phase.WAITING
        case Stage.LIVE if known.turn is not None and known.turn.outcome == "Move":
            return Phase.MOVING
        case Stage.LIVE if report is not None and report.phase in _BY_REPORT:
            return _BY_REPORT[report.phase]
        case Stage.LIVE:
            return old.phase if old.phase is Phase.RUNNING and report is not None else Phase.COMMITTED
        case Stage.ENDED if known.trouble is not None and known.trouble.reason == NOT_ACCOUNTED:
            return old.phase
        case Stage.ENDED if report is not None:
            return Phase.WAITING if may_try_again(report) else ended_phase(report)
        case Stage.LEAVING:
            return Phase.CANCELLED
        case Stage.QUEUED if known.trouble is not None and known.trouble.reason in HELD_REASONS:
            return Phase.REJECTED
        case Stage.QUEUED if known.trouble is not None and known.trouble.reason == WAITING_FOR_STOP:
            return Phase.MOVING if old.phase is Phase.MOVING else Phase.WAITING
        case Stage.QUEUED if known.proposal is not None:
            return _BY_REVIEW.get(known.proposal.stage, Phase.PENDING)
        case Stage.QUEUED if known.record is not None:
            return _BY_OUTCOME.get(known.record.outcome, Phase.PENDING)
        case Stage.INVALID:
            return Phase.BLOCKED
    return old.phase


_BY_REVIEW: Final = {
    ReviewStage.OPEN: Phase.PROPOSED,
    ReviewStage.REJECTED: Phase.REJECTED,
    ReviewStage.HUMAN_EDITED: Phase.REJECTED,
}


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


def _observed(known: Known, generation: int, old: JobStatus) -> int:
    """A placement is for the generation that it was made of; a later edit was not acted upon."""
    placed = known.view.placement
    return placed.generation if placed is not None else generation or old.observed_generation


def _cluster(known: Known, old: JobStatus) -> str:
    placed, record = known.view.placement, known.record
    if placed is not None:
        return placed.cluster
    if known.view.stage is Stage.DONE:
        return old.cluster
    return record.cluster if record else ""


def _decisions(known: Known, record: DecisionRecord | None) -> tuple[ClusterDecision, ...]:
    placed = known.view.placement
    if placed is None:
        return ()
    return (ClusterDecision(cluster_name=placed.cluster, reason=record.reason if record else "Placed"),)


def _placement(known: Known) -> PlacementStatus | None:
    placed = known.view.placement
    if placed is None:
        return None
    return PlacementStatus(
        cluster=placed.cluster,
        pool=placed.pool,
        attempt=placed.attempt,
        placement_id=placed.placement_id,
        start=placed.start,
        path=placed.path,
        commit=known.commit,
    )


def needs_update(old: JobStatus, new: JobStatus, now: datetime) -> bool:
    """Whether the new status says something that a person or a machine would act upon.

    The figures of a waiting job move with every forecast; they are written when its next check is due,
    so that an idle fleet writes nothing.
    """
    if _material(old) != _material(new):
        return True
    return is_due(old, now) and old != new


def is_due(status: JobStatus, now: datetime) -> bool:
    """The job was to be looked at again by now."""
    return status.recheck_at is not None and now >= status.recheck_at


def _material(status: JobStatus) -> tuple[object, ...]:
    conditions = tuple((c.type, c.status, c.reason, c.observed_generation) for c in status.conditions)
    return (
        status.phase,
        status.observed_generation,
        conditions,
        status.cluster,
        status.placement,
        status.progress,
        status.last_good_checkpoint,
        status.actual,
        status.attempt,
        status.pauses,
        status.replaced,
        tuple((c.cluster, c.verdict, c.reason) for c in status.candidates),
        status.summary if _waits_for_stop(status) else "",
    )


def _waits_for_stop(status: JobStatus) -> bool:
    """A stop is waited for; when the spoke falls silent meanwhile, a person must hear what to do."""
    return status.phase is Phase.CANCELLED or any(c.reason == WAITING_FOR_STOP for c in status.conditions)
