"""Give each job its window, in order, out of what is free."""

from dataclasses import dataclass

import numpy as np

from carbonfleet.placement.capacity import Capacity
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.rules import BoolArray
from carbonfleet.placement.weigh import Windows, windows_of


@dataclass(frozen=True, slots=True)
class Choice:
    """A lane and a start for a job."""

    lane: int
    start: int
    score: float
    is_late: bool = False
    """Nothing was free before the latest start."""


def assign(problem: Problem) -> list[Choice | None]:
    """A choice for each job in the problem's order; None where nothing is open and free."""
    choices: list[Choice | None] = []
    for job in range(len(problem.jobs)):
        windows = windows_of(problem, job)
        choice = best(problem, job, windows, problem.capacity)
        if choice is not None:
            take(problem, job, choice, windows)
        choices.append(choice)
    return choices


def best(problem: Problem, job: int, windows: Windows, capacity: Capacity) -> Choice | None:
    """The open and free window with the least score; of equal ones the earliest, then the first lane.

    With nothing free on time, the earliest start after it.
    """
    free = has_room(problem, job, windows, capacity) & within_purse(problem, job, windows)
    on_time = windows.open & free
    if on_time.any():
        masked = np.where(on_time, windows.scores, np.inf)
        start, lane = divmod(int(np.argmin(masked.T)), masked.shape[0])
        return Choice(lane, start, float(masked[lane, start]))
    late = windows.late & free
    if not late.any():
        return None
    start = int(np.argmax(late.any(axis=0)))
    lane = int(np.argmin(np.where(late[:, start], windows.scores[:, start], np.inf)))
    return Choice(lane, start, float(windows.scores[lane, start]), is_late=True)


def has_room(problem: Problem, job: int, windows: Windows, capacity: Capacity) -> BoolArray:
    """Where enough GPUs are free all along, and no quota is overdrawn; shape (lanes, starts)."""
    gpus, starts = problem.terms.gpus[job], problem.line.starts
    room = capacity.runs(problem.lanes.place, gpus)[:, :starts] >= windows.span
    for row in quota_rows(problem, job):
        rows = np.full(len(problem.lanes), row)
        room &= capacity.runs(rows, gpus)[:, :starts] >= windows.span
    return room


def within_purse(problem: Problem, job: int, windows: Windows) -> BoolArray:
    """Where the monthly budgets of the job's policies still have room; shape (lanes, starts)."""
    within = np.ones(windows.scores.shape, dtype=np.bool_)
    hours = problem.terms.gpus[job] * problem.terms.minutes[job] / 60.0
    for index in problem.purse_rows(job):
        purse = problem.purses[index]
        within &= windows.grams <= purse.carbon_kg * 1000
        within &= (hours <= purse.gpu_hours)[:, None]
    return within


def quota_rows(problem: Problem, job: int) -> list[int]:
    """The rows of capacity that stand for quotas on the job."""
    rows = (problem.purses[index].quota_row for index in problem.purse_rows(job))
    return [row for row in rows if row is not None]


def rows_of(problem: Problem, job: int, lane: int) -> list[int]:
    """The rows of capacity that a job uses on a lane."""
    return [int(problem.lanes.place[lane]), *quota_rows(problem, job)]


def slots_of_window(problem: Problem, job: int, lane: int, start: int) -> tuple[int, int]:
    """The slots that a window touches, half-open."""
    line = problem.line
    begin = line.now_minute if start == 0 else start * line.slot_minutes
    end = begin + int(problem.terms.minutes[job, lane])
    return begin // line.slot_minutes, min(-(-end // line.slot_minutes), line.slots)


def take(problem: Problem, job: int, choice: Choice, windows: Windows, sign: int = 1) -> None:
    """Reserve a choice's GPUs, and its share of the budgets."""
    gpus = int(problem.terms.gpus[job, choice.lane])
    first, end = slots_of_window(problem, job, choice.lane, choice.start)
    problem.capacity.take(rows_of(problem, job, choice.lane), sign * gpus, first, end)
    for index in problem.purse_rows(job):
        purse = problem.purses[index]
        purse.carbon_kg -= sign * float(windows.grams[choice.lane, choice.start]) / 1000
        purse.gpu_hours -= sign * gpus * float(problem.terms.minutes[job, choice.lane]) / 60
