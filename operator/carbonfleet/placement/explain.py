"""Why a job goes where it goes, in sentences with figures."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from carbonfleet.api.job import Goal
from carbonfleet.placement import phrase
from carbonfleet.placement.choice import Choice
from carbonfleet.placement.decision import Candidate, Decision, Explanation, Outcome, Verdict, Window
from carbonfleet.placement.grid import MINUTE
from carbonfleet.placement.measure import at_submission, baseline_of, window_at
from carbonfleet.placement.plan import Plan
from carbonfleet.placement.policy import POLICY_REASONS, residency_verdict
from carbonfleet.placement.rules import Refusal
from carbonfleet.placement.snapshot import Snapshot
from carbonfleet.placement.stay import own_cost, unbroken
from carbonfleet.placement.trace import View, candidates_of, piece, view_of
from carbonfleet.placement.wait import least
from carbonfleet.placement.weigh import gate_of, is_signal_lost


def explain(plan: Plan, decision: Decision) -> Explanation:
    """The message, the candidates and the baseline of a decision of a plan, with all other jobs in their places."""
    problem = plan.problem
    if problem is None:
        raise ValueError(f"{decision.key}: the plan holds nothing to explain it by")
    if decision.uid in plan.refused:
        return _refused(problem.snapshot, decision, plan.refused[decision.uid])
    job, choice = plan.choices[decision.uid]
    view = view_of(problem, job, choice)
    candidates = candidates_of(view)
    if choice is None or decision.window is None:
        return Explanation(_without(view, decision, candidates), candidates)
    baseline = baseline_of(problem, job, choice.lane, decision.window)
    said = (
        _signal_note(view),
        _why_change(view, choice, decision.window),
        _what(view, choice, decision.outcome, decision.window),
        _why_then(view, choice, decision.window),
        _why_there(candidates),
        decision.review_reason,
    )
    return Explanation(" ".join(part for part in said if part), candidates, baseline)


def _refused(snapshot: Snapshot, decision: Decision, refusal: Refusal) -> Explanation:
    """Of a job that no policy covers or whose tier does not exist; each spoke that residency forbids says so."""
    job = next(job for job in snapshot.jobs if job.uid == decision.uid)
    candidates = []
    for spoke in sorted(snapshot.spokes, key=lambda spoke: spoke.name):
        request = job.spec.residency
        ruling = residency_verdict(snapshot.policies, request.data_class, job.namespace, request, spoke.facts)
        said = refusal if ruling.allowed else Refusal(ruling.reason, ruling.message)
        candidates.append(Candidate(spoke.name, Verdict.FILTERED, said.reason, said.message))
    return Explanation(refusal.message, tuple(candidates))


def _what(view: View, choice: Choice, outcome: Outcome, window: Window) -> str:
    here = f"{phrase.gpus(window.gpus)} of {window.cluster}/{window.pool}{phrase.spot(window)}"
    parts = f" in {len(window.segments)} parts" if len(window.segments) > 1 else ""
    end = f"ends {phrase.until(window.start, window.end)}{parts}: {phrase.figures(window)}."
    incumbent = view.problem.jobs[view.job].incumbent
    paused = incumbent is not None and incumbent.paused
    match outcome:
        case Outcome.KEEP:
            verb = "Goes on now" if paused else "Goes on"
            return f"{verb} on {here}, ends {phrase.time(window.end)}{parts}: {phrase.figures(window)}."
        case Outcome.PAUSE:
            verb = "Stays paused" if paused else "Pauses at its next checkpoint"
            return f"{verb}; goes on {phrase.time(window.start)} on {here}, {end}"
        case Outcome.MOVE:
            when = "" if paused else " at its next checkpoint"
            return f"Moves to {here}{when}, ends {phrase.time(window.end)}: {phrase.doubted(window)}."
    when = phrase.time(window.start)
    return f"Starts {f'now ({when})' if choice.start == 0 else when} on {here}, {end}"


def _why_change(view: View, choice: Choice, window: Window) -> str:
    """What a job that is under way gains on going on where it is, at once and without a pause."""
    problem, job = view.problem, view.job
    incumbent = problem.jobs[job].incumbent
    if incumbent is None or not incumbent.is_under_way:
        return ""
    share = problem.snapshot.assumptions.surprise_share
    surprised = f"The grid was {100 * incumbent.surprise:.0f} % above what was expected. "
    note = surprised if incumbent.surprise > share else ""
    stay = unbroken(problem, job)
    if stay is None or (stay.cluster, stay.pool, stay.segments) == (window.cluster, window.pool, window.segments):
        return note.strip()
    saved = stay.grams_co2e - window.grams_co2e
    percent = f" ({100 * saved / stay.grams_co2e:.0f} %)" if stay.grams_co2e else ""
    gain = f"This saves {phrase.grams(saved)}{percent}" if saved > 0 else f"This emits {phrase.grams(-saved)} more"
    then = f"to go on at once and without a pause on {stay.cluster} would be"
    if choice.running is Outcome.MOVE:
        return f"{note}{gain}: {then} {phrase.doubted(stay)}. {_cost_of_moving(view, choice, window)}"
    return f"{note}{gain}: {then} {phrase.grams(stay.grams_co2e)} at {stay.grams_per_kwh:.0f} gCO2e/kWh."


def _cost_of_moving(view: View, choice: Choice, window: Window) -> str:
    """How much is done already, and what the move itself takes of what is left."""
    done = 100 * (1 - view.problem.jobs[view.job].remaining_fraction)
    minutes, grams, usd = own_cost(view.problem, view.job, choice.lane, window)
    took = f"{phrase.hours(minutes)}, {phrase.grams(grams)} and {usd:,.2f} USD"
    return f"{done:.0f} % of it is done; the move itself takes {took} of what follows."


def _signal_note(view: View) -> str:
    problem, job = view.problem, view.job
    if not is_signal_lost(problem, job):
        return ""
    action = problem.jobs[job].spec.schedule.on_signal_loss.action.value
    stand_in = problem.snapshot.assumptions.signal_loss_grams_per_kwh
    return (
        f"No source knows the grid of any spoke that is allowed: the job's own rule ({action}) holds, and "
        f"{stand_in:.0f} gCO2e/kWh stand in."
    )


def _why_then(view: View, choice: Choice, window: Window) -> str:
    if choice.is_late:
        return "No GPUs were free before the job's latest start; this is the first time that they are."
    if is_signal_lost(view.problem, view.job) or choice.running is not None:
        return ""
    if choice.start == 0:
        why = _why_now(view, choice, window)
    else:
        why = " ".join(filter(None, (_why_later(view, choice, window), _not_worth(view, choice, window))))
    stays = " It stays where it was planned: another place would gain too little." if choice.kept else ""
    return f"{why}{stays}{_gate_note(view, choice)}"


def _why_later(view: View, choice: Choice, window: Window) -> str:
    problem, job = view.problem, view.job
    first = problem.earliest_start(job)
    if choice.start == first:
        return f"It may not start before {phrase.time(problem.limits[job].earliest)}."
    if (told := _waited(view, choice, window)) is not None:
        return told
    now = window_at(problem, job, choice.lane, piece(view, choice.lane, first))
    when = "At once" if first == 0 else f"At {phrase.time(now.start)}"
    taken = "" if view.free[choice.lane, first] else ", had it GPUs there then"
    gain = _gain(now.grams_co2e, window.grams_co2e, now.cost_usd - window.cost_usd)
    return f"{when}: {phrase.grams(now.grams_co2e)}{taken}; {gain}."


def _not_worth(view: View, choice: Choice, window: Window) -> str:
    """What the best start would save that the job does not wait for, where there is one."""
    problem, job = view.problem, view.job
    found = least(view.windows.scores, view.windows.open & view.free)
    if found is None or choice.segments or choice.kept or found[0] >= choice.score or found[1] <= choice.start:
        return ""
    later = window_at(problem, job, found[2], piece(view, found[2], found[1]))
    where = "" if later.cluster == window.cluster else f" on {later.cluster}"
    least_gain = problem.limits[job].gain_percent_per_hour
    saved = _saved(problem.demand.goal(job), window, later)
    return f"Waiting until {phrase.time(later.start)}{where} would save only {saved}, under {least_gain:g} % an hour."


def _saved(goal: Goal, window: Window, later: Window) -> str:
    """What a later window saves of what the job minds."""
    if goal is Goal.CARBON:
        saved, of, unit = window.grams_co2e - later.grams_co2e, window.grams_co2e, "g"
    elif goal is Goal.COST:
        saved, of, unit = window.cost_usd - later.cost_usd, window.cost_usd, "USD"
    else:
        saved, of, unit = window.score_usd - later.score_usd, window.score_usd, "USD of cost and carbon"
    percent = 100 * saved / of if of else 0.0
    return f"{phrase.number(max(saved, 0.0))} {unit} ({max(percent, 0.0):.2g} %)"


def _waited(view: View, choice: Choice, window: Window) -> str | None:
    """What the whole wait brings, for a job that was submitted a while ago; None where that can't be told."""
    problem, job = view.problem, view.job
    zone = problem.lanes.lanes[choice.lane].spoke.facts.zone
    minutes = sum(round((end - start).total_seconds() / 60) for start, end in window.segments)
    held = at_submission(problem, job, zone, minutes)
    if held is None or not window.grams_per_kwh:
        return None
    grams = window.grams_co2e + window.operational_grams * (held / window.grams_per_kwh - 1)
    return f"At submission: {phrase.grams(grams)}; {_gain(grams, window.grams_co2e)}."


