"""One job in the finished plan: its windows on the spokes that may be shown, and why an option has none for it."""

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np

from carbonfleet.api.policy import Goal
from carbonfleet.placement import phrase
from carbonfleet.placement.inputs import MINUTE, BoolArray, Capacity, IntArray
from carbonfleet.placement.plan_inputs import PlanInputs
from carbonfleet.placement.rules import Refusal
from carbonfleet.placement.search.best_choice import best_window, cut_is_worth, has_capacity, within_budgets
from carbonfleet.placement.search.choice import Choice, rows_of, segments_of, slots_of, spend
from carbonfleet.placement.search.fast_windows import NOWHERE, WindowSearch
from carbonfleet.placement.search.figures import window_at
from carbonfleet.placement.search.interruptible import on_options, slots_for
from carbonfleet.placement.search.limits import LIMITS, gate_of
from carbonfleet.placement.search.window_index import WindowIndex
from carbonfleet.placement.search.windows import Windows, cost_ceiling, fits_horizon, least, windows_of


@dataclass(frozen=True, eq=False)
class JobContext:
    """One job in the finished plan, with all other jobs in their places: its windows on some options."""

    inputs: PlanInputs
    job: int
    choice: Choice | None
    windows: Windows
    free: BoolArray
    """There is room in capacity and budgets, shape (options, starts)."""
    affordable: BoolArray
    """Within the monthly budgets, shape (options, starts) or (1, 1)."""
    most_usd: float
    """What the job's cost tolerance allows beside the cheapest free window."""
    cuts: dict[int, Choice]
    """For a job that may be interrupted: its best cut on each option, where that is worth its pauses."""

    @cached_property
    def usable(self) -> BoolArray:
        """Open and free, shape (options, starts)."""
        return self.windows.open & self.free

    @cached_property
    def eligible(self) -> BoolArray:
        """Open, free and within the job's cost tolerance, shape (options, starts)."""
        return self.usable & (self.windows.figures.usd <= self.most_usd) if self.most_usd < np.inf else self.usable

    @cached_property
    def best(self) -> tuple[float, int, int] | None:
        """Score, start and row of the best eligible window."""
        return least(self.windows.scores, self.eligible)

    @cached_property
    def cleanest(self) -> tuple[float, int, int] | None:
        """The same, whatever a delay must gain."""
        return least(self.windows.bare, self.eligible)

    @cached_property
    def own_bare(self) -> float:
        """The choice's score without what its delay must gain; infinite without a choice."""
        choice, windows = self.choice, self.windows
        if choice is None or choice.segments:
            return np.inf if choice is None else choice.score
        return float(windows.bare[windows.row(choice.option), choice.start])

    def until(self, option: int) -> str:
        """How far starts on an option are weighed: to the job's latest, the deadline or the end of the horizon."""
        inputs, limits = self.inputs, self.inputs.limits[self.job]
        ends = [limits.latest, inputs.now + inputs.snapshot.assumptions.horizon]
        if limits.deadline is not None:
            ends.append(limits.deadline - int(inputs.demand.of(self.job).minutes[option]) * MINUTE)
        return phrase.time(min(ends))


def context_of(inputs: PlanInputs, job: int, choice: Choice | None, options: IntArray | None = None) -> JobContext:
    """The plan as a job finds it, on some options or all: its own GPUs count as free to it."""
    inputs = _without(inputs, job, choice)
    windows = windows_of(inputs, job, options)
    affordable = within_budgets(inputs, job, windows)
    free = has_capacity(inputs, job, windows, inputs.capacity.runs) & affordable
    most_usd = cost_ceiling(inputs, job, windows.figures.usd, windows.open & free)
    cuts = _cuts(inputs, job, most_usd) if _is_cut(inputs, job) else {}
    cuts = {option: cut for option, cut in cuts.items() if _is_worth_here(inputs, job, cut, windows, free)}
    return JobContext(inputs, job, choice, windows, free, affordable, most_usd, cuts)


