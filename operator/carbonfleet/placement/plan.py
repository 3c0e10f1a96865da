"""The door: decide for the whole queue at once, as a function of values."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from carbonfleet.api.policy import Tier
from carbonfleet.placement.assign import Choice, assign
from carbonfleet.placement.decision import (
    Baseline,
    Candidate,
    Decision,
    Outcome,
    Plan,
    Verdict,
    Window,
    Words,
)
from carbonfleet.placement.explain import candidates_of, words_for
from carbonfleet.placement.grid import EPOCH, MINUTE
from carbonfleet.placement.measure import baseline_of, segment_of, window_at
from carbonfleet.placement.policy import (
    NO_REVIEW,
    ReviewRuling,
    policies_verdict,
    residency_verdict,
    review_verdict,
    tiers,
)
from carbonfleet.placement.problem import Problem, problem_of
from carbonfleet.placement.rules import Refusal
from carbonfleet.placement.snapshot import QueuedJob, Snapshot
from carbonfleet.placement.weigh import is_signal_lost, lanes_left


def plan(snapshot: Snapshot, now: datetime) -> Plan:
    """Decide for every queued job: start, wait, or blocked and why. Nothing but the arguments is looked at.

    `now` is aware UTC. Only jobs whose outcome is START are to be committed; the others are decided again
    next time. Decisions come in the order of `namespace/name`.
    """
    known = tiers(snapshot.policies)
    refused = {job.uid: r for job in snapshot.jobs if (r := _refused(job, snapshot, known)) is not None}
    problem = problem_of(snapshot, [job for job in snapshot.jobs if job.uid not in refused], known, now)
    choices = assign(problem)
    decisions = [_decision(problem, row, choice) for row, choice in enumerate(choices)]
    decisions += [_denied(job, refused[job.uid], snapshot, now) for job in snapshot.jobs if job.uid in refused]
    return Plan(tuple(sorted(decisions, key=lambda d: (d.namespace, d.name, d.uid))), now)


def _refused(job: QueuedJob, snapshot: Snapshot, known: Mapping[str, Tier]) -> Refusal | None:
    """Why a job can't be planned for: no policy for it, a broken one, or a tier that does not exist."""
    ruling = policies_verdict(snapshot.policies, job.spec.residency.data_class, job.namespace)
    if not ruling.allowed:
        return Refusal(ruling.reason, ruling.message)
    tier = job.spec.schedule.tier
    if tier in known:
        return None
    names = ", ".join(sorted(known)) or "none"
    return Refusal("UnknownTier", f'There is no tier "{tier}"; the policies define {names}.')


def _denied(job: QueuedJob, refusal: Refusal, snapshot: Snapshot, now: datetime) -> Decision:
    candidates = []
    for spoke in sorted(snapshot.spokes, key=lambda spoke: spoke.name):
        ruling = residency_verdict(
            snapshot.policies, job.spec.residency.data_class, job.namespace, job.spec.residency, spoke.facts
        )
        said = refusal if ruling.allowed else Refusal(ruling.reason, ruling.message)
        candidates.append(Candidate(spoke.name, Verdict.FILTERED, said.reason, said.message))
    words = Words(refusal.message, tuple(candidates))
    return _decided(
        job,
        Outcome.BLOCKED,
        refusal.reason,
        None,
        snapshot,
        _next_look(snapshot, now),
        explain=lambda _: words,
    )


def _decision(problem: Problem, row: int, choice: Choice | None) -> Decision:
    job, snapshot = problem.jobs[row], problem.snapshot
    explain = partial(words_for, problem, row, choice)
    look = _next_look(snapshot, problem.now)
    if choice is None:
        outcome, reason = _without_window(problem, row)
        return _decided(job, outcome, reason, None, snapshot, look, explain=explain)
    window = window_at(problem, row, choice.lane, segment_of(problem, row, choice.lane, choice.start))
    baseline = baseline_of(problem, row, choice.lane, window)
    review = _review(problem, row, window, baseline.grams_co2e if baseline else None)
    lead = snapshot.assumptions.review_lead if review.required else 0 * MINUTE
    starts = window.start <= problem.now + lead
    return _decided(
        job,
        Outcome.START if starts else Outcome.WAIT,
        "Placed" if starts else _waiting_reason(problem, row, choice),
        window,
        snapshot,
        problem.now if starts else min(window.start - lead, look),
        explain=explain,
        review=review,
        baseline=baseline,
    )


def _decided(
    job: QueuedJob,
    outcome: Outcome,
    reason: str,
    window: Window | None,
    snapshot: Snapshot,
    recheck_at: datetime,
    *,
    explain: Callable[[Decision], Words],
    review: ReviewRuling = NO_REVIEW,
    baseline: Baseline | None = None,
) -> Decision:
    return Decision.lazily(
        explain,
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
        baseline=baseline,
        policy_digest=snapshot.policies.digest,
    )


def _next_look(snapshot: Snapshot, now: datetime) -> datetime:
    """When to decide again at the latest: at the next full slot, or recheck interval if that is longer."""
    step = max(snapshot.assumptions.slot, snapshot.assumptions.recheck)
    return now - (now - EPOCH) % step + step


def _without_window(problem: Problem, row: int) -> tuple[Outcome, str]:
    left = lanes_left(problem, row)
    if not left.any():
        return Outcome.BLOCKED, _blocked_reason(problem, row)
    if is_signal_lost(problem, row):
        return Outcome.WAIT, "SignalLost"
    reasons = {candidate.reason for candidate in candidates_of(problem, row, None)}
    if "NoCapacity" in reasons:
        return Outcome.WAIT, "WaitingForCapacity"
    for reason in ("BudgetExhausted", "CarbonBudget", "CostLimit", "DeadlineUnreachable"):
        if reason in reasons:
            return Outcome.BLOCKED, reason
    return Outcome.BLOCKED, "NoFeasibleCluster"


def _blocked_reason(problem: Problem, row: int) -> str:
    """NoRegionAllowed where residency alone leaves no spoke, NoFeasibleCluster otherwise."""
    job = problem.jobs[row]
    allowed = any(
        residency_verdict(
            problem.snapshot.policies,
            job.spec.residency.data_class,
            job.namespace,
            job.spec.residency,
            spoke.facts,
        ).allowed
        for spoke in problem.snapshot.spokes
    )
    return "NoFeasibleCluster" if allowed else "NoRegionAllowed"


def _waiting_reason(problem: Problem, row: int, choice: Choice) -> str:
    if choice.is_late:
        return "WaitingForCapacity"
    if is_signal_lost(problem, row):
        return "SignalLost"
    return "WaitingForEarliestStart" if choice.start == problem.earliest_start(row) else "WaitingForCleanWindow"


def _review(problem: Problem, row: int, window: Window, baseline_grams: float | None) -> ReviewRuling:
    saving = None if not baseline_grams else 100 * (1 - window.grams_co2e / baseline_grams)
    job = problem.jobs[row]
    return review_verdict(
        problem.snapshot.policies, job.spec, job.namespace, cost_usd=window.cost_usd, saving_percent=saving
    )
