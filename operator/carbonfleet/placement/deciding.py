"""What to do with each job, from the window that was found for it."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from carbonfleet.api.policy import ReviewMode, Tier
from carbonfleet.placement.choice import Choice, segments_of
from carbonfleet.placement.decision import Decision, Outcome, Window
from carbonfleet.placement.grid import EPOCH
from carbonfleet.placement.leave import leave_for
from carbonfleet.placement.measure import window_at, windows_at
from carbonfleet.placement.policy import (
    NO_REVIEW,
    ReviewRuling,
    is_reviewed,
    policies_verdict,
    tiers,
)
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.reasons import reason_of, without_window
from carbonfleet.placement.rules import Refusal
from carbonfleet.placement.snapshot import QueuedJob, Snapshot

NO_TIME: Final = timedelta()


def refusals(snapshot: Snapshot, jobs: Iterable[QueuedJob]) -> dict[str, Refusal]:
    """By UID, the jobs that can't be planned for: no policy, a broken one, or a tier that does not exist."""
    known = tiers(snapshot.policies)
    found: dict[tuple[str, str, str], Refusal | None] = {}
    refused = {}
    for job in jobs:
        key = job.spec.residency.data_class, job.namespace, job.spec.schedule.tier
        if key not in found:
            found[key] = _refusal(snapshot, known, *key)
        if (refusal := found[key]) is not None:
            refused[job.uid] = refusal
    return refused


def _refusal(
    snapshot: Snapshot, known: Mapping[str, Tier], data_class: str, namespace: str, tier: str
) -> Refusal | None:
    ruling = policies_verdict(snapshot.policies, data_class, namespace)
    if not ruling.allowed:
        return Refusal(ruling.reason, ruling.message)
    if tier in known:
        return None
    names = ", ".join(sorted(known)) or "none"
    return Refusal("UnknownTier", f'There is no tier "{tier}"; the policies define {names}.')


def denied(job: QueuedJob, refusal: Refusal, snapshot: Snapshot, now: datetime) -> Decision:
    """What becomes of a job that can't be planned for."""
    return _decided(job, Outcome.BLOCKED, refusal.reason, None, snapshot, _next_look(snapshot, now))


def decisions_on(problem: Problem, choices: list[Choice | None]) -> list[Decision]:
    """What to do with each job of the problem, in its order, from its choice."""
    windows = iter(_windows(problem, [(job, choice) for job, choice in enumerate(choices) if choice is not None]))
    look, reviews = _next_look(problem.snapshot, problem.now), _Reviews(problem)
    return [
        _unplaced(problem, job, look) if choice is None else _placed(problem, job, choice, next(windows), look, reviews)
        for job, choice in enumerate(choices)
    ]


def _windows(problem: Problem, placed: list[tuple[int, Choice]]) -> list[Window]:
    """The figures of all choices: unbroken runs together, the others one by one."""
    whole = [(job, choice) for job, choice in placed if not choice.segments]
    jobs, lanes, starts = ([job for job, _ in whole], [c.lane for _, c in whole], [c.start for _, c in whole])
    together = iter(windows_at(problem, jobs, lanes, starts))
    return [
        window_at(problem, job, choice.lane, segments_of(problem, job, choice)) if choice.segments else next(together)
        for job, choice in placed
    ]


def _unplaced(problem: Problem, row: int, look: datetime) -> Decision:
    outcome, reason = without_window(problem, row)
    return _decided(problem.jobs[row], outcome, reason, None, problem.snapshot, look)


def _placed(
    problem: Problem, row: int, choice: Choice, window: Window, look: datetime, reviews: "_Reviews"
) -> Decision:
    review = reviews.of(row, choice, window)
    lead = problem.snapshot.assumptions.review_lead if review.required else NO_TIME
    outcome = choice.running or (Outcome.START if window.start <= problem.now + lead else Outcome.WAIT)
    if outcome in (Outcome.START, Outcome.MOVE):
        due = look if review.required else problem.now  # people take their time
    else:
        due = look if choice.running else min(window.start - lead, look)
    return _decided(
        problem.jobs[row],
        outcome,
        reason_of(problem, row, choice, outcome),
        window,
        problem.snapshot,
        due,
        review=review,
    )


_AT_HOME: Final = frozenset({Outcome.KEEP, Outcome.PAUSE})
"""What a running job does in the place that it was given needs nobody's leave."""


class _Reviews:
    """Whether a person must agree; most jobs are in the scope of no review rule."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._reviewed: dict[tuple[str, str], bool] = {}

    def of(self, row: int, choice: Choice, window: Window) -> ReviewRuling:
        """The ruling on a placement."""
        job, policies = self._problem.jobs[row], self._problem.snapshot.policies
        key = job.spec.residency.data_class, job.namespace
        if key not in self._reviewed:
            self._reviewed[key] = is_reviewed(policies, *key)
        if choice.running in _AT_HOME or (not self._reviewed[key] and job.spec.review is ReviewMode.AUTO):
            return NO_REVIEW
        return leave_for(self._problem, row, choice.lane, window, moving=choice.running is Outcome.MOVE)


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
