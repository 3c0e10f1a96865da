"""A job's status from what is known of it, so that nobody need read logs."""

from datetime import datetime
from typing import Final

from carbonfleet.api.job_status import (
    ClusterDecision,
    DecisionRecord,
    JobStatus,
    Phase,
    PlacementStatus,
)
from carbonfleet.api.report import AttemptPhase
from carbonfleet.api.wire import ANNOTATION
from carbonfleet.fleet.review import ProposalStage as ReviewStage
from carbonfleet.hub.observe.job_state import JobView, Stage, ended_phase, may_try_again
from carbonfleet.hub.running.turns import pauses_used
from carbonfleet.hub.status.conditions import conditions_of
from carbonfleet.hub.status.status_inputs import (
    HELD_REASONS,
    MERGED_LATE,
    NOT_ACCOUNTED,
    WAITING_FOR_STOP,
    Known,
    saved_text,
    summary_of,
)


def status_of(known: Known, now: datetime) -> JobStatus:
    """The whole status; times of transition are kept where a condition did not change."""
    view, record = known.view, known.record
    old = view.status
    generation = int(view.body["metadata"].get("generation") or 0)
    phase = phase_of(known, old)
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
        conditions=conditions_of(known, phase, generation, now),
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