def _without(inputs: PlanInputs, job: int, choice: Choice | None) -> PlanInputs:
    """The finished plan without this job: what it took is free again in a copy."""
    if choice is None:
        return inputs
    capacity = Capacity(inputs.capacity.free.copy())
    budgets = tuple(map(copy, inputs.remaining_budgets))
    inputs = replace(inputs, capacity=capacity, remaining_budgets=budgets)
    gpus, rows = int(inputs.demand.of(job).gpus[choice.option]), rows_of(inputs, job, choice.option)
    for first, end in slots_of(inputs, job, choice):
        capacity.take(rows, -gpus, first, end)
    if inputs.budget_rows(job):
        window = window_at(inputs, job, choice.option, segments_of(inputs, job, choice))
        spend(inputs, job, choice, window.grams_co2e, sign=-1)
    return inputs


def _is_worth_here(inputs: PlanInputs, job: int, cut: Choice, windows: Windows, free: BoolArray) -> bool:
    """Whether a cut is worth its pauses, were there that option alone."""
    usable, row = np.zeros_like(free), windows.row(cut.option)
    usable[row] = windows.open[row] & free[row]
    return cut_is_worth(inputs, job, cut, windows, usable)


def _is_cut(inputs: PlanInputs, job: int) -> bool:
    incumbent = inputs.jobs[job].incumbent
    runs = incumbent is not None and incumbent.running
    return inputs.jobs[job].spec.schedule.interruptible is not None and not runs


def _cuts(inputs: PlanInputs, job: int, most_usd: float) -> dict[int, Choice]:
    options = np.arange(len(inputs.options))
    return {choice.option: choice for choice in on_options(inputs, job, slots_for(inputs, job), options, most_usd)}


NEIGHBOURS: Final = 32
"""Jobs whose bounds are found together, which is faster."""


def near(index: WindowIndex, job: int) -> tuple[WindowSearch, int]:
    """The search for a plain job and some that follow it; and its row there."""
    if job not in index.searches:
        weighing = index.inputs.weighs[index.inputs.jobs[job].spec.signal] & index.plain
        jobs = job + np.flatnonzero(weighing[job : job + NEIGHBOURS])
        index.searches |= dict.fromkeys(jobs.tolist(), WindowSearch(index, jobs))
    search = index.searches[job]
    return search, search.jobs.index(job)


MARGIN: Final = 1.001
"""What is weighed beyond the bounds, which are a hair low."""


@dataclass(frozen=True, slots=True)
class Shortlist:
    """A job on the spokes that may be among its best, and the others."""

    context: JobContext
    best: list[Choice | None]
    """Of each spoke in `spokes` the best window, with its score but for the delay."""
    spokes: IntArray
    """By their place in the order of names: all of them, or those that were weighed."""
    open_beside: int
    """Spokes with a free window for the job that were not weighed: none is better than the last of the best."""


def shortlist(index: WindowIndex, job: int, choice: Choice | None, count: int) -> Shortlist:
    """Weigh a job on its own spoke and those that may be among the `count` best for it beside that.

    Branch and bound: what is weighed proves that the bounds of all others lie above. A job whose windows are masked by
    the hour, or that found nothing in time, is weighed on all.
    """
    options = index.inputs.options
    if choice is None or choice.is_late or not index.plain[job] or options.spokes <= count + 1:
        return _weighed(index, job, choice, np.arange(options.spokes), 0)
    search, row = near(index, job)
    bounds = np.minimum.reduceat(search.bare[row], options.first_of_spoke)
    bounds[options.spoke[choice.option]] = -np.inf
    # The best windows score about what the bounds with what a delay must gain say.
    limit = MARGIN * float(
        np.partition(np.minimum.reduceat(search.unhindered[row], options.first_of_spoke), count)[count]
    )
    while True:
        spokes = np.flatnonzero(bounds <= limit)
        found = _weighed(index, job, choice, spokes, 0)
        if (needed := _proven(found, count)) <= limit:
            beside = (bounds > limit) & (bounds < NOWHERE)
            return Shortlist(found.context, found.best, spokes, _open(index, search, row, beside))
        limit = needed


