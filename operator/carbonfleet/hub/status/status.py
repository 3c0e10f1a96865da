"""A job's status from its inputs, so that nobody need read logs."""

from datetime import datetime
from typing import Any, Final

from carbonfleet.api.job_status import (
    DECISIVE,
    MOST_LOGS,
    AttemptLog,
    ClusterDecision,
    DecisionRecord,
    JobStatus,
    Phase,
    PlacementStatus,
)
from carbonfleet.api.report import AttemptPhase, ReportSpec, RunLog
from carbonfleet.api.wire import ANNOTATION
from carbonfleet.fleet.review import ProposalStage
from carbonfleet.hub.observe import (
    MERGED_LATE,
    NOT_ACCOUNTED,
    JobStage,
    JobState,
    pauses_used,
)
from carbonfleet.hub.status.blockers import HELD_REASONS, WAITING_FOR_STOP
from carbonfleet.hub.status.conditions import conditions_of
from carbonfleet.hub.status.status_inputs import StatusInputs
from carbonfleet.hub.status.summary import saved_text, summary_of


def status_of(inputs: StatusInputs, now: datetime) -> JobStatus:
    """The whole status; times of transition are kept where a condition did not change."""
    state, record = inputs.state, inputs.record
    old = state.status
    generation = int(state.body["metadata"].get("generation") or 0)
    phase = phase_of(inputs, old)
    report = state.current_report
    expected = record.expected if record else old.expected
    actual = inputs.actual or old.actual
    start = _start(inputs, phase, old)
    shown = actual if actual and phase.is_terminal else None if phase in _NOWHERE else expected
    status = JobStatus(
        phase=phase,
        observed_generation=_observed(inputs, phase, generation, old),
        summary=summary_of(inputs, phase),
        cluster=_cluster(inputs, old),
        start=start,
        when=f"{start:%m-%d %H:%M}" if start else "",
        first_start=old.first_start or (state.report.start_time if state.report else None),
        # What is to start is tried at each cycle: no time to show, and none to write again when Git is away.
        recheck_at=_recheck_at(inputs, phase, old),
        grams_per_kwh=shown.grams_per_kwh if shown else None,
        saved=saved_text(shown, measured=shown is actual),
        attempt=max(state.last_attempt, old.attempt),
        pauses=max(pauses_used(state), old.pauses),
        conditions=conditions_of(inputs, phase, generation, now),
        candidates=record.candidates if record else old.candidates,
        candidates_total=record.candidates_total if record else old.candidates_total,
        decisions=_decisions(inputs, record),
        placement=_placement(inputs) or old.placement,
        expected=expected,
        actual=actual,
        progress=(report.progress if report and report.progress else old.progress),
        rungs=inputs.rungs or old.rungs,
        last_good_checkpoint=(report.checkpoint if report and report.checkpoint else old.last_good_checkpoint),
        logs=_logs(state.report, old),
        decision_digest=record.digest if record else old.decision_digest,
        replaced=_replaced(state, old),
    )
    if state.stage is JobStage.UNREADABLE:
        return status.model_copy(update={name: getattr(old, name) for name in DECISIVE})
    return status


def _recheck_at(inputs: StatusInputs, phase: Phase, old: JobStatus) -> datetime | None:
    """When it is decided on again; of what runs, the hub's own checks are not worth a write."""
    if phase is Phase.PAUSED:
        return inputs.replanned.recheck_at if inputs.replanned else old.recheck_at
    record = inputs.record
    return record.recheck_at if record and phase in _OPEN and record.outcome != "Start" else None


def _start(inputs: StatusInputs, phase: Phase, old: JobStatus) -> datetime | None:
    report, record = inputs.state.current_report, inputs.record
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


def _replaced(state: JobState, old: JobStatus) -> str:
    """A wish to place again is fulfilled once a placement stands in Git."""
    if state.job is None or state.placement is None:
        return old.replaced
    return state.job.metadata.annotations.get(ANNOTATION.REPLACE, "")[:256]


