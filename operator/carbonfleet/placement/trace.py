"""Every spoke as seen for one job in the finished plan: its best window there, or the rule that filtered it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Final

import numpy as np

from carbonfleet.api.job import Goal
from carbonfleet.placement import phrase
from carbonfleet.placement.careful import cut_is_worth, has_room, within_purse
from carbonfleet.placement.choice import Choice, rows_of, segments_of, slots_of, spend
from carbonfleet.placement.decision import Candidate, Verdict, Window
from carbonfleet.placement.grid import RESOLUTION, Segments
from carbonfleet.placement.interrupt import on_lanes, slots_for
from carbonfleet.placement.measure import window_at, windows_at
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.rules import BoolArray, Refusal
from carbonfleet.placement.wait import worth_waiting
from carbonfleet.placement.weigh import Windows, fits_horizon, gate_of, windows_of


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One job in the finished plan, with all other jobs in their places."""

    problem: Problem
    job: int
    choice: Choice | None
    windows: Windows
    free: BoolArray
    """Shape (lanes, starts)."""
    affordable: BoolArray
    """Within the monthly budgets, shape (lanes, starts)."""
    cuts: dict[int, Choice]
    """For a job that may be interrupted: its best cut on each lane, where that is worth its pauses."""


def view_of(problem: Problem, job: int, choice: Choice | None) -> View:
    """Look at the plan with a job's eyes: its own GPUs count as free to it."""
    windows = windows_of(problem, job)
    with _given_back(problem, job, choice):
        free = has_room(problem, job, windows, problem.capacity.runs)
        affordable = within_purse(problem, job, windows)
        cuts = _cuts(problem, job) if _is_cut(problem, job) else {}
    free &= affordable
    cuts = {lane: cut for lane, cut in cuts.items() if _is_worth_here(problem, job, cut, windows, free)}
    return View(problem, job, choice, windows, free, affordable, cuts)


def _is_worth_here(problem: Problem, job: int, cut: Choice, windows: Windows, free: BoolArray) -> bool:
    """Whether a cut is worth its pauses, were there that lane alone."""
    usable = np.zeros_like(free)
    usable[cut.lane] = windows.open[cut.lane] & free[cut.lane]
    return cut_is_worth(problem, job, cut, windows, usable)


def _is_cut(problem: Problem, job: int) -> bool:
    incumbent = problem.jobs[job].incumbent
    runs = incumbent is not None and incumbent.running
    return problem.jobs[job].spec.schedule.interruptible is not None and not runs


def _cuts(problem: Problem, job: int) -> dict[int, Choice]:
    lanes = np.arange(len(problem.lanes))
    return {choice.lane: choice for choice in on_lanes(problem, job, slots_for(problem, job), lanes)}


@contextmanager
def _given_back(problem: Problem, job: int, choice: Choice | None) -> Iterator[None]:
    """The finished plan without this job."""
    if choice is None:
        yield
        return
    taken, rows = list(slots_of(problem, job, choice)), rows_of(problem, job, choice.lane)
    gpus = int(problem.demand.of(job).gpus[choice.lane])
    purses = [problem.purses[index] for index in problem.purse_rows(job)]
    before = [(purse.carbon_kg, purse.gpu_hours) for purse in purses]
    for first, end in taken:
        problem.capacity.take(rows, -gpus, first, end)
    if purses:
        window = window_at(problem, job, choice.lane, segments_of(problem, job, choice))
        spend(problem, job, choice, window.grams_co2e, sign=-1)
    yield
    for first, end in taken:
        problem.capacity.take(rows, gpus, first, end)
    for purse, (carbon_kg, gpu_hours) in zip(purses, before, strict=True):
        purse.carbon_kg, purse.gpu_hours = carbon_kg, gpu_hours


def candidates_of(view: View) -> tuple[Candidate, ...]:
    """Every spoke: the chosen first, then by score, then the filtered by name."""
    by_cluster: dict[str, list[int]] = {}
    for row, lane in enumerate(view.problem.lanes.lanes):
        by_cluster.setdefault(lane.cluster, []).append(row)
    windows = _best_windows(view, list(by_cluster.values()))
    ranked = sorted(map(_candidate, repeat(view), by_cluster.values(), windows), key=_rank)
    return tuple(_compared(view, candidate, ranked) for candidate in ranked)