def _weighed(index: WindowIndex, job: int, choice: Choice | None, spokes: IntArray, beside: int) -> Shortlist:
    options = index.inputs.options
    weighed = np.zeros(options.spokes, dtype=np.bool_)
    weighed[spokes] = True
    rows = np.flatnonzero(weighed[options.spoke])
    context = context_of(index.inputs, job, choice, rows)
    return Shortlist(context, _best_windows(context, spokes), spokes, beside)


def _best_windows(context: JobContext, spokes: IntArray) -> list[Choice | None]:
    """For the options of each spoke: the best free unbroken window in time, with its score but for the delay."""
    windows, is_late = context.windows, context.choice is not None and context.choice.is_late
    usable = windows.late & context.free if is_late else context.eligible
    if context.inputs.demand.goal(context.job) is Goal.COST and not is_late:
        return [_best_on(context, usable, spoke) for spoke in spokes.tolist()]
    masked = np.where(usable, windows.scores, np.inf)
    rows = np.arange(windows.options.size)
    starts = masked.argmin(axis=1)
    least, bare = masked[rows, starts], windows.bare[rows, starts]
    order = np.lexsort((starts, least, context.inputs.options.spoke[windows.options]))
    of_spoke = context.inputs.options.spoke[windows.options[order]]
    first = order[np.searchsorted(of_spoke, spokes)]
    found = zip(windows.options[first].tolist(), starts[first].tolist(), bare[first].tolist(), strict=True)
    return [
        Choice(*each) if open_ else None for each, open_ in zip(found, (least[first] < np.inf).tolist(), strict=True)
    ]


def _best_on(context: JobContext, usable: BoolArray, spoke: int) -> Choice | None:
    """The window of those on a spoke that a job takes which prefers among equals."""
    windows, of_spoke = context.windows, context.inputs.options.spoke[context.windows.options] == spoke
    found = best_window(context.inputs, context.job, windows, usable & of_spoke[:, None])
    if found is None:
        return None
    return Choice(int(windows.options[found[0]]), found[1], float(windows.bare[found]))


def _proven(found: Shortlist, count: int) -> float:
    """Up to which bound spokes must be weighed, so that the best are among them, and the best window of all."""
    choice, best = found.context.choice, found.context.best
    own = found.context.inputs.options.spoke[choice.option] if choice is not None else -1
    scores = sorted(
        one.score
        for spoke, one in zip(found.spokes.tolist(), found.best, strict=True)
        if one is not None and spoke != own
    )
    if len(scores) < count or best is None:
        return NOWHERE
    return max(scores[count - 1], best[0])


def _open(index: WindowIndex, search: WindowSearch, row: int, beside: BoolArray) -> int:
    """How many of some spokes have a free window for a job."""
    options = index.inputs.options
    rows = np.flatnonzero(beside[options.spoke])
    return int(np.unique(options.spoke[rows[search.has_window(row, rows)]]).size)


_GENERAL = ("SpotNotAllowed", "GpuType", "GpuMemory", "GpuCount", "NoPrice")


def _least_general(refusal: Refusal) -> int:
    """Of the refusals of a spoke's options, the one that says most: an option that came furthest."""
    return _GENERAL.index(refusal.reason) + 1 if refusal.reason in _GENERAL else 0