def phase_of(inputs: StatusInputs, old: JobStatus) -> Phase:
    """The job in one word."""
    state = inputs.state
    report = state.current_report
    match state.stage:
        case JobStage.LIVE if inputs.blocker is not None and inputs.blocker.reason == MERGED_LATE:
            return Phase.WAITING
        case JobStage.LIVE if inputs.stops_early:
            return Phase.STOPPED_EARLY
        case JobStage.LIVE if inputs.replanned is not None and inputs.replanned.outcome == "Move":
            return Phase.MOVING
        case JobStage.LIVE if report is not None and report.phase in _BY_REPORT:
            return _BY_REPORT[report.phase]
        case JobStage.LIVE:
            return old.phase if old.phase is Phase.RUNNING and report is not None else Phase.COMMITTED
        case JobStage.ENDED if inputs.blocker is not None and inputs.blocker.reason == NOT_ACCOUNTED:
            return old.phase
        case JobStage.ENDED if report is not None and report.phase.is_terminal:
            return state.phase_after(report)
        case JobStage.LEAVING:
            return Phase.CANCELLED
        case JobStage.QUEUED if inputs.blocker is not None and inputs.blocker.reason in HELD_REASONS:
            return Phase.REJECTED
        case JobStage.QUEUED if inputs.blocker is not None and inputs.blocker.reason == WAITING_FOR_STOP:
            return Phase.MOVING if old.phase is Phase.MOVING else Phase.WAITING
        case JobStage.QUEUED if inputs.proposal is not None:
            return _BY_REVIEW.get(inputs.proposal.stage, Phase.PENDING)
        case JobStage.QUEUED if inputs.record is not None:
            return _BY_OUTCOME.get(inputs.record.outcome, Phase.PENDING)
        case JobStage.INVALID:
            return Phase.BLOCKED
    return old.phase


_BY_REVIEW: Final = {
    ProposalStage.OPEN: Phase.PROPOSED,
    ProposalStage.REJECTED: Phase.REJECTED,
    ProposalStage.HUMAN_EDITED: Phase.REJECTED,
}


def _observed(inputs: StatusInputs, phase: Phase, generation: int, old: JobStatus) -> int:
    """A placement is for the generation that it was made of; a later edit was not acted upon.

    To stop the job is for good, until another edit.
    """
    placed = inputs.state.placement
    if placed is not None and phase is not Phase.STOPPED_EARLY:
        return placed.generation
    return generation or old.observed_generation


def _cluster(inputs: StatusInputs, old: JobStatus) -> str:
    placed, record = inputs.state.placement, inputs.record
    if placed is not None:
        return placed.cluster
    if inputs.state.stage in (JobStage.ENDED, JobStage.DONE):
        return old.cluster
    return record.cluster if record else ""


def _decisions(inputs: StatusInputs, record: DecisionRecord | None) -> tuple[ClusterDecision, ...]:
    placed = inputs.state.placement
    if placed is None:
        return ()
    return (ClusterDecision(cluster_name=placed.cluster, reason=record.reason if record else "Placed"),)


def _placement(inputs: StatusInputs) -> PlacementStatus | None:
    placed = inputs.state.placement
    if placed is None:
        return None
    return PlacementStatus(
        cluster=placed.cluster,
        pool=placed.pool,
        attempt=placed.attempt,
        placement_id=placed.placement_id,
        start=placed.start,
        path=placed.path,
        commit=inputs.commit,
    )


def _logs(report: ReportSpec | None, old: JobStatus) -> tuple[AttemptLog, ...]:
    """Those that are known, with what an attempt's report says of its own."""
    if report is None:
        return old.logs
    log = report.log or RunLog()
    ours = AttemptLog(attempt=report.attempt, cluster=report.spoke, phase=report.phase, uri=log.uri, tail=log.tail)
    return (*(one for one in old.logs if one.attempt != ours.attempt), ours)[-MOST_LOGS:]


VOLATILE: Final = frozenset(
    {"summary", "start", "when", "recheck_at", "grams_per_kwh", "saved", "expected", "decision_digest"}
)
"""Fields that move with the clock or with every forecast: written with another change, or when `recheckAt` is due (a
job that is committed has none). All others are compared, those of tomorrow too."""
_VOLATILE: Final = dict.fromkeys(VOLATILE, True) | {
    "conditions": {"__all__": {"message", "last_transition_time"}},
    "candidates": {
        "__all__": {
            "pool",
            "message",
            "start",
            "score_usd",
            "cost_usd",
            "grams_co2e",
            "energy_kwh",
            "grams_per_kwh_now",
            "grams_per_kwh_window",
            "source",
            "price_source",
            "data_age",
        }
    },
}


def needs_update(old: JobStatus, new: JobStatus, now: datetime) -> bool:
    """Whether the new status says something that a person or a machine would act upon.

    What is volatile is written when the job's next check is due, so that an idle fleet writes nothing.
    """
    if old == new:
        return False
    if is_due(old, now) or _steady(old) != _steady(new):
        return True
    return (_waits_for_stop(old) or _waits_for_stop(new)) and old.summary != new.summary


def is_due(status: JobStatus, now: datetime) -> bool:
    """The job was to be checked again by now."""
    return status.recheck_at is not None and now >= status.recheck_at


def _steady(status: JobStatus) -> dict[str, Any]:
    return status.model_dump(exclude=_VOLATILE)


def _waits_for_stop(status: JobStatus) -> bool:
    """A stop is waited for; when the spoke falls silent meanwhile, a person must hear what to do."""
    return status.phase is Phase.CANCELLED or any(c.reason == WAITING_FOR_STOP for c in status.conditions)