def _gain(before_grams: float, grams: float, saved_usd: float = 0.0) -> str:
    """What waiting saves; it may also save nothing, where GPUs or a price make a job wait."""
    saved = before_grams - grams
    gains = [phrase.saving(saved, 100 * saved / before_grams)] if round(saved, 1) > 0 else []
    gains += [f"{saved_usd:,.2f} USD"] if round(saved_usd, 2) > 0 else []
    return f"waiting saves {' and '.join(gains)}" if gains else "waiting saves no carbon"


def _why_now(view: View, choice: Choice, window: Window) -> str:
    waited = _waited(view, choice, window)
    return " ".join(part for part in (waited, _why_not_later(view, choice, window)) if part)


def _why_not_later(view: View, choice: Choice, window: Window) -> str:
    problem, job = view.problem, view.job
    latest = problem.limits[job].latest
    if min(problem.latest_start(job), problem.line.starts - 1) <= 0:
        if latest - problem.jobs[job].submitted_at >= MINUTE:
            return f"It may wait no longer than {phrase.time(latest)}."
        schedule = problem.jobs[job].spec.schedule
        return f"It may not wait: {'maxDelay is 0' if schedule.max_delay is not None else f'tier {schedule.tier}'}."
    if not_worth := _not_worth(view, choice, window):
        return not_worth
    later = (view.windows.open & view.free)[choice.lane, 1:]
    if not later.any():
        return "No later start is open to it here."
    return f"No later start until {phrase.time(latest)} is better."