def _compared(view: View, candidate: Candidate, ranked: Sequence[Candidate]) -> Candidate:
    """A candidate with a window says how it compares with the chosen one."""
    window, chosen = candidate.window, ranked[0].window
    if window is None or chosen is None or ranked[0].verdict is not Verdict.CHOSEN:
        return candidate
    goal, objective = view.problem.demand.goal(view.job), view.problem.jobs[view.job].spec.objective
    if candidate.verdict is not Verdict.CHOSEN:
        if candidate.reason == NOT_WORTH:
            return replace(candidate, message=f"{phrase.difference(window, chosen)}: too little for so long a wait.")
        message = phrase.beside(window, chosen, goal, objective.carbon_price_usd_per_tonne)
        return replace(candidate, message=message)
    open_to_it = sum(other.window is not None for other in ranked)
    best = _BEST[goal] if not (view.choice and view.choice.kept) else "Where it was planned before"
    return replace(
        candidate, message=f"{best} of {open_to_it} spokes." if open_to_it > 1 else "The only spoke open to it."
    )


NOT_WORTH: Final = "NotWorthTheWait"


_BEST = {
    Goal.CARBON: "The least carbon",
    Goal.COST: "The lowest cost",
    Goal.COMPOSITE: "The least cost and carbon together",
}
"""Of what a job may minimise, the best."""


def _rank(candidate: Candidate) -> tuple[int, float, str]:
    order = {Verdict.CHOSEN: 0, Verdict.FEASIBLE: 1, Verdict.FILTERED: 2}
    score = candidate.window.score_usd if candidate.window else 0.0
    return order[candidate.verdict], score, candidate.cluster


def _candidate(view: View, lanes: list[int], best: tuple[int, Window, float] | None) -> Candidate:
    choice = view.choice
    if choice is not None and choice.lane in lanes:
        window = window_at(view.problem, view.job, choice.lane, segments_of(view.problem, view.job, choice))
        return _seen(view, choice.lane, Verdict.CHOSEN, "Chosen", phrase.describe(window), window)
    cuts = [view.cuts[lane] for lane in lanes if lane in view.cuts]
    if cuts:
        cut = min(cuts, key=lambda c: (c.score, c.start, c.lane))
        best = cut.lane, window_at(view.problem, view.job, cut.lane, cut.segments), cut.score
    if best is not None:
        lane, window, score = best
        could_wait = choice is not None and score < choice.score and not (choice.kept or choice.is_late)
        reason = NOT_WORTH if could_wait else "HigherScore"
        return _seen(view, lane, Verdict.FEASIBLE, reason, phrase.describe(window), window)
    refusal = min((refusal_of(view, lane) for lane in lanes), key=_least_general)
    return _seen(view, lanes[0], Verdict.FILTERED, refusal.reason, refusal.message, None)


def _best_windows(view: View, spokes: list[list[int]]) -> list[tuple[int, Window, float] | None]:
    """For the lanes of each spoke: the best of the free unbroken windows that do not begin too late, lane and score.

    It is worth its wait, were there that spoke alone.
    """
    windows, is_late = view.windows, view.choice is not None and view.choice.is_late
    usable = (windows.late if is_late else windows.open) & view.free
    if not is_late:
        gain = view.problem.gain_per_start(view.job)
        for lanes in spokes:
            usable[lanes] = worth_waiting(windows.scores[lanes], usable[lanes], gain)
    masked = np.where(usable, windows.scores, np.inf)
    starts, least = masked.argmin(axis=1).tolist(), masked.min(axis=1, initial=np.inf).tolist()
    best = [min(lanes, key=lambda lane: (least[lane], starts[lane], lane)) for lanes in spokes]
    open_lanes = [lane for lane in best if least[lane] < np.inf]
    jobs, begins = [view.job] * len(open_lanes), [starts[lane] for lane in open_lanes]
    found = dict(zip(open_lanes, windows_at(view.problem, jobs, open_lanes, begins), strict=True))
    return [(lane, found[lane], least[lane]) if lane in found else None for lane in best]


def piece(view: View, lane: int, start: int) -> Segments:
    """The minutes of an unbroken run."""
    return segments_of(view.problem, view.job, Choice(lane, start, 0.0))


def _seen(view: View, lane: int, verdict: Verdict, reason: str, message: str, window: Window | None) -> Candidate:
    """A candidate with what is known of its grid now."""
    problem, place = view.problem, view.problem.lanes.lanes[lane]
    facts = place.spoke.facts
    price_source = place.spoke.price_sources.get((place.pool.name, place.spot), "") if window else ""
    grid = problem.carbon[problem.jobs[view.job].spec.signal]
    row, minute = grid.zones[facts.zone], problem.line.now_minute
    forecast = grid.forecasts[row]
    if forecast is None:
        return Candidate(
            facts.name, verdict, reason, message, window, source="none", link="none", price_source=price_source
        )
    now = float(grid.total[row, minute + 1] - grid.total[row, minute]) * RESOLUTION
    known = now, forecast.source, forecast.link, forecast.observed_at
    return Candidate(facts.name, verdict, reason, message, window, *known, price_source=price_source)


