"""The best choice for one job, whatever it asks for, by weighing all its windows."""

from collections.abc import Callable
from typing import Final

import numpy as np

from carbonfleet.api.policy import Goal
from carbonfleet.placement.inputs import BoolArray, CapacityRuns, IntArray, Runs
from carbonfleet.placement.plan_inputs import PlanInputs
from carbonfleet.placement.search.choice import Choice, quota_rows, segments_of, slots_of, spend, take
from carbonfleet.placement.search.figures import window_at
from carbonfleet.placement.search.interruptible import segmented
from carbonfleet.placement.search.limits import EVERY
from carbonfleet.placement.search.running_jobs import as_paused, choice_for_paused, choice_for_running, promised
from carbonfleet.placement.search.windows import Windows, cost_ceiling, first_usable, least, windows_of

SAME_USD: Final = 0.005
"""To cost, windows within half a cent of the cheapest cost the same."""
SAME_SHARE: Final = 0.002
"""To cost and carbon together, windows within this share of the least, where prices change by the hour: of them the
earlier, lest every hair of a new price moves a start."""
RunsOf = Callable[[IntArray, IntArray], Runs]
"""For rows of capacity and GPUs: from each slot on, how many slots have these free."""


def best_choice(inputs: PlanInputs, job: int, capacity: CapacityRuns) -> Choice | None:
    """Weigh all windows of one job, whatever it asks for, and take the best.

    Below its threshold first. Where no such window is open and free within its delay, waiting for one would end on
    whatever grid there is at the end: then it gives the threshold up and takes the cleanest window of its delay.
    """
    incumbent, is_gated = inputs.jobs[job].incumbent, inputs.limits[job].is_gated
    if is_gated:
        inputs.demand.mind_carbon_alone(job, False)
    if incumbent is not None and incumbent.running:
        choice = choice_for_running(inputs, job, capacity)
    else:
        choice = _to_begin(inputs, job, capacity)
        if is_gated and (choice is None or choice.is_late):
            inputs.demand.mind_carbon_alone(job, True)
            choice = _to_begin(inputs, job, capacity)
    if choice is not None:
        hold(inputs, job, choice, capacity)
    return choice


def _to_begin(inputs: PlanInputs, job: int, capacity: CapacityRuns) -> Choice | None:
    """The best choice for a job that does not run: in one piece where it can't be cut."""
    queued = inputs.jobs[job]
    if queued.incumbent is not None and queued.incumbent.paused:
        return choice_for_paused(inputs, job) or as_paused(inputs, job, in_one_piece(inputs, job, capacity))
    if queued.spec.schedule.interruptible is None:
        return in_one_piece(inputs, job, capacity)
    windows = windows_of(inputs, job)
    usable = windows.open & free_windows(inputs, job, windows, capacity.runs_of)
    cut = segmented(inputs, job, cost_ceiling(inputs, job, windows.figures.usd, usable))
    if cut is None or (inputs.gain_per_start(job) and not cut_is_worth(inputs, job, cut, windows, usable)):
        return in_one_piece(inputs, job, capacity)
    return cut


def cut_is_worth(inputs: PlanInputs, job: int, cut: Choice, windows: Windows, usable: BoolArray) -> bool:
    """Whether a cut run is no worse than the best usable window, with what ending later must gain.

    It is as late as it ends later than a run without a pause that begins at the first start would.
    """
    best = least(windows.scores, usable)
    end = inputs.line.begin(windows.first) + int(inputs.demand.of(job).minutes[cut.option])
    later = max(0, cut.segments[-1][1] - end) / inputs.line.slot_minutes
    return best is None or cut.score + float(windows.delay.per_start[windows.row(cut.option)]) * later <= best[0]


def hold(inputs: PlanInputs, job: int, choice: Choice, capacity: CapacityRuns, sign: int = 1) -> None:
    """Reserve a choice's GPUs and draw on the budgets; sign -1 gives both back."""
    take(inputs, job, choice, capacity, sign)
    if inputs.budget_rows(job):
        window = window_at(inputs, job, choice.option, segments_of(inputs, job, choice))
        spend(inputs, job, choice, window.grams_co2e, sign)


def fits_budgets(inputs: PlanInputs, job: int, choice: Choice, capacity: CapacityRuns) -> bool:
    """Whether the quotas and monthly budgets of the job's policies have room for a choice."""
    gpus = int(inputs.demand.of(job).gpus[choice.option])
    slots = list(slots_of(inputs, job, choice))
    if not all(capacity.fits(row, gpus, first, end) for row in quota_rows(inputs, job) for first, end in slots):
        return False
    window = window_at(inputs, job, choice.option, segments_of(inputs, job, choice))
    hours = gpus * float(inputs.demand.of(job).minutes[choice.option]) / 60
    budgets = [inputs.remaining_budgets[index] for index in inputs.budget_rows(job)]
    return all(window.grams_co2e <= budget.carbon_kg * 1000 and hours <= budget.gpu_hours for budget in budgets)


