"""What to do with each job, from the window that was found for it."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from carbonfleet.api.policy import ReviewMode
from carbonfleet.placement.decision import Decision, Outcome, Window
from carbonfleet.placement.inputs import EPOCH
from carbonfleet.placement.plan_inputs import PlanInputs
from carbonfleet.placement.rules import (
    NO_REVIEW,
    Refusal,
    ReviewRuling,
    Ruling,
    is_reviewed,
    job_verdict,
    residency_verdict,
)
from carbonfleet.placement.search import (
    LIMITS,
    Choice,
    context_of,
    options_left,
    refusal_on,
    review_of,
    segments_of,
    window_at,
    windows_at,
)
from carbonfleet.placement.snapshot import QueuedJob, Snapshot

NO_TIME: Final = timedelta()


def refusals(snapshot: Snapshot, jobs: Iterable[QueuedJob]) -> dict[str, Refusal]:
    """By UID, the jobs that can't be planned for: no policy, a broken one, or a tier that they may not name."""
    rulings: dict[tuple[str, str, str], Ruling] = {}
    refused = {}
    for job in jobs:
        key = job.spec.residency.data_class, job.namespace, job.spec.schedule.tier
        if key not in rulings:
            rulings[key] = job_verdict(snapshot.policies, job.spec, job.namespace)
        if not (ruling := rulings[key]).allowed:
            refused[job.uid] = Refusal(ruling.reason, ruling.message)
    return refused


def denied(job: QueuedJob, refusal: Refusal, snapshot: Snapshot, now: datetime) -> Decision:
    """What becomes of a job that can't be planned for."""
    return _decided(job, Outcome.BLOCKED, refusal.reason, None, snapshot, _next_look(snapshot, now))


def decisions_on(inputs: PlanInputs, choices: list[Choice | None]) -> list[Decision]:
    """What to do with each job of the inputs, in its order, from its choice."""
    windows = iter(_windows(inputs, [(job, choice) for job, choice in enumerate(choices) if choice is not None]))
    look, reviews = _next_look(inputs.snapshot, inputs.now), _Reviews(inputs)
    return [
        _unplaced(inputs, job, look) if choice is None else _placed(inputs, job, choice, next(windows), look, reviews)
        for job, choice in enumerate(choices)
    ]


def _windows(inputs: PlanInputs, placed: list[tuple[int, Choice]]) -> list[Window]:
    """The figures of all choices: unbroken runs together, the others one by one."""
    whole = [(job, choice) for job, choice in placed if not choice.segments]
    jobs, options, starts = ([job for job, _ in whole], [c.option for _, c in whole], [c.start for _, c in whole])
    together = iter(windows_at(inputs, jobs, options, starts))
    return [
        window_at(inputs, job, choice.option, segments_of(inputs, job, choice)) if choice.segments else next(together)
        for job, choice in placed
    ]


def _unplaced(inputs: PlanInputs, row: int, look: datetime) -> Decision:
    outcome, reason = without_window(inputs, row)
    return _decided(inputs.jobs[row], outcome, reason, None, inputs.snapshot, look)


def _placed(
    inputs: PlanInputs, row: int, choice: Choice, window: Window, look: datetime, reviews: "_Reviews"
) -> Decision:
    review = reviews.of(row, choice, window)
    lead = inputs.snapshot.assumptions.review_lead if review.required else NO_TIME
    outcome = choice.running or (Outcome.START if window.start <= inputs.now + lead else Outcome.WAIT)
    if outcome in (Outcome.START, Outcome.MOVE):
        due = look if review.required else inputs.now  # people take their time
    else:
        due = look if choice.running else min(window.start - lead, look)
    return _decided(
        inputs.jobs[row],
        outcome,
        reason_of(inputs, row, choice, outcome),
        window,
        inputs.snapshot,
        due,
        review=review,
    )


_AT_HOME: Final = frozenset({Outcome.KEEP, Outcome.PAUSE})
"""What a running job does in the place that it was given needs nobody's leave."""


