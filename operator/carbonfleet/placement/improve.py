"""Better the choices of a tier whose jobs crowd each other."""

from typing import Final

import numpy as np

from carbonfleet.placement.better import CLOSE, MISSED, better, effort_for
from carbonfleet.placement.careful import carefully
from carbonfleet.placement.choice import Choice, take
from carbonfleet.placement.crowd import OPTIONS, Crowd, crowd_of, windows_taken
from carbonfleet.placement.grid import IntArray
from carbonfleet.placement.look import NOWHERE, Look, Looker
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.room import Room

FEWEST_STEPS: Final = 60
"""A tier that is too large for so many steps of pricing within the allowed work is not bettered."""
SETTLING: Final = 5
"""Times that all jobs of a bettered tier look once more for a window that was left free."""
TINY: Final = 1e-9


def improve(problem: Problem, looker: Looker, room: Room, choices: list[Choice | None], jobs: IntArray) -> bool:
    """Better the choices of a tier where its jobs crowd each other, as far as the allowed work goes; whether it tried.

    Jobs that were promised a place keep it; a large tier is left as it is, and so is one with room for all.
    """
    jobs = np.array([job for job in jobs.tolist() if problem.jobs[job].incumbent is None], dtype=np.int64)
    work = problem.snapshot.assumptions.improvement_cells
    options = min(OPTIONS, len(problem.lanes))
    if jobs.size < 2 or room.is_ample:
        return False
    starts = 1 + max(min(problem.last_look(job), problem.line.starts - 1) for job in jobs.tolist())
    if jobs.size * options * starts * FEWEST_STEPS > work:
        return False
    bounds = looker.unhindered(jobs)
    jobs, bounds = jobs[np.isfinite(bounds).any(axis=1)], bounds[np.isfinite(bounds).any(axis=1)]
    chosen = [choices[job] for job in jobs.tolist()]
    score = sum(choice.score if choice and not choice.is_late else MISSED for choice in chosen)
    if not jobs.size or score <= float(bounds.min(axis=1).sum()) * CLOSE:
        return False
    crowd = crowd_of(problem, jobs.tolist(), chosen, bounds)
    places = int(problem.lanes.place.max()) + 1
    for job, choice in zip(jobs.tolist(), chosen, strict=True):
        if choice is not None and choice.is_late:
            take(problem, job, choice, room, sign=-1)
    windows, _ = better(
        crowd, problem.capacity.free[:places, : crowd.slots], windows_taken(crowd, chosen), effort_for(crowd, work)
    )
    _exchange(problem, room, choices, jobs, crowd, windows)
    settle(problem, looker, room, choices, jobs)
    return True


def _exchange(
    problem: Problem, room: Room, choices: list[Choice | None], jobs: IntArray, crowd: Crowd, windows: IntArray
) -> None:
    """Give back the old choices and take the new ones; who still has none takes the first that is free."""
    old = [choices[job] for job in jobs.tolist()]
    for job, choice in zip(jobs.tolist(), old, strict=True):
        if choice is not None and not choice.is_late:
            take(problem, job, choice, room, sign=-1)
    for row, (job, window) in enumerate(zip(jobs.tolist(), windows.tolist(), strict=True)):
        choices[job] = None
        if window >= 0:
            option, start = crowd.split(window)
            score = float(crowd.score[row, option, start])
            choices[job] = Choice(int(crowd.lane[row, option]), start, score)
            take(problem, job, choices[job], room)
    for job in [job for job, window in zip(jobs.tolist(), windows.tolist(), strict=True) if window < 0]:
        choices[job] = carefully(problem, job, room)


def settle(problem: Problem, looker: Looker, room: Room, choices: list[Choice | None], jobs: IntArray) -> None:
    """Let each job in turn take a better window that is free and worth its wait, until none finds one."""
    looks = {job: looker.at(np.array([job])) for job in jobs.tolist()}
    for _ in range(SETTLING):
        moved = False
        for job in jobs.tolist():
            old = choices[job]
            if old is not None:
                take(problem, job, old, room, sign=-1)
            score, start, lane = looks[job].worthwhile(0, looks[job].everywhere(0))
            if score < _most(looks[job], old):
                choices[job], moved = Choice(lane, start, score), True
            if (new := choices[job]) is not None:
                take(problem, job, new, room)
        if not moved:
            return


def _most(look: Look, old: Choice | None) -> float:
    """Below which score a window is better for a job: any, where it has none in time, or one not worth its wait."""
    if old is None or old.is_late or not look.is_worth(0, old.start, old.score, 1.0):
        return NOWHERE
    return old.score * (1 - TINY)
