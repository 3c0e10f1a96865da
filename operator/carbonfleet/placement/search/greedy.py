"""Neighbours in the order, all plain: their windows are sought together and taken one by one."""

from functools import partial
from typing import Final

import numpy as np

from carbonfleet.placement.inputs import CapacityRuns, IntArray
from carbonfleet.placement.plan_inputs import PlanInputs
from carbonfleet.placement.search.best_choice import prefers_among_equals
from carbonfleet.placement.search.choice import Choice
from carbonfleet.placement.search.fast_windows import FIRST_LOOK, NOWHERE, WindowSearch
from carbonfleet.placement.search.running_jobs import promised
from carbonfleet.placement.snapshot import FloatArray

SLACK: Final = 1.002
"""A bound that is farther off than this is worth finding anew."""
NOT_FOUND: Final = (NOWHERE, 0, 0)
PATIENCE: Final = 12
"""Options that a job searches at one by one before it searches at all."""


class GreedyBlock:
    """Neighbours in the order, all plain: their best windows are found together, and taken one by one.

    What is found holds as long as it is still free when its job's turn comes, since taking windows only
    makes the others worse. Otherwise the job searches again. In a contended fleet each searches for itself.
    """

    def __init__(self, inputs: PlanInputs, search: WindowSearch, capacity: CapacityRuns, contended: bool) -> None:
        self._inputs, self._search, self._capacity, self._jobs = inputs, search, capacity, search.jobs
        self._capacity_rows = inputs.options.capacity_row.tolist()
        self._bounds = search.bounds()
        self._versions = list(capacity.version)
        """Of the capacity in which the block's windows were found."""
        self._prefers = [prefers_among_equals(inputs, job) for job in search.jobs]
        self._first = [None] * len(search.jobs) if contended else self._first_look()
        self._preferred = self._preferred_choices()
        self.repeated = 0
        """How many had to look again."""

    def _first_look(self) -> list[Choice | None]:
        """The best window of each job on its most promising options; None where that does not settle it."""
        order = np.argsort(self._bounds, axis=1, kind="stable")
        rows = np.arange(len(order))
        scores, starts = self._search.best(rows, order[:, 0])
        second = self._bounds[rows, order[:, 1]] if order.shape[1] > 1 else np.full(rows.size, NOWHERE)
        found = zip(order[:, 0].tolist(), starts.tolist(), scores.tolist(), strict=True)
        is_best = scores < second
        first = [Choice(*values) if best else None for values, best in zip(found, is_best.tolist(), strict=True)]
        left = np.flatnonzero(~is_best)
        for row, choice in zip(left.tolist(), self._among_first(left, order[left]), strict=True):
            first[row] = choice
        return first

    def _among_first(self, rows: IntArray, order: IntArray) -> list[Choice | None]:
        """The same for the rows of which the most promising option alone does not settle it."""
        count, options = order.shape
        if not count:
            return []
        few = min(FIRST_LOOK, options)
        pairs = order[:, :few].ravel()
        scores, starts = self._search.best(np.repeat(rows, few), pairs)
        rest = self._bounds[rows, order[:, few]] if few < options else np.full(count, NOWHERE)
        shape = count, few
        return _settled(scores.reshape(shape), starts.reshape(shape), pairs.reshape(shape), rest)

    def _preferred_choices(self) -> list[Choice | None]:
        """Beside each first choice that which is preferred of the free windows that count as equal to it."""
        rows = [row for row, choice in enumerate(self._first) if choice is not None and self._prefers[row]]
        preferred = list(self._first)
        if rows:
            first = [choice for row in rows if (choice := self._first[row]) is not None]
            found = self._search.preferred(np.array(rows), first, self._bounds[rows])
            for row, choice in zip(rows, found, strict=True):
                preferred[row] = choice
        return preferred

    def choices(self) -> list[Choice | None]:
        """A choice for each job, taken in order."""
        return [self._choice(row, job) for row, job in enumerate(self._jobs)]

    def _choice(self, row: int, job: int) -> Choice | None:
        choice, preferred = self._first[row], self._preferred[row]
        if choice is None or not self._is_still_free(row, choice):
            self.repeated += 1
            choice = self._again(row)
            if choice is not None and not choice.is_late and self._prefers[row]:
                choice = self._search.preferred_to(row, choice, self._bounds[row])
        elif preferred is not None and preferred is not choice:
            choice = (
                preferred
                if self._is_still_free(row, preferred)
                else self._search.preferred_to(row, choice, self._bounds[row])
            )
        if self._inputs.jobs[job].incumbent is not None:
            waiting = partial(self._search.waiting, row)
            choice = promised(self._inputs, job, choice, partial(self._planned, row), waiting)
        if choice is not None:
            first, end = self._search.slots(row, choice.option, choice.start)
            self._capacity.take(
                self._capacity_rows[choice.option], int(self._search.gpus[row, choice.option]), first, end
            )
        return choice

    def _planned(self, row: int, option: int, start: int) -> Choice | None:
        if not self._search.is_open(row, option, start):
            return None
        choice = Choice(option, start, self._search.score(row, option, start))
        return choice if self._is_free(row, choice) else None

    def _is_still_free(self, row: int, choice: Choice) -> bool:
        place = self._capacity_rows[choice.option]
        return self._capacity.version[place] == self._versions[place] or self._is_free(row, choice)

    def _is_free(self, row: int, choice: Choice) -> bool:
        first, end = self._search.slots(row, choice.option, choice.start)
        return self._capacity.fits(
            self._capacity_rows[choice.option], int(self._search.gpus[row, choice.option]), first, end
        )

    def _again(self, row: int) -> Choice | None:
        """Search option after option in the order of their bounds until none that is left can be better.

        Of equal scores the earliest start wins, then the first option.
        """
        search, left, found = self._search, self._bounds[row].copy(), NOT_FOUND
        for _ in range(min(PATIENCE, left.size)):
            option = int(left.argmin())
            if left[option] > found[0] or left[option] == NOWHERE:
                return self._choice_of(row, found)
            score, start = search.best_on(row, option)
            if score > left[option] * SLACK:
                search.sharpen(self._bounds, row, option)
            found = min(found, (score, start, option))
            left[option] = NOWHERE
        return self._choice_of(row, search.everywhere(row))

    def _choice_of(self, row: int, found: tuple[float, int, int]) -> Choice | None:
        """What was found, or the first time that is free after the latest start."""
        score, start, option = found
        if score < NOWHERE:
            return Choice(option, start, score)
        start, option = self._search.first_free(row)
        return None if start < 0 else Choice(option, start, self._search.score(row, option, start), is_late=True)


def _settled(scores: FloatArray, starts: IntArray, options: IntArray, rest: FloatArray) -> list[Choice | None]:
    """Of each row the least score, if it is below all that was not looked at."""
    column = scores.argmin(axis=1)
    rows = np.arange(column.size)
    least = scores[rows, column]
    single = (scores <= least[:, None]).sum(axis=1) == 1
    clear = (least < rest) & single
    found = zip(options[rows, column].tolist(), starts[rows, column].tolist(), least.tolist(), strict=True)
    return [Choice(*values) if good else None for values, good in zip(found, clear.tolist(), strict=True)]