class _Reviews:
    """Whether a person must agree; most jobs are in the scope of no review rule."""

    def __init__(self, inputs: PlanInputs) -> None:
        self._inputs = inputs
        self._reviewed: dict[tuple[str, str], bool] = {}

    def of(self, row: int, choice: Choice, window: Window) -> ReviewRuling:
        """The ruling on a placement."""
        job, policies = self._inputs.jobs[row], self._inputs.snapshot.policies
        key = job.spec.residency.data_class, job.namespace
        if key not in self._reviewed:
            self._reviewed[key] = is_reviewed(policies, *key)
        if choice.running in _AT_HOME or (not self._reviewed[key] and job.spec.review is ReviewMode.AUTO):
            return NO_REVIEW
        return review_of(self._inputs, row, choice.option, window, moving=choice.running is Outcome.MOVE)


def _decided(
    job: QueuedJob,
    outcome: Outcome,
    reason: str,
    window: Window | None,
    snapshot: Snapshot,
    recheck_at: datetime,
    *,
    review: ReviewRuling = NO_REVIEW,
) -> Decision:
    return Decision(
        uid=job.uid,
        namespace=job.namespace,
        name=job.name,
        generation=job.generation,
        attempt=job.attempt,
        outcome=outcome,
        reason=reason,
        window=window,
        recheck_at=recheck_at,
        review_required=review.required,
        review_reason=review.message,
        policy_digest=snapshot.policies.digest,
    )


def _next_look(snapshot: Snapshot, now: datetime) -> datetime:
    """When to decide again at the latest: at the next full slot, or recheck interval if that is longer."""
    step = max(snapshot.assumptions.slot, snapshot.assumptions.recheck)
    return now - (now - EPOCH) % step + step


def reason_of(inputs: PlanInputs, row: int, choice: Choice, outcome: Outcome) -> str:
    """Why a job that has a window is where it is."""
    match outcome:
        case Outcome.START:
            return "Placed"
        case Outcome.KEEP:
            return "GoesOnAfterPause" if _is_paused(inputs, row) else "StaysWhereItRuns"
        case Outcome.PAUSE if choice.is_late:
            return "WaitingForCapacity"
        case Outcome.PAUSE:
            return "PausedForCleanWindow"
        case Outcome.MOVE:
            return "MovedToCleanerPlace"
    if choice.is_late:
        return "WaitingForCapacity"
    if inputs.is_signal_lost(row):
        return "SignalLost"
    return "WaitingForEarliestStart" if choice.start == inputs.earliest_start(row) else "WaitingForCleanWindow"


def without_window(inputs: PlanInputs, row: int) -> tuple[Outcome, str]:
    """Why a job has no window: it waits where time can help, and is blocked where it can't."""
    incumbent = inputs.jobs[row].incumbent
    if incumbent is not None and incumbent.is_under_way:
        is_open = incumbent.paused and options_left(inputs, row).any()
        return Outcome.PAUSE, "WaitingForCapacity" if is_open else _blocked_reason(inputs, row)
    if not options_left(inputs, row).any():
        return Outcome.BLOCKED, _blocked_reason(inputs, row)
    if inputs.waits_for_signal(row):
        return Outcome.WAIT, "SignalLost"
    context = context_of(inputs, row, None)
    reasons = {refusal_on(context, options).reason for options in inputs.options.by_cluster.values()}
    if reasons & {"NoCapacity", "NotInTime"}:
        return Outcome.WAIT, "WaitingForCapacity"
    for reason in ("BudgetExhausted", *(limit.reason for limit in reversed(LIMITS) if limit.reason)):
        if reason in reasons:
            return Outcome.BLOCKED, reason
    return Outcome.BLOCKED, "NoFeasibleCluster"


def _is_paused(inputs: PlanInputs, row: int) -> bool:
    incumbent = inputs.jobs[row].incumbent
    return incumbent is not None and incumbent.paused


def _blocked_reason(inputs: PlanInputs, row: int) -> str:
    """NoRegionAllowed where residency alone leaves no spoke, NoFeasibleCluster otherwise."""
    job, policies = inputs.jobs[row], inputs.snapshot.policies
    request, places = job.spec.residency, job.spec.workload.data_places
    rulings = (
        residency_verdict(policies, request.data_class, job.namespace, request, spoke.facts, places)
        for spoke in inputs.snapshot.spokes
    )
    return "NoFeasibleCluster" if any(ruling.allowed for ruling in rulings) else "NoRegionAllowed"
