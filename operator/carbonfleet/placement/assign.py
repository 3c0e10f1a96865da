"""Give each job its window, in order, out of what is free."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from carbonfleet.placement.capacity import Capacity
from carbonfleet.placement.choice import Choice, quota_rows, segments_of, slots_of, spend, take
from carbonfleet.placement.grid import IntArray
from carbonfleet.placement.interrupt import segmented
from carbonfleet.placement.look import FIRST_LOOK, NOWHERE, STRETCH, Looker, plain_jobs, ranges_of
from carbonfleet.placement.measure import window_at
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.room import Room
from carbonfleet.placement.rules import BoolArray
from carbonfleet.placement.snapshot import FloatArray
from carbonfleet.placement.stay import promised, stay_or_go
from carbonfleet.placement.weigh import Windows, windows_of

CROWDED: Final = 0.3
"""Where more than this share of a stretch found its windows taken, the next is not sought together."""
SLACK: Final = 1.002
"""A bound that is farther off than this is worth finding anew."""
NOT_FOUND: Final = (NOWHERE, 0, 0)
PATIENCE: Final = 12
"""Lanes that a job looks at one by one before it looks at all."""


def assign(problem: Problem) -> list[Choice | None]:
    """A choice for each job in the problem's order; None where nothing is open and free."""
    if not problem.jobs or not len(problem.lanes):
        return [None] * len(problem.jobs)
    room = Room(problem.capacity, np.unique(problem.terms.gpus).tolist())
    looker = Looker(problem, ranges_of(problem), room)
    choices: list[Choice | None] = []
    crowded = False
    for jobs, plain in stretches(problem):
        if plain:
            stretch = Stretch(problem, looker, room, jobs, crowded)
            choices += stretch.choices()
            crowded = stretch.repeated > CROWDED * jobs.size
        else:
            choices += [carefully(problem, job, room) for job in jobs.tolist()]
    return choices


def stretches(problem: Problem) -> Iterator[tuple[IntArray, bool]]:
    """Runs of neighbours in the order that are plain and weigh one signal, at most STRETCH long; and the rest."""
    plain = plain_jobs(problem).tolist()
    kinds = [job.spec.signal if quick else "" for job, quick in zip(problem.jobs, plain, strict=True)]
    begin = 0
    for end in range(1, len(kinds) + 1):
        if end == len(kinds) or kinds[end] != kinds[begin] or end - begin == STRETCH:
            yield np.arange(begin, end), bool(kinds[begin])
            begin = end


def carefully(problem: Problem, job: int, room: Room) -> Choice | None:
    """Weigh all windows of one job, whatever it asks for, and take the best."""
    queued = problem.jobs[job]
    choice: Choice | None = None
    if queued.incumbent is not None and queued.incumbent.running:
        choice = stay_or_go(problem, job, room)
    else:
        if queued.spec.schedule.interruptible is not None:
            choice = segmented(problem, job)
        if choice is None:
            choice = in_one_piece(problem, job)
    if choice is not None:
        take(problem, job, choice, room)
        if problem.purse_rows(job):
            window = window_at(problem, job, choice.lane, segments_of(problem, job, choice))
            spend(problem, job, choice, window.grams_co2e)
    return choice


def in_one_piece(problem: Problem, job: int) -> Choice | None:
    """The best window, or where the job was planned already."""
    windows = windows_of(problem, job)
    free = has_room(problem, job, windows, problem.capacity) & within_purse(problem, job, windows)

    def fits(job: int, lane: int, start: int) -> Choice | None:
        usable = start < problem.line.starts and (windows.open & free)[lane, start]
        return Choice(lane, start, float(windows.scores[lane, start])) if usable else None

    return promised(problem, job, best(windows, free), fits)


