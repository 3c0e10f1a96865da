"""Why a job goes where it goes: a candidate for each spoke, and sentences with figures."""

from collections import Counter
from datetime import datetime

import numpy as np

from carbonfleet.placement.assign import Choice, has_room, rows_of, slots_of_window, within_purse
from carbonfleet.placement.decision import Candidate, Decision, Outcome, Verdict, Window, Words
from carbonfleet.placement.grid import RESOLUTION
from carbonfleet.placement.measure import baseline_of, segment_of, window_at
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.rules import BoolArray, Refusal
from carbonfleet.placement.weigh import Windows, fits_horizon, gate_of, is_signal_lost, windows_of


def words_for(problem: Problem, job: int, choice: Choice | None, decision: Decision) -> Words:
    """The message and the candidates of a decision, seen in the finished plan."""
    ranked = candidates_of(problem, job, choice)
    baseline = None
    if choice is not None and decision.window is not None:
        baseline = baseline_of(problem, job, choice.lane, decision.window)
    return Words(_message(problem, job, choice, decision, ranked), ranked, baseline)


def candidates_of(problem: Problem, job: int, choice: Choice | None) -> tuple[Candidate, ...]:
    """Every spoke: the chosen first, then by score, then the filtered by name."""
    windows = windows_of(problem, job)
    free = _free_for(problem, job, choice, windows)
    by_cluster: dict[str, list[int]] = {}
    for row, lane in enumerate(problem.lanes.lanes):
        by_cluster.setdefault(lane.cluster, []).append(row)
    candidates = [_candidate(problem, job, lanes, choice, windows, free) for lanes in by_cluster.values()]
    return tuple(sorted(candidates, key=_rank))


def _free_for(problem: Problem, job: int, choice: Choice | None, windows: Windows) -> BoolArray:
    """What is free to this job when all others have their places; shape (lanes, starts)."""
    if choice is None:
        return has_room(problem, job, windows, problem.capacity)
    rows = rows_of(problem, job, choice.lane)
    first, end = slots_of_window(problem, job, choice.lane, choice.start)
    gpus = int(problem.terms.gpus[job, choice.lane])
    problem.capacity.take(rows, -gpus, first, end)
    free = has_room(problem, job, windows, problem.capacity)
    problem.capacity.take(rows, gpus, first, end)
    return free


def _rank(candidate: Candidate) -> tuple[int, float, str]:
    order = {Verdict.CHOSEN: 0, Verdict.FEASIBLE: 1, Verdict.FILTERED: 2}
    return (
        order[candidate.verdict],
        candidate.window.score_usd if candidate.window else 0.0,
        candidate.cluster,
    )


def _candidate(
    problem: Problem, job: int, lanes: list[int], choice: Choice | None, windows: Windows, free: BoolArray
) -> Candidate:
    """One spoke: its best lane and window, or the rule that filtered it."""
    if choice is not None and choice.lane in lanes:
        window = window_at(problem, job, choice.lane, segment_of(problem, job, choice.lane, choice.start))
        return _seen(problem, job, choice.lane, Verdict.CHOSEN, "Chosen", describe(window), window)
    found = _best_of(lanes, choice, windows, free)
    if found is None:
        refusal = min((_refusal(problem, job, lane, windows, free) for lane in lanes), key=_least_general)
        return _seen(problem, job, lanes[0], Verdict.FILTERED, refusal.reason, refusal.message, None)
    lane, start = found
    window = window_at(problem, job, lane, segment_of(problem, job, lane, start))
    return _seen(problem, job, lane, Verdict.FEASIBLE, "HigherScore", describe(window), window)


def _best_of(lanes: list[int], choice: Choice | None, windows: Windows, free: BoolArray) -> tuple[int, int] | None:
    is_late = choice is not None and choice.is_late
    usable = ((windows.late if is_late else windows.open) & free)[lanes]
    if not usable.any():
        return None
    masked = np.where(usable, windows.scores[lanes], np.inf)
    start, row = divmod(int(np.argmin(masked.T)), len(lanes))
    return lanes[row], start


def _seen(
    problem: Problem, job: int, lane: int, verdict: Verdict, reason: str, message: str, window: Window | None
) -> Candidate:
    """A candidate with what is known of its grid now."""
    facts = problem.lanes.lanes[lane].spoke.facts
    grid = problem.carbon[problem.jobs[job].spec.signal]
    forecast = grid.forecasts[grid.zones[facts.zone]]
    if forecast is None:
        return Candidate(facts.name, verdict, reason, message, window, source="none", link="none")
    row, minute = grid.zones[facts.zone], problem.line.now_minute
    now = float(grid.total[row, minute + 1] - grid.total[row, minute]) * RESOLUTION
    return Candidate(
        facts.name,
        verdict,
        reason,
        message,
        window,
        now,
        forecast.source,
        forecast.link,
        forecast.observed_at,
    )