def _gate_note(view: View, choice: Choice) -> str:
    if not view.problem.limits[view.job].is_gated:
        return ""
    gate = phrase.intensity(float(gate_of(view.problem, view.job)[choice.lane]))
    if view.problem.gives_up_threshold(view.job):
        until = phrase.time(view.problem.limits[view.job].latest)
        return (
            f" No free start until {until} is forecast at its threshold (here {gate}) or below: it takes the cleanest."
        )
    return f" It starts only at {gate} or less here."


def _why_there(candidates: tuple[Candidate, ...]) -> str:
    other = next((c for c in candidates[1:] if c.window is not None), None)
    if other is None or other.window is None:
        return f"Not elsewhere: {_out(candidates[1:])}." if len(candidates) > 1 else ""
    window = other.window
    carbon, cost = phrase.grams(window.grams_co2e), f"{window.cost_usd:,.2f} USD"
    chosen = candidates[0].window
    when = f", {phrase.time(window.start)}" if chosen is None or window.start != chosen.start else ""
    return f"Next best is {other.cluster}{when}: {carbon}, {cost}."


def _without(view: View, decision: Decision, candidates: tuple[Candidate, ...]) -> str:
    """Why there is no window: which spokes fell to which rule, one of them in full, and what a person can do."""
    if not candidates:
        return "The fleet has no spoke. Join one with `carbonfleet spoke join`."
    head = "No spoke can take the job"
    if decision.reason == "WaitingForCapacity" and decision.outcome is Outcome.PAUSE:
        head = "Stays paused: no GPUs are free where it may go on"
    elif decision.outcome is Outcome.PAUSE:
        head = "Policy no longer allows the place where it runs, and no other can take it"
    elif is_signal_lost(view.problem, view.job):
        head = "Waits: the carbon intensity is known nowhere that it may go, and the job asked to wait then"
    elif decision.outcome is Outcome.WAIT:
        head = "Waits: no GPUs are free where it may go"
    reasons = dict.fromkeys(candidate.reason for candidate in candidates)
    advice = _way_out(reasons) if decision.outcome is Outcome.BLOCKED else ""
    if len(reasons) == 1:
        return f"{head}: {_none_of(candidates)}. {_together(candidates)}{advice}"
    # Of a spoke that came further than policy there is more to say.
    other = min(candidates, key=lambda candidate: candidate.reason in POLICY_REASONS)
    said = other.message if other.message.startswith(other.cluster) else f"{other.cluster}: {other.message}"
    return f"{head}: {_out(candidates)}. {said}{advice}"