def refusal_of(context: JobContext, option: int) -> Refusal:
    """Why an option has no window for a job: the first rule that leaves none."""
    inputs, job = context.inputs, context.job
    for refusal in inputs.admission.refusals(inputs.jobs[job], option):
        return refusal
    zone, signal = inputs.options.entries[option].spoke.facts.zone, inputs.jobs[job].spec.signal
    if not inputs.known[signal][option]:
        why = inputs.snapshot.signal_problems.get(zone, "no source gives a value that is fresh enough")
        return Refusal("NoSignal", f"The carbon intensity of zone {zone} is not known: {why}.")
    if not fits_horizon(inputs, job)[option]:
        days = inputs.snapshot.assumptions.longest_run.days
        return Refusal("RunTooLong", f"The run would take more than {days} days here; use faster GPUs or split it.")
    row, figures = context.windows.row(option), context.windows.figures
    left = np.arange(inputs.line.starts) <= inputs.last_look(job)
    for limit in LIMITS:
        if (found := limit.why(inputs, job, figures, row, left)) is not None:
            return found
        mask = limit.mask(inputs, job, figures)
        left = left & mask[min(row, len(mask) - 1)]
    return _budget(context, row) or _threshold(context, row) or _tolerance(context, row) or _capacity(context, row)


def _budget(context: JobContext, row: int) -> Refusal | None:
    names = [context.inputs.remaining_budgets[i].policy.metadata.name for i in context.inputs.budget_rows(context.job)]
    if not names or context.affordable[row].any():
        return None
    return Refusal("BudgetExhausted", f"This month's budget of policy {', '.join(names)} has no room for the job.")


def _threshold(context: JobContext, row: int) -> Refusal | None:
    """The job starts below its threshold elsewhere, and here the grid stays above it."""
    windows = context.windows
    if windows.open[row].any() or not (windows.above[row] & context.free[row]).any():
        return None
    option = int(windows.options[row])
    gate = gate_of(context.inputs, context.job)[option]
    most, until = phrase.intensity(float(gate)), context.until(option)
    return Refusal("AboveThreshold", f"No run that starts by {until} is forecast at {most} or less here.")


def _tolerance(context: JobContext, row: int) -> Refusal | None:
    """It is free here, and dearer than the job's cost tolerance allows."""
    usd = float(context.windows.figures.usd[row].min(where=context.usable[row], initial=np.inf))
    if not context.most_usd < usd < np.inf:
        return None
    percent = context.inputs.jobs[context.job].spec.objective.cost_tolerance_percent
    message = f"It would cost {usd:,.2f} USD, over {percent:g} % more than the cheapest that is free for it."
    return Refusal("CostTolerance", message, usd)


def _capacity(context: JobContext, row: int) -> Refusal:
    terms, option = context.inputs.demand.of(context.job), int(context.windows.options[row])
    name, gpus = context.inputs.options.entries[option].cluster, phrase.gpus(int(terms.gpus[option]))
    if context.usable[row].any():
        # A job that chose later gave them back.
        message = f"{name} had no {gpus} free when the job's turn came, as it has now; it looks again."
        return Refusal("NoCapacity", message)
    if ((context.windows.above[row] | context.windows.late[row]) & context.free[row]).any():
        return Refusal("NotInTime", f"{name} has {gpus} free only after the job's latest start.")
    length = phrase.hours(float(terms.minutes[option]))
    return Refusal("NoCapacity", f"{name} never has {gpus} free for {length} in the time that is weighed.")


def refusal_on(context: JobContext, options: Iterable[int]) -> Refusal:
    """Of the refusals of a spoke's options, the one that says most: of an option that came furthest.

    What each pool lacks is said together: `Pool a has A100, pool b has L40S; the job accepts H100.`
    """
    found = [refusal_of(context, option) for option in options]
    first = min(found, key=lambda refusal: (_least_general(refusal), refusal.least))
    _, mark, wanted = first.message.partition("; ")
    alike = [refusal.message for refusal in found if refusal.reason == first.reason and refusal.reason in _GENERAL]
    has = dict.fromkeys(message.removesuffix(mark + wanted) for message in alike if mark and message.endswith(wanted))
    if len(has) < 2:
        return first
    head, *rest = has
    return replace(first, message=", ".join((head, *(each[0].lower() + each[1:] for each in rest))) + mark + wanted)