_GENERAL = ("SpotNotAllowed", "GpuType", "GpuMemory", "GpuCount", "NoPrice")


def _least_general(refusal: Refusal) -> int:
    """Of the refusals of a spoke's lanes, the one that says most: a lane that came furthest."""
    return _GENERAL.index(refusal.reason) + 1 if refusal.reason in _GENERAL else 0


def refusal_of(view: View, lane: int) -> Refusal:
    """Why a lane has no window for a job: the first rule that leaves none."""
    problem, job = view.problem, view.job
    for refusal in problem.admission.refusals(problem.jobs[job], problem.lanes.lanes[lane]):
        return refusal
    zone, signal = problem.lanes.lanes[lane].spoke.facts.zone, problem.jobs[job].spec.signal
    if not problem.known[signal][lane]:
        why = problem.snapshot.signal_problems.get(zone, "no source gives a value that is fresh enough")
        return Refusal("NoSignal", f"The carbon intensity of zone {zone} is not known: {why}.")
    if not fits_horizon(problem, job)[lane]:
        days = problem.snapshot.assumptions.longest_run.days
        return Refusal("RunTooLong", f"The run would take more than {days} days here; use faster GPUs or split it.")
    return next(r for rule in _LIMITS if (r := rule(view, lane)) is not None)


def _deadline(view: View, lane: int) -> Refusal | None:
    problem, job = view.problem, view.job
    minutes = int(problem.demand.of(job).minutes[lane])
    earliest = problem.line.start_minutes[min(problem.earliest_start(job), problem.line.starts - 1)]
    deadline = problem.limits[job].deadline
    if deadline is None or earliest + minutes <= problem.deadline_minute(job):
        return None
    end = problem.line.moment(int(earliest) + minutes)
    return Refusal(
        "DeadlineUnreachable",
        f"A run here takes {phrase.hours(minutes)} with start-up and would end {phrase.time(end)} at the "
        f"earliest, after the deadline {phrase.time(deadline)}.",
    )


def _cost(view: View, lane: int) -> Refusal | None:
    limit, least = view.problem.jobs[view.job].spec.objective.max_cost_usd, view.windows.usd[lane].min()
    if limit is None or least <= limit:
        return None
    return Refusal("CostLimit", f"It would cost {least:.2f} USD; the job's limit is {limit:.2f} USD.")


def _carbon(view: View, lane: int) -> Refusal | None:
    budget = view.problem.jobs[view.job].spec.objective.carbon_budget_kg
    least = view.windows.grams[lane].min()
    if budget is None or least <= budget * 1000:
        return None
    return Refusal(
        "CarbonBudget", f"It would emit {phrase.grams(least)} at least; the job's budget is {budget:g} kgCO2e."
    )


def _budget(view: View, lane: int) -> Refusal | None:
    if view.affordable[lane].any():
        return None
    names = ", ".join(view.problem.purses[i].policy.metadata.name for i in view.problem.purse_rows(view.job))
    return Refusal("BudgetExhausted", f"This month's budget of policy {names} has no room for the job.")


def _threshold(view: View, lane: int) -> Refusal | None:
    """The job starts below its threshold elsewhere, and here the grid stays above it."""
    windows = view.windows
    if windows.open[lane].any() or not (windows.above & view.free)[lane].any():
        return None
    gate = gate_of(view.problem, view.job)[lane]
    until = phrase.time(view.problem.limits[view.job].latest)
    return Refusal(
        "AboveThreshold", f"No start until {until} is forecast at {phrase.intensity(float(gate))} or less here."
    )


def _capacity(view: View, lane: int) -> Refusal:
    name, gpus = view.problem.lanes.lanes[lane].cluster, int(view.problem.demand.of(view.job).gpus[lane])
    length = phrase.hours(float(view.problem.demand.of(view.job).minutes[lane]))
    if ((view.windows.open | view.windows.above | view.windows.late) & view.free)[lane].any():
        return Refusal("NotInTime", f"{name} has {phrase.gpus(gpus)} free only after the job's latest start.")
    message = f"{name} never has {phrase.gpus(gpus)} free for {length} in the time that is weighed."
    return Refusal("NoCapacity", message)


_LIMITS = (_deadline, _cost, _carbon, _budget, _threshold, _capacity)
"""In the order in which they are named; the last always has something to say."""