def _none_of(candidates: Sequence[Candidate]) -> str:
    count, first = len(candidates), candidates[0]
    if first.reason == "ResidencyPolicy":
        return (
            f"policy allows none of {count} spokes" if count > 1 else f"policy forbids {first.cluster}, the only spoke"
        )
    why = OUT.get(first.reason, first.reason)
    return f"all {count} spokes are {why}" if count > 1 else f"{first.cluster}, the only spoke, is {why}"


def _out(candidates: Sequence[Candidate]) -> str:
    """The spokes that are out, by what keeps them out."""
    by_reason: dict[str, list[str]] = {}
    for candidate in candidates:
        by_reason.setdefault(OUT.get(candidate.reason, candidate.reason), []).append(candidate.cluster)
    ordered = sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    return "; ".join(f"{phrase.listed(names)} {'is' if len(names) == 1 else 'are'} {why}" for why, names in ordered)


def _together(candidates: Sequence[Candidate]) -> str:
    """What is said of each of them; what they share is said once."""
    shared = {candidate.message.partition("; ")[0] for candidate in candidates}
    own = [tail for candidate in candidates[:MOST_NAMED] if (tail := candidate.message.partition("; ")[2])]
    is_one = len({candidate.message for candidate in candidates}) == 1
    if is_one or len(shared) > 1 or len(own) < min(len(candidates), MOST_NAMED):
        return candidates[0].message
    more = f"; and {len(candidates) - MOST_NAMED} more" if len(candidates) > MOST_NAMED else ""
    return "; ".join((shared.pop(), *(tail.rstrip(".") for tail in own))) + f"{more}."


def _way_out(reasons: Iterable[str]) -> str:
    return "".join(f" {WAYS_OUT[reason]}" for reason in reasons if reason in WAYS_OUT)


MOST_NAMED: Final = 3
OUT: Final[Mapping[str, str]] = {
    "ResidencyPolicy": "forbidden by policy",
    "ResidencyRequest": "outside what the job itself allows",
    "PolicyMissing": "covered by no policy",
    "PolicyInvalid": "closed while a policy file is broken",
    "Unreachable": "not heard from",
    "NeverJoined": "not joined yet",
    "Invalid": "broken in Git",
    "Maintenance": "under maintenance",
    "RecentlyLeft": "left for a while after an attempt",
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
    "BudgetExhausted": "out of this month's budget",
    "NotInTime": "full until after the latest start",
    "NoCapacity": "full",
}
"""What keeps a spoke out, after `is`."""
WAYS_OUT: Final[Mapping[str, str]] = {
    "ResidencyPolicy": "Another data class or a change of the policy in the fleet repository would let it run.",
    "ResidencyRequest": "The job's spec.residency can't be changed: create it anew with wider regions.",
    "GpuType": "Accept other models in spec.resources.gpuTypes.",
    "CostLimit": "Raise spec.objective.maxCostUsd.",
    "CarbonBudget": "Raise spec.objective.carbonBudgetKg.",
    "DeadlineUnreachable": "Move spec.schedule.deadline.",
    "Unreachable": "Look after the agents with kubectl get spokeclusters.",
}
"""What a person can do about it."""