class Stretch:
    """Neighbours in the order, all plain: their best windows are found together, and taken one by one.

    What is found holds as long as it is still free when its job's turn comes, since taking windows only
    makes the others worse. Otherwise the job looks again. In a crowded fleet each looks for itself.
    """

    def __init__(self, problem: Problem, looker: Looker, room: Room, jobs: IntArray, crowded: bool) -> None:
        self._problem, self._looker, self._room, self._jobs = problem, looker, room, jobs
        self._gpus, self._places = problem.terms.gpus, problem.lanes.place
        self._bounds = looker.bounds(jobs)
        self._first = [None] * jobs.size if crowded else self._look()
        self.repeated = 0
        """How many had to look again."""

    def _look(self) -> list[Choice | None]:
        """The best window of each job on its most promising lanes; None where that does not settle it."""
        bounds = self._bounds
        count, lanes = bounds.shape
        few = min(FIRST_LOOK, lanes)
        order = np.argsort(bounds, axis=1, kind="stable")
        pairs = order[:, :few].ravel()
        scores, starts = self._looker.best(np.repeat(self._jobs, few), pairs)
        rest = np.full(count, NOWHERE)
        if few < lanes:
            rest = np.take_along_axis(bounds, order[:, few : few + 1], axis=1)[:, 0]
        shape = count, few
        return _settled(scores.reshape(shape), starts.reshape(shape), pairs.reshape(shape), rest)

    def choices(self) -> list[Choice | None]:
        """A choice for each job, taken in order."""
        return [self._choice(row, job) for row, job in enumerate(self._jobs.tolist())]

    def _choice(self, row: int, job: int) -> Choice | None:
        choice = self._first[row]
        if choice is None or not self._is_free(job, choice):
            self.repeated += 1
            choice = self._again(row, job)
        if self._problem.jobs[job].incumbent is not None:
            choice = promised(self._problem, job, choice, self._fits)
        if choice is not None:
            first, end = next(slots_of(self._problem, job, choice))
            self._room.take(int(self._places[choice.lane]), int(self._gpus[job, choice.lane]), first, end)
        return choice

    def _fits(self, job: int, lane: int, start: int) -> Choice | None:
        if not self._looker.is_open(job, lane, start):
            return None
        choice = Choice(lane, start, self._looker.score(job, lane, start))
        return choice if self._is_free(job, choice) else None

    def _is_free(self, job: int, choice: Choice) -> bool:
        first, end = next(slots_of(self._problem, job, choice))
        return self._room.fits(int(self._places[choice.lane]), int(self._gpus[job, choice.lane]), first, end)

    def _again(self, row: int, job: int) -> Choice | None:
        """Look at lane after lane in the order of their bounds until none that is left can be better.

        Of equal scores the earliest start wins, then the first lane.
        """
        left, found = self._bounds[row].copy(), NOT_FOUND
        for _ in range(min(PATIENCE, left.size)):
            lane = int(left.argmin())
            if left[lane] > found[0] or left[lane] == NOWHERE:
                return self._choice_of(job, found)
            score, start = self._looker.look(job, lane)
            if score > left[lane] * SLACK:
                self._looker.sharpen(self._bounds[row + 1 :], self._jobs[row + 1 :], lane)
            found = min(found, (score, start, lane))
            left[lane] = NOWHERE
        return self._choice_of(job, self._everywhere(job))

    def _everywhere(self, job: int) -> tuple[float, int, int]:
        scores, starts = self._looker.best_of(job)
        least = float(scores.min(initial=NOWHERE))
        tied = np.flatnonzero(scores == least)
        if least == NOWHERE:
            return NOT_FOUND
        start, lane = min(zip(starts[tied].tolist(), tied.tolist(), strict=True))
        return least, start, lane

    def _choice_of(self, job: int, found: tuple[float, int, int]) -> Choice | None:
        """What was found, or the first time that is free after the latest start."""
        score, start, lane = found
        if score < NOWHERE:
            return Choice(lane, start, score)
        start, lane = self._looker.first_free(job)
        return None if start < 0 else Choice(lane, start, self._looker.score(job, lane, start), is_late=True)


def _settled(scores: FloatArray, starts: IntArray, lanes: IntArray, rest: FloatArray) -> list[Choice | None]:
    """Of each row the least score, if it is below all that was not looked at."""
    column = scores.argmin(axis=1)
    rows = np.arange(column.size)
    least = scores[rows, column]
    single = (scores <= least[:, None]).sum(axis=1) == 1
    clear = (least < rest) & single
    found = zip(lanes[rows, column].tolist(), starts[rows, column].tolist(), least.tolist(), strict=True)
    return [Choice(*values) if good else None for values, good in zip(found, clear.tolist(), strict=True)]


def best(windows: Windows, free: BoolArray) -> Choice | None:
    """The open and free window with the least score; of equal ones the earliest, then the first lane.

    With nothing free on time, the earliest start after it.
    """
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
