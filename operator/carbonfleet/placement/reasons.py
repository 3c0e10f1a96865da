"""The stable reasons of decisions, for machines."""

from carbonfleet.placement.choice import Choice
from carbonfleet.placement.decision import Outcome
from carbonfleet.placement.policy import residency_verdict
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.trace import candidates_of, view_of
from carbonfleet.placement.weigh import is_signal_lost, lanes_left


def reason_of(problem: Problem, row: int, choice: Choice, outcome: Outcome) -> str:
    """Why a job that has a window is where it is."""
    match outcome:
        case Outcome.START:
            return "Placed"
        case Outcome.KEEP:
            return "GoesOnAfterPause" if _is_paused(problem, row) else "StaysWhereItRuns"
        case Outcome.PAUSE if choice.is_late:
            return "WaitingForCapacity"
        case Outcome.PAUSE:
            return "PausedForCleanWindow"
        case Outcome.MOVE:
            return "MovedToCleanerPlace"
    if choice.is_late:
        return "WaitingForCapacity"
    if is_signal_lost(problem, row):
        return "SignalLost"
    return "WaitingForEarliestStart" if choice.start == problem.earliest_start(row) else "WaitingForCleanWindow"


def without_window(problem: Problem, row: int) -> tuple[Outcome, str]:
    """Why a job has no window: it waits where time can help, and is blocked where it can't."""
    incumbent = problem.jobs[row].incumbent
    if incumbent is not None and incumbent.is_under_way:
        is_open = incumbent.paused and lanes_left(problem, row).any()
        return Outcome.PAUSE, "WaitingForCapacity" if is_open else _blocked_reason(problem, row)
    if not lanes_left(problem, row).any():
        return Outcome.BLOCKED, _blocked_reason(problem, row)
    if is_signal_lost(problem, row):
        return Outcome.WAIT, "SignalLost"
    reasons = {candidate.reason for candidate in candidates_of(view_of(problem, row, None))}
    if "NoCapacity" in reasons:
        return Outcome.WAIT, "WaitingForCapacity"
    for reason in ("BudgetExhausted", "CarbonBudget", "CostLimit", "DeadlineUnreachable"):
        if reason in reasons:
            return Outcome.BLOCKED, reason
    return Outcome.BLOCKED, "NoFeasibleCluster"


def _is_paused(problem: Problem, row: int) -> bool:
    incumbent = problem.jobs[row].incumbent
    return incumbent is not None and incumbent.paused


def _blocked_reason(problem: Problem, row: int) -> str:
    """NoRegionAllowed where residency alone leaves no spoke, NoFeasibleCluster otherwise."""
    job, policies = problem.jobs[row], problem.snapshot.policies
    request = job.spec.residency
    rulings = (
        residency_verdict(policies, request.data_class, job.namespace, request, spoke.facts)
        for spoke in problem.snapshot.spokes
    )
    return "NoFeasibleCluster" if any(ruling.allowed for ruling in rulings) else "NoRegionAllowed"
