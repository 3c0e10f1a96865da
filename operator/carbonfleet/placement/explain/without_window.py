"""Why a job has no place, in sentences: which spokes fell to which rule, and what a person can do."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from carbonfleet.placement import phrase
from carbonfleet.placement.decision import Decision, Outcome
from carbonfleet.placement.rules import POLICY_REASONS, Refusal
from carbonfleet.placement.search import JobContext


def without_window(context: JobContext, decision: Decision, out: Sequence[tuple[str, Refusal]]) -> str:
    """Why there is no window: which spokes fell to which rule, one of them in full, and what a person can do."""
    if not out:
        return "The fleet has no spoke. Join one with `carbonfleet spoke join`."
    head = "No spoke can take the job"
    if decision.reason == "WaitingForCapacity" and decision.outcome is Outcome.PAUSE:
        head = "Stays paused: no GPUs are free where it may go on"
    elif decision.outcome is Outcome.PAUSE:
        head = "Policy no longer allows the place where it runs, and no other can take it"
    elif context.inputs.waits_for_signal(context.job):
        head = "Waits: the carbon intensity is known nowhere that it may go, and the job asked to wait then"
    elif decision.outcome is Outcome.WAIT:
        head = "Waits: no GPUs are free where it may go"
    reasons = dict.fromkeys(refusal.reason for _, refusal in out)
    advice = _way_out(reasons) if decision.outcome is Outcome.BLOCKED else ""
    if len(reasons) == 1:
        return f"{head}: {_none_of(out)}. {_together([refusal for _, refusal in out])}{advice}"
    # Of a spoke that came further than policy there is more to say.
    name, refusal = min(out, key=lambda named: named[1].reason in POLICY_REASONS)
    said = refusal.message if refusal.message.startswith(name) else f"{name}: {refusal.message}"
    return f"{head}: {out_by_reason(out)}. {said}{advice}"


def _none_of(out: Sequence[tuple[str, Refusal]]) -> str:
    count, (name, first) = len(out), out[0]
    if first.reason == "ResidencyPolicy":
        return f"policy allows none of {count} spokes" if count > 1 else f"policy forbids {name}, the only spoke"
    why = OUT.get(first.reason, first.reason)
    return f"all {count} spokes are {why}" if count > 1 else f"{name}, the only spoke, is {why}"


def out_by_reason(out: Sequence[tuple[str, Refusal]]) -> str:
    """The spokes that are out, by what keeps them out."""
    by_reason: dict[str, list[str]] = {}
    for name, refusal in out:
        by_reason.setdefault(OUT.get(refusal.reason, refusal.reason), []).append(name)
    ordered = sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    return "; ".join(f"{phrase.listed(names)} {'is' if len(names) == 1 else 'are'} {why}" for why, names in ordered)


def _together(refusals: Sequence[Refusal]) -> str:
    """What is said of each of them; what they share is said once."""
    shared = {refusal.message.partition("; ")[0] for refusal in refusals}
    own = [tail for refusal in refusals[:MOST_NAMED] if (tail := refusal.message.partition("; ")[2])]
    is_one = len({refusal.message for refusal in refusals}) == 1
    if is_one or len(shared) > 1 or len(own) < min(len(refusals), MOST_NAMED):
        return refusals[0].message
    more = f"; and {len(refusals) - MOST_NAMED} more" if len(refusals) > MOST_NAMED else ""
    return "; ".join((shared.pop(), *(tail.rstrip(".") for tail in own))) + f"{more}."


def _way_out(reasons: Iterable[str]) -> str:
    return "".join(f" {WAYS_OUT[reason]}" for reason in reasons if reason in WAYS_OUT)


MOST_NAMED: Final = 3
OUT: Final[Mapping[str, str]] = {
    "ResidencyPolicy": "forbidden by policy",
    "StoreUndeclared": "ruled out by a store that nobody has declared",
    "ResidencyRequest": "outside what the job itself allows",
    "PolicyMissing": "covered by no policy",
    "PolicyInvalid": "closed while a policy file is broken",
    "UnknownTier": "closed to a tier that no policy has",
    "TierNotAllowed": "closed to this namespace's use of the tier",
    "Unreachable": "not heard from",
    "NeverJoined": "not joined yet",
    "RuntimeUnreachable": "without a runtime that answers",
    "Invalid": "broken in Git",
    "Maintenance": "under maintenance",
    "Unhealthy": "not healthy",
    "RecentlyLeft": "left for a while after an attempt",
    "StaysInPlace": "not where it stays",
    "GpuType": "without GPUs that the job accepts",
    "GpuMemory": "short of GPU memory",
    "GpuCount": "too small",
    "SpotNotAllowed": "only spot",
    "NoPrice": "without a price",
    "NoSignal": "without carbon data",
    "RunTooLong": "too slow",
    "DeadlineUnreachable": "too slow for the deadline",
    "CostLimit": "above the job's cost limit",
    "CarbonBudget": "above the job's carbon budget",
    "CostTolerance": "dearer than the job's cost tolerance allows",
    "AboveThreshold": "above the job's threshold",
    "BudgetExhausted": "out of this month's budget",
    "NotInTime": "full until after the latest start",
    "NoCapacity": "full",
}
"""What keeps a spoke out, after `is`."""
WAYS_OUT: Final[Mapping[str, str]] = {
    "StoreUndeclared": "Declared under stores in the fleet repository's policies, it would let the job run.",
    "ResidencyPolicy": "Another data class or a change of the policy in the fleet repository would let it run.",
    "ResidencyRequest": "The job's spec.residency can't be changed: create it anew with wider regions.",
    "GpuType": "Accept other models in spec.resources.gpuTypes.",
    "CostLimit": "Raise spec.objective.maxCostUsd.",
    "CarbonBudget": "Raise spec.objective.carbonBudgetKg.",
    "DeadlineUnreachable": "Move spec.schedule.deadline.",
    "Unreachable": "Look after the agents with kubectl get spokeclusters.",
}
"""What a person can do about it."""
