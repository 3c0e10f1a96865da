"""Give each job its window, in order, out of what is free."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from carbonfleet.placement.capacity import Capacity
from carbonfleet.placement.grid import IntArray
from carbonfleet.placement.look import NOWHERE, Looker, is_plain, ranges_of
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.room import Room
from carbonfleet.placement.rules import BoolArray
from carbonfleet.placement.snapshot import FloatArray
from carbonfleet.placement.weigh import Windows, windows_of

FIRST_LOOK: Final = 4
"""Lanes that are looked at first, before all."""


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
    ranges = ranges_of(problem)
    room = Room(problem.capacity, np.unique(problem.terms.gpus).tolist())
    looker = Looker(problem, ranges, room)
    bounds = looker.bounds()
    choices: list[Choice | None] = []
    for job in range(len(problem.jobs)):
        if is_plain(problem, job):
            choice = quick_best(looker, job, bounds[job], int(ranges.last[job].max(initial=-1)))
            if choice is not None:
                take_slots(problem, job, choice, room)
        else:
            windows = windows_of(problem, job)
            choice = best(problem, job, windows, problem.capacity)
            if choice is not None:
                take(problem, job, choice, windows, room)
        choices.append(choice)
    return choices


def quick_best(looker: Looker, job: int, bound: FloatArray, last: int) -> Choice | None:
    """Look at the lanes with the least bounds, and at all where that does not settle it.

    Of equal scores the earliest start wins, then the first lane.
    """
    if len(bound) > 2 * FIRST_LOOK:
        lanes = np.argpartition(bound, FIRST_LOOK)
        few = lanes[:FIRST_LOOK]
        found = _least(looker, job, few, bound[few])
        rest = bound[lanes[FIRST_LOOK:]].min()
        if found is not None and (found.score < rest or (found.score == rest and not found.start)):
            return found
    found = _least(looker, job, slice(None), bound) if len(bound) else None
    if found is not None or not len(bound):
        return found
    lanes = np.flatnonzero(bound < NOWHERE)
    if not lanes.size:
        return None
    start, lane = looker.first_free(job, lanes, last)
    return None if start < 0 else Choice(lane, start, float(bound[lane]), is_late=True)


def _least(looker: Looker, job: int, lanes: IntArray | slice, bound: FloatArray) -> Choice | None:
    """The best free window on some lanes; those with an infinite bound are not open."""
    scores, starts = looker.best(job, lanes)
    scores = np.where(bound < NOWHERE, scores, NOWHERE)
    least = scores.min()
    if least == NOWHERE:
        return None
    tied = np.flatnonzero(scores == least)
    if tied.size > 1:
        numbers = tied if isinstance(lanes, slice) else lanes[tied]
        tied = tied[np.lexsort((numbers, starts[tied]))]
    row = int(tied[0])
    return Choice(row if isinstance(lanes, slice) else int(lanes[row]), int(starts[row]), float(least))


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
    room: BoolArray = capacity.runs(problem.lanes.place, gpus)[:, :starts] >= windows.span
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
    line, minutes = problem.line, int(problem.terms.minutes[job, lane])
    begin = line.begin(start)
    end = (line.next_minute if start == 0 else begin) + minutes
    return begin // line.slot_minutes, min(-(-end // line.slot_minutes), line.slots)


def take_slots(problem: Problem, job: int, choice: Choice, room: Room, sign: int = 1) -> None:
    """Reserve a choice's GPUs; sign -1 gives them back."""
    first, end = slots_of_window(problem, job, choice.lane, choice.start)
    gpus = sign * int(problem.terms.gpus[job, choice.lane])
    for row in rows_of(problem, job, choice.lane):
        room.take(row, gpus, first, end)


def take(problem: Problem, job: int, choice: Choice, windows: Windows, room: Room, sign: int = 1) -> None:
    """Reserve a choice's GPUs, and its share of the budgets."""
    take_slots(problem, job, choice, room, sign)
    gpus = int(problem.terms.gpus[job, choice.lane])
    for index in problem.purse_rows(job):
        purse = problem.purses[index]
        purse.carbon_kg -= sign * float(windows.grams[choice.lane, choice.start]) / 1000
        purse.gpu_hours -= sign * gpus * float(problem.terms.minutes[job, choice.lane]) / 60
