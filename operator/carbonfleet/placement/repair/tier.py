"""Repair the choices of a tier whose jobs contend for the same GPUs."""

from typing import Final

import numpy as np

from carbonfleet.placement.inputs import CapacityRuns, IntArray
from carbonfleet.placement.plan_inputs import PlanInputs
from carbonfleet.placement.repair.contention import CONSIDERED, Contention, contention_of, windows_taken
from carbonfleet.placement.repair.local_search import CLOSE, MISSED, effort_for, local_search
from carbonfleet.placement.search import NOWHERE, Choice, WindowIndex, WindowSearch, best_choice, take

FEWEST_STEPS: Final = 60
"""A tier that is too large for so many steps of pricing within the allowed work is not bettered."""
SETTLING: Final = 5
"""Times that all jobs of a bettered tier look once more for a window that was left free."""
TINY: Final = 1e-9


def repair_tier(
    inputs: PlanInputs, index: WindowIndex, capacity: CapacityRuns, choices: list[Choice | None], jobs: IntArray
) -> bool:
    """Better the choices of a tier whose jobs contend for GPUs, as far as the allowed work goes; whether it tried.

    Jobs that were promised a place keep it; a large tier is left as it is, and so is one with room for all.
    """
    jobs = np.array([job for job in jobs.tolist() if inputs.jobs[job].incumbent is None], dtype=np.int64)
    work = inputs.snapshot.assumptions.improvement_cells
    considered = min(CONSIDERED, len(inputs.options))
    if jobs.size < 2 or capacity.is_ample:
        return False
    starts = 1 + max(min(inputs.last_look(job), inputs.line.starts - 1) for job in jobs.tolist())
    if jobs.size * considered * starts * FEWEST_STEPS > work:
        return False
    bounds = index.unhindered(jobs)
    jobs, bounds = jobs[np.isfinite(bounds).any(axis=1)], bounds[np.isfinite(bounds).any(axis=1)]
    chosen = [choices[job] for job in jobs.tolist()]
    score = sum(choice.score if choice and not choice.is_late else MISSED for choice in chosen)
    if not jobs.size or score <= float(bounds.min(axis=1).sum()) * CLOSE:
        return False
    contention = contention_of(inputs, jobs.tolist(), chosen, bounds)
    places = int(inputs.options.capacity_row.max()) + 1
    for job, choice in zip(jobs.tolist(), chosen, strict=True):
        if choice is not None and choice.is_late:
            take(inputs, job, choice, capacity, sign=-1)
    windows, _ = local_search(
        contention,
        inputs.capacity.free[:places, : contention.slots],
        windows_taken(contention, chosen),
        effort_for(contention, work),
    )
    _exchange(inputs, capacity, choices, jobs, contention, windows)
    settle(inputs, index, capacity, choices, jobs)
    return True


def _exchange(
    inputs: PlanInputs,
    capacity: CapacityRuns,
    choices: list[Choice | None],
    jobs: IntArray,
    contention: Contention,
    windows: IntArray,
) -> None:
    """Give back the old choices and take the new ones; who still has none takes the first that is free."""
    old = [choices[job] for job in jobs.tolist()]
    for job, choice in zip(jobs.tolist(), old, strict=True):
        if choice is not None and not choice.is_late:
            take(inputs, job, choice, capacity, sign=-1)
    for row, (job, window) in enumerate(zip(jobs.tolist(), windows.tolist(), strict=True)):
        choices[job] = None
        if window >= 0:
            rank, start = contention.split(window)
            score = float(contention.score[row, rank, start])
            choices[job] = Choice(int(contention.option[row, rank]), start, score)
            take(inputs, job, choices[job], capacity)
    for job in [job for job, window in zip(jobs.tolist(), windows.tolist(), strict=True) if window < 0]:
        choices[job] = best_choice(inputs, job, capacity)


def settle(
    inputs: PlanInputs, index: WindowIndex, capacity: CapacityRuns, choices: list[Choice | None], jobs: IntArray
) -> None:
    """Let each job in turn take a better window that is free and worth its wait, until none finds one."""
    looks = {job: index.at(np.array([job])) for job in jobs.tolist()}
    for _ in range(SETTLING):
        moved = False
        for job in jobs.tolist():
            old = choices[job]
            if old is not None:
                take(inputs, job, old, capacity, sign=-1)
            score, start, option = looks[job].worthwhile(0, looks[job].everywhere(0))
            if score < _most(looks[job], old):
                choices[job], moved = Choice(option, start, score), True
            if (new := choices[job]) is not None:
                take(inputs, job, new, capacity)
        if not moved:
            return


def _most(look: WindowSearch, old: Choice | None) -> float:
    """Below which score a window is better for a job: any, where it has none in time, or one not worth its wait."""
    if old is None or old.is_late or not look.is_worth(0, old.start, old.score, 1.0):
        return NOWHERE
    return old.score * (1 - TINY)
