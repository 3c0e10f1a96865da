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
from carbonfleet.placement.wait import first_usable, least, most_score, worth_waiting
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
    if cut is None or not _is_worth_its_pauses(problem, job, cut, room):
        return in_one_piece(problem, job, room)
    return cut


def _is_worth_its_pauses(problem: Problem, job: int, cut: Choice, room: Room) -> bool:
    if not problem.gain_per_start(job):
        return True
    windows = windows_of(problem, job)
    return cut_is_worth(problem, job, cut, windows, windows.open & free_windows(problem, job, windows, room.runs_of))


def cut_is_worth(problem: Problem, job: int, cut: Choice, windows: Windows, usable: BoolArray) -> bool:
    """Whether a cut run saves enough for each hour that it ends later than the best unbroken one at once."""
    gain, first = problem.gain_per_start(job), first_usable(usable)
    if not gain or first < 0:
        return True
    at_once = np.where(usable[:, first], windows.scores[:, first], np.inf)
    lane = int(at_once.argmin())
    end = problem.line.begin(first) + int(problem.demand.of(job).minutes[lane])
    later = max(0, cut.segments[-1][1] - end) / problem.line.slot_minutes
    return cut.score <= most_score(float(at_once[lane]), gain, later)


def hold(problem: Problem, job: int, choice: Choice, room: Room, sign: int = 1) -> None:
    """Reserve a choice's GPUs and draw on the budgets; sign -1 gives both back."""
    take(problem, job, choice, room, sign)
    if problem.purse_rows(job):
        window = window_at(problem, job, choice.lane, segments_of(problem, job, choice))
        spend(problem, job, choice, window.grams_co2e, sign)


def in_one_piece(problem: Problem, job: int, room: Room) -> Choice | None:
    """The best window that is worth its wait, or where the job was planned already."""
    windows = windows_of(problem, job)
    free = free_windows(problem, job, windows, room.runs_of)
    usable, gain = windows.open & free, problem.gain_per_start(job)

    def fits(job: int, lane: int, start: int) -> Choice | None:
        enough = gain * problem.snapshot.assumptions.promised_gain_share
        fit = start < problem.line.starts and worth_waiting(windows.scores, usable, enough)[lane, start]
        return Choice(lane, start, float(windows.scores[lane, start])) if fit else None

    best = _least(windows, worth_waiting(windows.scores, usable, gain))
    return promised(problem, job, best or _late(windows, free), fits)


def _least(windows: Windows, usable: BoolArray) -> Choice | None:
    found = least(windows.scores, usable)
    return found and Choice(found[2], found[1], found[0])


def _late(windows: Windows, free: BoolArray) -> Choice | None:
    """With nothing free on time: the earliest start after it."""
    late = windows.late & free
    start = first_usable(late)
    if start < 0:
        return None
    lane = int(np.argmin(np.where(late[:, start], windows.scores[:, start], np.inf)))
    return Choice(lane, start, float(windows.scores[lane, start]), is_late=True)


def free_windows(problem: Problem, job: int, windows: Windows, runs_of: RunsOf) -> BoolArray:
    """Where there is room, and the monthly budgets allow it; shape (lanes, starts)."""
    return has_room(problem, job, windows, runs_of) & within_purse(problem, job, windows)


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
