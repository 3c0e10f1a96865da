"""Repair the choices of a tier whose jobs contend for the same GPUs."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from carbonfleet.placement.inputs import BoolArray, CapacityRuns, IntArray
from carbonfleet.placement.plan_inputs import PlanInputs
from carbonfleet.placement.repair.contention import (
    ABOVE_THRESHOLD,
    CONSIDERED,
    Contention,
    contention_of,
    windows_taken,
)
from carbonfleet.placement.repair.local_search import CLOSE, MISSED, effort_for, local_search
from carbonfleet.placement.search import (
    NOWHERE,
    Choice,
    WindowIndex,
    WindowSearch,
    best_choice,
    fits_budgets,
    hold,
    take,
    unhindered,
)

FEWEST_STEPS: Final = 60
"""A tier that is too large for so many steps of pricing within the allowed work is not bettered."""
SETTLING: Final = 5
"""Times that all jobs of a bettered tier look once more for a window that was left free."""
TINY: Final = 1e-9


def repair_tier(
    inputs: PlanInputs,
    index: WindowIndex,
    capacity: CapacityRuns,
    choices: list[Choice | None],
    jobs: IntArray,
    plain: BoolArray,
) -> IntArray:
    """Better the choices of a tier whose jobs contend for GPUs, as far as the allowed work goes; the jobs tried.

    A job with thresholds, budgets or hourly prices takes part with the windows that are open to it. Left as they are:
    jobs that were promised a place or are under way, those that may be cut into segments, a large tier, and one with
    capacity for all. The sum of the scores never grows: otherwise all is put back.
    """
    none = np.zeros(0, dtype=np.int64)
    if capacity.is_ample:
        return none
    jobs = np.array([job for job in jobs.tolist() if _is_repairable(inputs, job)], dtype=np.int64)
    work = inputs.snapshot.assumptions.improvement_cells
    considered = min(CONSIDERED, len(inputs.options))
    if jobs.size < 2:
        return none
    starts = 1 + max(min(inputs.last_look(job), inputs.line.starts - 1) for job in jobs.tolist())
    if jobs.size * considered * starts * FEWEST_STEPS > work:
        return none
    bounds = unhindered(index, jobs)
    is_open = np.isfinite(bounds).any(axis=1)
    jobs, bounds = jobs[is_open], bounds[is_open]
    before = [choices[job] for job in jobs.tolist()]
    gave_up = [inputs.gives_up_threshold(job) for job in jobs.tolist()]
    if not jobs.size or _score(before, gave_up) <= float(bounds.min(axis=1).sum()) * CLOSE:
        return none
    contention = contention_of(inputs, jobs.tolist(), before, bounds)
    is_open = np.isfinite(contention.score).any(axis=(1, 2))
    if not is_open.all():
        jobs, contention = jobs[is_open], contention.part(np.flatnonzero(is_open))
        before = [choices[job] for job in jobs.tolist()]
        gave_up = [inputs.gives_up_threshold(job) for job in jobs.tolist()]
    if not jobs.size:
        return none
    places = int(inputs.options.capacity_row.max()) + 1
    for job, choice in zip(jobs.tolist(), before, strict=True):
        if choice is not None and choice.is_late:
            hold(inputs, job, choice, capacity, sign=-1)
    windows, _ = local_search(
        contention,
        inputs.capacity.free[:places, : contention.slots],
        windows_taken(contention, before),
        effort_for(contention, work),
    )
    _exchange(inputs, capacity, choices, jobs, contention, windows)
    settle(inputs, index, capacity, choices, jobs, plain)
    after = _score([choices[job] for job in jobs.tolist()], [inputs.gives_up_threshold(job) for job in jobs.tolist()])
    if after > _score(before, gave_up):
        _put_back(inputs, capacity, choices, jobs, before, gave_up)
    return jobs


def _is_repairable(inputs: PlanInputs, job: int) -> bool:
    queued = inputs.jobs[job]
    return queued.incumbent is None and queued.spec.schedule.interruptible is None and not inputs.lost[job]


def _score(choices: Sequence[Choice | None], gave_up: Sequence[bool]) -> float:
    """Of some jobs, and whether each gave its threshold up."""
    return sum(
        choice.score + above * ABOVE_THRESHOLD if choice and not choice.is_late else MISSED
        for choice, above in zip(choices, gave_up, strict=True)
    )


def _exchange(
    inputs: PlanInputs,
    capacity: CapacityRuns,
    choices: list[Choice | None],
    jobs: IntArray,
    contention: Contention,
    windows: IntArray,
) -> None:
    """Give back the old choices and take the new ones; who has none, or none within its budgets, takes what is left."""
    for job in jobs.tolist():
        choice = choices[job]
        if choice is not None and not choice.is_late:
            hold(inputs, job, choice, capacity, sign=-1)
        choices[job] = None
    for row, (job, window) in enumerate(zip(jobs.tolist(), windows.tolist(), strict=True)):
        if window >= 0:
            rank, start = contention.split(window)
            score = float(contention.score[row, rank, start])
            is_above = inputs.limits[job].is_gated and score >= ABOVE_THRESHOLD
            if inputs.limits[job].is_gated:
                inputs.demand.mind_carbon_alone(job, is_above)
            choice = Choice(int(contention.option[row, rank]), start, score - is_above * ABOVE_THRESHOLD)
            if not inputs.budget_rows(job) or fits_budgets(inputs, job, choice, capacity):
                choices[job] = choice
                hold(inputs, job, choice, capacity)
    for job in jobs.tolist():
        if choices[job] is None:
            choices[job] = best_choice(inputs, job, capacity)


def settle(
    inputs: PlanInputs,
    index: WindowIndex,
    capacity: CapacityRuns,
    choices: list[Choice | None],
    jobs: IntArray,
    plain: BoolArray,
) -> None:
    """Let each job in turn take a better window that is free, until none finds one."""
    searches = {job: WindowSearch(index, np.array([job])) for job in jobs.tolist() if plain[job]}
    for _ in range(SETTLING):
        moved = False
        for job in jobs.tolist():
            if job in searches:
                moved |= _settle_plain(inputs, searches[job], capacity, choices, job)
            else:
                moved |= _settle_any(inputs, capacity, choices, job)
        if not moved:
            return


def _settle_plain(
    inputs: PlanInputs, search: WindowSearch, capacity: CapacityRuns, choices: list[Choice | None], job: int
) -> bool:
    old, moved = choices[job], False
    if old is not None:
        take(inputs, job, old, capacity, sign=-1)
    score, start, option = search.everywhere(0)
    if score < (NOWHERE if old is None or old.is_late else old.score * (1 - TINY)):
        choices[job], moved = Choice(option, start, score), True
    if (new := choices[job]) is not None:
        take(inputs, job, new, capacity)
    return moved


def _settle_any(inputs: PlanInputs, capacity: CapacityRuns, choices: list[Choice | None], job: int) -> bool:
    """A job that had given its threshold up takes any window below it; otherwise the score decides."""
    old, gave_up = choices[job], inputs.gives_up_threshold(job)
    if old is not None:
        hold(inputs, job, old, capacity, sign=-1)
    new = best_choice(inputs, job, capacity)
    gained = old is None or old.is_late or gave_up != inputs.gives_up_threshold(job)
    if new is not None and (gained or (not new.is_late and old and new.score < old.score * (1 - TINY))):
        choices[job] = new
        return old is None or (new.option, new.start) != (old.option, old.start)
    if new is not None:
        hold(inputs, job, new, capacity, sign=-1)
    if old is not None:
        hold(inputs, job, old, capacity)
    return False


def _put_back(
    inputs: PlanInputs,
    capacity: CapacityRuns,
    choices: list[Choice | None],
    jobs: IntArray,
    before: Sequence[Choice | None],
    gave_up: Sequence[bool],
) -> None:
    for job in jobs.tolist():
        if (choice := choices[job]) is not None:
            hold(inputs, job, choice, capacity, sign=-1)
    for job, choice, above in zip(jobs.tolist(), before, gave_up, strict=True):
        choices[job] = choice
        if inputs.limits[job].is_gated:
            inputs.demand.mind_carbon_alone(job, above)
        if choice is not None:
            hold(inputs, job, choice, capacity)
