"""Neighbours in the order, all plain: their windows are sought together and taken one by one."""

from functools import partial
from typing import Final

import numpy as np

from carbonfleet.placement.choice import Choice
from carbonfleet.placement.grid import IntArray
from carbonfleet.placement.look import FIRST_LOOK, NOWHERE, Look
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.room import Room
from carbonfleet.placement.snapshot import FloatArray
from carbonfleet.placement.stay import promised

SLACK: Final = 1.002
"""A bound that is farther off than this is worth finding anew."""
NOT_FOUND: Final = (NOWHERE, 0, 0)
PATIENCE: Final = 12
"""Lanes that a job looks at one by one before it looks at all."""


class Stretch:
    """Neighbours in the order, all plain: their best windows are found together, and taken one by one.

    What is found holds as long as it is still free when its job's turn comes, since taking windows only
    makes the others worse. Otherwise the job looks again. In a crowded fleet each looks for itself.
    """

    def __init__(self, problem: Problem, look: Look, room: Room, crowded: bool) -> None:
        self._problem, self._look, self._room, self._jobs = problem, look, room, look.jobs
        self._places = problem.lanes.place.tolist()
        self._bounds = look.bounds()
        self._first = [None] * len(look.jobs) if crowded else self._first_look()
        self.repeated = 0
        """How many had to look again."""

    def _first_look(self) -> list[Choice | None]:
        """The best window of each job on its most promising lanes; None where that does not settle it."""
        bounds = self._bounds
        count, lanes = bounds.shape
        few = min(FIRST_LOOK, lanes)
        order = np.argsort(bounds, axis=1, kind="stable")
        pairs = order[:, :few].ravel()
        scores, starts = self._look.best(np.repeat(np.arange(count), few), pairs)
        rest = np.full(count, NOWHERE)
        if few < lanes:
            rest = np.take_along_axis(bounds, order[:, few : few + 1], axis=1)[:, 0]
        shape = count, few
        return _settled(scores.reshape(shape), starts.reshape(shape), pairs.reshape(shape), rest)

    def choices(self) -> list[Choice | None]:
        """A choice for each job, taken in order."""
        return [self._choice(row, job) for row, job in enumerate(self._jobs)]

    def _choice(self, row: int, job: int) -> Choice | None:
        choice = self._first[row]
        if choice is None or not self._is_free(row, choice):
            self.repeated += 1
            choice = self._again(row)
        if choice is not None and not choice.is_late:
            choice = self._worthwhile(row, choice)
        if self._problem.jobs[job].incumbent is not None:
            choice = promised(self._problem, job, choice, partial(self._fits, row))
        if choice is not None:
            first, end = self._look.slots(row, choice.lane, choice.start)
            self._room.take(self._places[choice.lane], int(self._look.gpus[row, choice.lane]), first, end)
        return choice

    def _fits(self, row: int, job: int, lane: int, start: int) -> Choice | None:
        if not self._look.is_open(row, lane, start):
            return None
        choice = Choice(lane, start, self._look.score(row, lane, start))
        if not self._is_free(row, choice):
            return None
        share = self._problem.snapshot.assumptions.promised_gain_share
        return choice if self._look.is_worth(row, start, choice.score, share) else None

    def _worthwhile(self, row: int, choice: Choice) -> Choice:
        score, start, lane = self._look.worthwhile(row, (choice.score, choice.start, choice.lane))
        return choice if (start, lane) == (choice.start, choice.lane) else Choice(lane, start, score)

    def _is_free(self, row: int, choice: Choice) -> bool:
        first, end = self._look.slots(row, choice.lane, choice.start)
        return self._room.fits(self._places[choice.lane], int(self._look.gpus[row, choice.lane]), first, end)

    def _again(self, row: int) -> Choice | None:
        """Look at lane after lane in the order of their bounds until none that is left can be better.

        Of equal scores the earliest start wins, then the first lane.
        """
        look, left, found = self._look, self._bounds[row].copy(), NOT_FOUND
        for _ in range(min(PATIENCE, left.size)):
            lane = int(left.argmin())
            if left[lane] > found[0] or left[lane] == NOWHERE:
                return self._choice_of(row, found)
            score, start = look.look(row, lane)
            if score > left[lane] * SLACK:
                look.sharpen(self._bounds, row, lane)
            found = min(found, (score, start, lane))
            left[lane] = NOWHERE
        return self._choice_of(row, look.everywhere(row))

    def _choice_of(self, row: int, found: tuple[float, int, int]) -> Choice | None:
        """What was found, or the first time that is free after the latest start."""
        score, start, lane = found
        if score < NOWHERE:
            return Choice(lane, start, score)
        start, lane = self._look.first_free(row)
        return None if start < 0 else Choice(lane, start, self._look.score(row, lane, start), is_late=True)


def _settled(scores: FloatArray, starts: IntArray, lanes: IntArray, rest: FloatArray) -> list[Choice | None]:
    """Of each row the least score, if it is below all that was not looked at."""
    column = scores.argmin(axis=1)
    rows = np.arange(column.size)
    least = scores[rows, column]
    single = (scores <= least[:, None]).sum(axis=1) == 1
    clear = (least < rest) & single
    found = zip(lanes[rows, column].tolist(), starts[rows, column].tolist(), least.tolist(), strict=True)
    return [Choice(*values) if good else None for values, good in zip(found, clear.tolist(), strict=True)]