def in_one_piece(inputs: PlanInputs, job: int, capacity: CapacityRuns) -> Choice | None:
    """The best window that is worth its wait, or where the job was planned already."""
    windows = windows_of(inputs, job)
    free = free_windows(inputs, job, windows, capacity.runs_of)
    usable = windows.open & free
    if (most_usd := cost_ceiling(inputs, job, windows.figures.usd, usable)) < np.inf:
        usable &= windows.figures.usd <= most_usd

    def planned(option: int, start: int) -> Choice | None:
        fit = start < inputs.line.starts and usable[option, start]
        return Choice(option, start, float(windows.scores[option, start])) if fit else None

    def waiting(choice: Choice) -> float:
        return float(windows.delay.per_start[choice.option]) * (choice.start - windows.first)

    found = best_window(inputs, job, windows, usable)
    best = planned(*found) if found is not None else _late(windows, free)
    return promised(inputs, job, best, planned, waiting)


def best_window(inputs: PlanInputs, job: int, windows: Windows, usable: BoolArray) -> tuple[int, int] | None:
    """Row and start of the least score; a job that prefers among equals gets the best of those that count as equal.

    To carbon they are within a share of the least: of them the cheaper is taken, then the earlier. To cost they are
    within SAME_USD of the cheapest: of them the cleaner, by the same share and with what its delay must gain in
    carbon, then the earlier.
    """
    found = least(windows.scores, usable)
    if found is None:
        return None
    score, start, option = found
    if inputs.demand.goal(job) is Goal.COMPOSITE and (inputs.admitted[job] & inputs.prices.has_hours).any():
        equal = np.where(usable & (windows.scores <= score * (1 + SAME_SHARE)), windows.scores, np.inf)
        start = first_usable(np.isfinite(equal))
        return int(equal[:, start].argmin()), start
    if not prefers_among_equals(inputs, job):
        return option, start
    cents, weighed = np.round(windows.figures.usd, 2), windows.scores
    if inputs.demand.goal(job) is Goal.COST:
        # By difference, not by rounded amounts: prices next to half a cent would part equal windows.
        usable = usable & (windows.figures.usd < windows.figures.usd[option, start] + SAME_USD)
        cents = np.zeros_like(cents)
        grams = windows.figures.grams
        later = np.maximum(np.arange(inputs.line.starts) - windows.first, 0)
        weighed = grams + inputs.gain_per_start(job) * grams[:, [windows.first]] * later
        score = float(weighed.min(where=usable, initial=np.inf))
    equal = usable & (weighed <= score * (1 + inputs.snapshot.assumptions.equal_share))
    if inputs.is_signal_lost(job):
        equal[:, start + 1 :] = False  # its own rule says when
    usd = np.where(equal, cents, np.inf)
    start = int(usd.min(axis=0).argmin())
    return int(usd[:, start].argmin()), start


def prefers_among_equals(inputs: PlanInputs, job: int) -> bool:
    """Whether a job takes the cheaper of windows with nearly the same carbon, or the cleaner of those at one cost.

    One that minds carbon and has a place keeps to the rule for places.
    """
    goal = inputs.demand.goal(job)
    is_new = bool(inputs.snapshot.assumptions.equal_share) and inputs.jobs[job].incumbent is None
    return goal is Goal.COST or (goal is Goal.CARBON and is_new)


def _late(windows: Windows, free: BoolArray) -> Choice | None:
    """With nothing free on time: the earliest start after it."""
    late = windows.late & free
    start = first_usable(late)
    if start < 0:
        return None
    option = int(np.argmin(np.where(late[:, start], windows.scores[:, start], np.inf)))
    return Choice(option, start, float(windows.scores[option, start]), is_late=True)


def free_windows(inputs: PlanInputs, job: int, windows: Windows, runs_of: RunsOf) -> BoolArray:
    """Where there is room, and the monthly budgets allow it; shape (options, starts)."""
    return has_capacity(inputs, job, windows, runs_of) & within_budgets(inputs, job, windows)


def has_capacity(inputs: PlanInputs, job: int, windows: Windows, runs_of: RunsOf) -> BoolArray:
    """Where enough GPUs are free all along, and no quota is overdrawn; shape (options, starts)."""
    options, gpus = windows.options, inputs.demand.of(job).gpus[windows.options]
    fits = windows.fit(runs_of(inputs.options.capacity_row[options], gpus))
    for row in quota_rows(inputs, job):
        fits &= windows.fit(runs_of(np.full(options.size, row), gpus))
    return fits


def within_budgets(inputs: PlanInputs, job: int, windows: Windows) -> BoolArray:
    """Where the monthly budgets of the job's policies still have room; shape (options, starts), or broadcasts to it."""
    within = EVERY
    terms, options = inputs.demand.of(job), windows.options
    for index in inputs.budget_rows(job):
        remaining_budget = inputs.remaining_budgets[index]
        hours = terms.gpus[options] * terms.minutes[options] / 60.0
        within = within & (windows.figures.grams <= remaining_budget.carbon_kg * 1000)
        within &= (hours <= remaining_budget.gpu_hours)[:, None]
    return within
