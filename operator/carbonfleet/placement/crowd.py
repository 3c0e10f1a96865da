"""Jobs of one tier that compete for the same GPUs, as dense arrays over (job, option, start)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from carbonfleet.placement.capacity import runs
from carbonfleet.placement.choice import Choice
from carbonfleet.placement.grid import IntArray
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.rules import BoolArray
from carbonfleet.placement.snapshot import FloatArray
from carbonfleet.placement.weigh import windows_of

OPTIONS: Final = 8
"""Lanes that are weighed for each job: those with the least scores, were they empty."""


@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """What each job of a crowd could take. Arrays of shape (jobs, options) unless said otherwise."""

    score: FloatArray
    """USD, infinite where a window is not open; shape (jobs, options, starts)."""
    lane: IntArray
    place: IntArray
    gpus: IntArray
    span: IntArray
    """Slots that a window touches, shape (jobs, options, starts)."""
    first: IntArray
    """The flat index of a window's first slot among (place, slot + 1), shape (jobs, options * starts)."""
    end: IntArray
    """The same of the slot after its last."""
    slots: int

    @property
    def starts(self) -> int:
        """How many starts are weighed."""
        return int(self.score.shape[2])

    @property
    def size(self) -> IntArray:
        """GPU slots that each job takes on its first option, shape (jobs,)."""
        size: IntArray = self.gpus[:, 0] * self.span[:, 0, -1]
        return size

    def part(self, jobs: IntArray) -> "Crowd":
        """The crowd of some of the jobs."""
        index = self.lane[jobs], self.place[jobs], self.gpus[jobs], self.span[jobs]
        return Crowd(self.score[jobs], *index, self.first[jobs], self.end[jobs], self.slots)

    def where(self, room: BoolArray) -> "Crowd":
        """The crowd with only the windows in which there is room, shape as `score`."""
        score = np.where(room, self.score, np.inf)
        return Crowd(score, self.lane, self.place, self.gpus, self.span, self.first, self.end, self.slots)

    def room(self, free: IntArray) -> BoolArray:
        """Which windows fit into what is free; `free` has shape (places, slots)."""
        fits = np.zeros(self.score.shape, dtype=np.bool_)
        for gpus in np.unique(self.gpus).tolist():
            run = runs(free, gpus)[self.place][:, :, : self.starts]
            fits |= (self.gpus == gpus)[:, :, None] & (run >= self.span)
        return fits

    def split(self, window: int) -> tuple[int, int]:
        """Option and start of a flat window."""
        return divmod(window, self.starts)

    def take(self, free: IntArray, job: int, window: int, sign: int = 1) -> None:
        """Reserve a window, or give it back."""
        option, start = self.split(window)
        end = start + self.span[job, option, start]
        free[self.place[job, option], start:end] -= sign * self.gpus[job, option]


def crowd_of(problem: Problem, jobs: Sequence[int], choices: Sequence[Choice | None], bounds: FloatArray) -> Crowd:
    """The crowd of some jobs of a problem. Each may stay on its own lane, whatever its bound."""
    count = min(OPTIONS, bounds.shape[1])
    ranked = bounds.copy()
    for row, choice in enumerate(choices):
        if choice is not None:
            ranked[row, choice.lane] = -np.inf
    lane = np.argsort(ranked, axis=1, kind="stable")[:, :count]
    rows = np.array(jobs)[:, None]
    score, span = [], []
    for job, lanes in zip(jobs, lane, strict=True):
        windows = windows_of(problem, job)
        score.append(np.where(windows.open, windows.scores, np.inf)[lanes])
        span.append(windows.span[lanes])
    scores, spans = np.array(score), np.array(span)
    starts = int(np.flatnonzero(np.isfinite(scores).any(axis=(0, 1))).max(initial=0)) + 1
    scores, spans = np.ascontiguousarray(scores[:, :, :starts]), np.ascontiguousarray(spans[:, :, :starts])
    place = problem.lanes.place[lane]
    slots = min(problem.line.slots, starts + int(spans.max(initial=0)))  # as far as its windows reach
    first = place[:, :, None] * (slots + 1) + np.arange(starts)
    shape = len(rows), -1
    return Crowd(
        scores,
        lane,
        place,
        problem.demand.at(rows, lane).gpus,
        spans,
        first.reshape(shape),
        (first + spans).reshape(shape),
        slots,
    )


def windows_taken(crowd: Crowd, choices: Sequence[Choice | None]) -> IntArray:
    """The present windows as flat numbers, shape (jobs,); -1 where a job is late or has none."""
    taken = np.full(len(choices), -1, dtype=np.int64)
    for row, choice in enumerate(choices):
        if choice is not None and not choice.is_late:
            option = int(np.flatnonzero(crowd.lane[row] == choice.lane)[0])
            taken[row] = option * crowd.starts + choice.start
    return taken