_GENERAL = ("SpotNotAllowed", "GpuType", "GpuMemory", "GpuCount", "NoPrice")


def _least_general(refusal: Refusal) -> int:
    """Of the refusals of a spoke's lanes, the one that says most: a lane that came furthest."""
    return _GENERAL.index(refusal.reason) + 1 if refusal.reason in _GENERAL else 0


def _refusal(problem: Problem, job: int, lane: int, windows: Windows, free: BoolArray) -> Refusal:
    """Why a lane has no window for a job: the first rule that leaves none."""
    for refusal in problem.admission.refusals(problem.jobs[job], problem.lanes.lanes[lane]):
        return refusal
    facts, spec = problem.lanes.lanes[lane].spoke.facts, problem.jobs[job].spec
    if not problem.known[spec.signal][lane]:
        why = problem.snapshot.signal_problems.get(facts.zone, "no source gives a value that is fresh enough")
        return Refusal("NoSignal", f"The carbon intensity of zone {facts.zone} is not known: {why}.")
    if not fits_horizon(problem, job)[lane]:
        days = problem.snapshot.assumptions.longest_run.days
        return Refusal("RunTooLong", f"The run would take more than {days} days here; split it or use faster GPUs.")
    return _dynamic_refusal(problem, job, lane, windows, free)


def _dynamic_refusal(problem: Problem, job: int, lane: int, windows: Windows, free: BoolArray) -> Refusal:
    name, spec = problem.lanes.lanes[lane].cluster, problem.jobs[job].spec
    minutes = int(problem.terms.minutes[job, lane])
    earliest = problem.line.start_minutes[min(problem.earliest_start(job), problem.line.starts - 1)]
    if earliest + minutes > problem.deadline_minute(job):
        end = problem.line.moment(int(earliest) + minutes)
        deadline = problem.limits[job].deadline
        return Refusal(
            "DeadlineUnreachable",
            f"A run here takes {_hours(minutes)} with start-up and would end {_time(end)} at the earliest, "
            f"after the deadline {_time(deadline) if deadline else ''}.",
        )
    limit = spec.objective.max_cost_usd
    if limit is not None and windows.usd[lane].min() > limit:
        return Refusal("CostLimit", f"It would cost {windows.usd[lane].min():.2f} USD; the limit is {limit:.2f} USD.")
    budget = spec.objective.carbon_budget_kg
    if budget is not None and windows.grams[lane].min() > budget * 1000:
        least = windows.grams[lane].min()
        return Refusal("CarbonBudget", f"It would emit {least:,.0f} g at the least; the job's budget is {budget:g} kg.")
    if not within_purse(problem, job, windows)[lane].any():
        return _purse_refusal(problem, job)
    gpus = int(problem.terms.gpus[job, lane])
    if not ((windows.open | windows.late) & free)[lane].any():
        return Refusal(
            "NoCapacity",
            f"{name} never has {_gpus(gpus)} free for {_hours(minutes)} in the time that is weighed.",
        )
    return Refusal("NotInTime", f"{name} has {_gpus(gpus)} free only after the job's latest start.")


def _purse_refusal(problem: Problem, job: int) -> Refusal:
    names = ", ".join(problem.purses[i].policy.metadata.name for i in problem.purse_rows(job))
    return Refusal("BudgetExhausted", f"This month's budget of policy {names} has no room for the job.")


def describe(window: Window) -> str:
    """A window in one sentence: when, how clean, how much, what it costs."""
    return (
        f"{_span(window)} on {_gpus(window.gpus)} of {window.pool}{' (spot)' if window.spot else ''}: "
        f"{window.grams_co2e:,.0f} gCO2e at {window.grams_per_kwh:.0f} g/kWh, {window.cost_usd:,.2f} USD."
    )


def _span(window: Window) -> str:
    parts = f" in {len(window.segments)} parts" if len(window.segments) > 1 else ""
    return f"{_time(window.start)} to {_time(window.end)}{parts}"


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _hours(minutes: float) -> str:
    hours, rest = divmod(round(minutes), 60)
    return f"{hours} h {rest} min" if rest and hours else f"{hours} h" if hours else f"{rest} min"


def _message(
    problem: Problem, job: int, choice: Choice | None, decision: Decision, candidates: tuple[Candidate, ...]
) -> str:
    if choice is None or decision.window is None:
        return _blocked_message(problem, job, decision, candidates)
    return " ".join(part for part in _sentences(problem, job, choice, decision, candidates) if part)


