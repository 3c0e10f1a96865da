"""The best choice for one job, whatever it asks for, by weighing all its windows."""

from collections.abc import Callable

import numpy as np

from carbonfleet.placement.capacity import Runs
from carbonfleet.placement.choice import Choice, quota_rows, segments_of, spend, take
from carbonfleet.placement.grid import IntArray
from carbonfleet.placement.interrupt import segmented
from carbonfleet.placement.measure import window_at
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.room import Room
from carbonfleet.placement.rules import BoolArray
from carbonfleet.placement.stay import as_paused, promised, stay_or_go, taken_up
from carbonfleet.placement.weigh import Windows, windows_of

RunsOf = Callable[[IntArray, IntArray], Runs]
"""For rows of capacity and GPUs: from each slot on, how many slots have these free."""


def carefully(problem: Problem, job: int, room: Room) -> Choice | None:
    """Weigh all windows of one job, whatever it asks for, and take the best.

    Below its threshold first. Where no such window is open and free within its delay, waiting for one would end on
    whatever grid there is at the end: then it gives the threshold up and takes the cleanest window of its delay.
    """
    incumbent, is_gated = problem.jobs[job].incumbent, problem.limits[job].is_gated
    if is_gated:
        problem.demand.mind_carbon_alone(job, False)
    if incumbent is not None and incumbent.running:
        choice = stay_or_go(problem, job, room)
    else:
        choice = _to_begin(problem, job, room)
        if is_gated and (choice is None or choice.is_late):
            problem.demand.mind_carbon_alone(job, True)
            choice = _to_begin(problem, job, room)
    if choice is not None:
        hold(problem, job, choice, room)
    return choice


def _to_begin(problem: Problem, job: int, room: Room) -> Choice | None:
    """The best choice for a job that does not run: in one piece where it can't be cut."""
    queued = problem.jobs[job]
    if queued.incumbent is not None and queued.incumbent.paused:
        return taken_up(problem, job) or as_paused(problem, job, in_one_piece(problem, job, room))
    cut = segmented(problem, job) if queued.spec.schedule.interruptible is not None else None
    return cut or in_one_piece(problem, job, room)


def hold(problem: Problem, job: int, choice: Choice, room: Room, sign: int = 1) -> None:
    """Reserve a choice's GPUs and draw on the budgets; sign -1 gives both back."""
    take(problem, job, choice, room, sign)
    if problem.purse_rows(job):
        window = window_at(problem, job, choice.lane, segments_of(problem, job, choice))
        spend(problem, job, choice, window.grams_co2e, sign)


def in_one_piece(problem: Problem, job: int, room: Room) -> Choice | None:
    """The best window, or where the job was planned already."""
    windows = windows_of(problem, job)
    free = has_room(problem, job, windows, room.runs_of) & within_purse(problem, job, windows)

    usable = windows.open & free

    def fits(job: int, lane: int, start: int) -> Choice | None:
        fit = start < problem.line.starts and usable[lane, start]
        return Choice(lane, start, float(windows.scores[lane, start])) if fit else None

    return promised(problem, job, best(windows, free), fits)


def best(windows: Windows, free: BoolArray) -> Choice | None:
    """The open and free window with the least score; of equal ones the earliest, then the first lane.

    With nothing free on time, the earliest start after it.
    """
    on_time = windows.open & free
    if on_time.any():
        masked = np.where(on_time, windows.scores, np.inf)
        start = int(masked.min(axis=0).argmin())
        lane = int(masked[:, start].argmin())
        return Choice(lane, start, float(masked[lane, start]))
    late = windows.late & free
    if not late.any():
        return None
    start = int(np.argmax(late.any(axis=0)))
    lane = int(np.argmin(np.where(late[:, start], windows.scores[:, start], np.inf)))
    return Choice(lane, start, float(windows.scores[lane, start]), is_late=True)


def has_room(problem: Problem, job: int, windows: Windows, runs_of: RunsOf) -> BoolArray:
    """Where enough GPUs are free all along, and no quota is overdrawn; shape (lanes, starts)."""
    gpus, starts = problem.demand.of(job).gpus, problem.line.starts
    room: BoolArray = runs_of(problem.lanes.place, gpus)[:, :starts] >= windows.span
    for row in quota_rows(problem, job):
        rows = np.full(len(problem.lanes), row)
        room &= runs_of(rows, gpus)[:, :starts] >= windows.span
    return room


def within_purse(problem: Problem, job: int, windows: Windows) -> BoolArray:
    """Where the monthly budgets of the job's policies still have room; shape (lanes, starts)."""
    within = np.ones(windows.scores.shape, dtype=np.bool_)
    hours = problem.demand.of(job).gpus * problem.demand.of(job).minutes / 60.0
    for index in problem.purse_rows(job):
        purse = problem.purses[index]
        within &= windows.grams <= purse.carbon_kg * 1000
        within &= (hours <= purse.gpu_hours)[:, None]
    return within