def _sentences(
    problem: Problem, job: int, choice: Choice, decision: Decision, candidates: tuple[Candidate, ...]
) -> list[str]:
    window = decision.window
    assert window is not None  # noqa: S101 - the caller looked
    here = f"{_gpus(window.gpus)} of {window.cluster}/{window.pool}{' (spot)' if window.spot else ''}"
    figures = f"{window.grams_co2e:,.0f} gCO2e at {window.grams_per_kwh:.0f} g/kWh, {window.cost_usd:,.2f} USD"
    verb = "Starts now" if choice.start == 0 else f"Starts {_time(window.start)}"
    return [
        f"{verb} on {here}, ends {_time(window.end)}: {figures}.",
        _signal_note(problem, job),
        _why_then(problem, job, choice, decision),
        _why_there(candidates),
        decision.review_reason,
    ]


def _signal_note(problem: Problem, job: int) -> str:
    if not is_signal_lost(problem, job):
        return ""
    action = problem.jobs[job].spec.schedule.on_signal_loss.action.value
    stand_in = problem.snapshot.assumptions.signal_loss_grams_per_kwh
    return (
        f"No source knows the grid of any spoke that is allowed, so the job's own rule holds "
        f"({action}); {stand_in:.0f} g/kWh stand in for what is not known."
    )


def _why_then(problem: Problem, job: int, choice: Choice, decision: Decision) -> str:
    if choice.is_late:
        return "No GPUs were free before the job's latest start; this is the first time that they are."
    if is_signal_lost(problem, job) or decision.window is None:
        return ""
    if choice.start == 0:
        return _why_now(problem, job, choice, decision.window)
    now = window_at(problem, job, choice.lane, segment_of(problem, job, choice.lane, 0))
    saved = now.grams_co2e - decision.window.grams_co2e
    if problem.earliest_start(job) > 0:
        return f"It may not start before {_time(problem.limits[job].earliest)}."
    percent = f" ({100 * saved / now.grams_co2e:.0f} %)" if now.grams_co2e else ""
    gate = _gate_note(problem, job, choice)
    return (
        f"At once it would be {now.grams_co2e:,.0f} g at {now.grams_per_kwh:.0f} g/kWh here; "
        f"waiting saves {saved:,.0f} g{percent}.{gate}"
    )


def _gate_note(problem: Problem, job: int, choice: Choice) -> str:
    if not problem.limits[job].is_gated:
        return ""
    return f" Its threshold here is {gate_of(problem, job)[choice.lane]:.0f} g/kWh."


def _why_now(problem: Problem, job: int, choice: Choice, window: Window) -> str:
    last = min(problem.latest_start(job), problem.line.starts - 1)
    if last <= 0:
        return "It does not wait: its delay is used up or it has none."
    windows = windows_of(problem, job)
    later = windows.open[choice.lane, 1:]
    if not later.any():
        return "No later start is open to it."
    start = 1 + int(np.argmin(np.where(later, windows.scores[choice.lane, 1:], np.inf)))
    other = window_at(problem, job, choice.lane, segment_of(problem, job, choice.lane, start))
    return (
        f"Waiting would not better it: the best later start until {_time(problem.limits[job].latest)} is "
        f"{_time(other.start)} with {other.grams_co2e:,.0f} g at {other.grams_per_kwh:.0f} g/kWh."
    )


def _why_there(candidates: tuple[Candidate, ...]) -> str:
    chosen = candidates[0].window
    other = next((c for c in candidates[1:] if c.window is not None), None)
    if other is None or other.window is None or chosen is None:
        return "No other spoke is open to it." if len(candidates) > 1 else ""
    window = other.window
    return (
        f"Next best is {other.cluster} at {_time(window.start)}: {window.grams_co2e:,.0f} g, "
        f"{window.cost_usd:,.2f} USD (score {window.score_usd:.4f} beside {chosen.score_usd:.4f} USD)."
    )


def _blocked_message(problem: Problem, job: int, decision: Decision, candidates: tuple[Candidate, ...]) -> str:
    if not candidates:
        return "The fleet has no spoke. Join one with `carbonfleet spoke join`."
    counts = Counter(candidate.reason for candidate in candidates)
    summary = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items(), key=lambda kv: (-kv[1], kv[0])))
    first = candidates[0]
    head = "Waits: no GPUs are free" if decision.outcome is Outcome.WAIT else "No spoke can take the job"
    if is_signal_lost(problem, job):
        head = "Waits: the carbon intensity is known nowhere that it may go, and the job asked to wait then"
    return f"{head} ({summary}). For example {first.cluster}: {first.message}"
