"""A queue in the order in which it chose, with what each job took: what a planner remembers of a plan."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from carbonfleet.placement.choice import Choice, slots_of
from carbonfleet.placement.grid import IntArray
from carbonfleet.placement.look import NOWHERE, plain_jobs
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.rules import BoolArray
from carbonfleet.placement.snapshot import FloatArray, Incumbent

NO_ROW: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class Takes:
    """GPUs that are taken, in the order in which that happens; arrays of shape (takes,)."""

    seat: IntArray
    """Whose they are."""
    row: IntArray
    """Of the capacity."""
    first: IntArray
    end: IntArray
    gpus: IntArray

    def and_others(self, others: "Iterable[Takes]") -> "Takes":
        """These takes and others, by seat."""
        names = [item.name for item in fields(self)]
        together = Takes(*(np.concatenate([getattr(takes, name) for takes in (self, *others)]) for name in names))
        return together.at(np.arange(int(together.seat.max(initial=-1)) + 1))

    def some(self, which: BoolArray) -> "Takes":
        """Some of the takes."""
        return Takes(*(getattr(self, item.name)[which] for item in fields(self)))

    def at(self, seats: IntArray) -> "Takes":
        """The same with the seats renumbered: seat i becomes seats[i], where that is not NO_ROW."""
        seat = seats[self.seat]
        order = np.argsort(seat, kind="stable")
        order = order[seat[order] != NO_ROW]
        return Takes(seat[order], self.row[order], self.first[order], self.end[order], self.gpus[order])


@dataclass(frozen=True, slots=True, eq=False)
class Lineup:
    """Jobs in the order in which they choose, a seat for each, as arrays over seats.

    A seat's job is a row of a part: the problem of the whole queue as it once was, or of jobs that came later.
    """

    part: IntArray
    row: IntArray
    priority: IntArray
    gpus: IntArray
    """By kind of lane, shape (seats, kinds); as are the minutes."""
    minutes: IntArray
    is_plain: BoolArray
    is_promised: BoolArray
    """It waits for a place that it was told of."""
    score: FloatArray
    """Of what was chosen; infinite where that begins late, or nothing was free."""
    start: IntArray
    lane: IntArray
    promise: IntArray
    """The pool where the job was promised a place and is not now, as a row of the capacity; else NO_ROW."""
    passed: IntArray
    """What was passed over for a promise, as row, first slot and end; shape (seats, 3)."""

    def taken(self, seats: IntArray) -> "Lineup":
        """Some of the seats."""
        return Lineup(**{item.name: getattr(self, item.name)[seats] for item in fields(self)})

    def with_others(self, others: "Lineup") -> "Lineup":
        """These seats, and then others."""
        names = [item.name for item in fields(self)]
        return Lineup(**{name: np.concatenate([getattr(self, name), getattr(others, name)]) for name in names})

    def __len__(self) -> int:
        return int(self.row.size)


def lineup_of(problem: Problem, part: int) -> Lineup:
    """The jobs of a problem in its order, before they have chosen."""
    count = len(problem.jobs)
    return Lineup(
        part=np.full(count, part),
        row=np.arange(count),
        priority=np.array([limits.priority for limits in problem.limits], dtype=np.int64),
        gpus=problem.demand.gpus_by_kind,
        minutes=problem.demand.minutes_by_kind,
        is_plain=plain_jobs(problem),
        is_promised=np.array([job.incumbent is not None for job in problem.jobs], dtype=np.bool_),
        score=np.full(count, NOWHERE),
        start=np.full(count, NO_ROW),
        lane=np.full(count, NO_ROW),
        promise=np.full(count, NO_ROW),
        passed=np.full((count, 3), NO_ROW),
    )


def settled(problem: Problem, lineup: Lineup, seats: Sequence[int], choices: Sequence[Choice | None]) -> None:
    """Write down what some seats, all of one problem, have chosen."""
    for seat, choice in zip(seats, choices, strict=True):
        row = int(lineup.row[seat])
        lineup.score[seat] = NOWHERE if choice is None or choice.is_late else choice.score
        if choice is not None:
            lineup.start[seat], lineup.lane[seat] = choice.start, choice.lane
        incumbent = problem.jobs[row].incumbent
        if incumbent is not None:
            lineup.promise[seat] = _elsewhere(problem, incumbent, choice)
            lineup.passed[seat] = _passed(problem, row, choice)


def _elsewhere(problem: Problem, incumbent: Incumbent, choice: Choice | None) -> int:
    """The row of the promised pool, where the choice is not what was promised."""
    place = problem.lanes.place_of.get((incumbent.cluster, incumbent.pool), NO_ROW)
    start = problem.line.start_at_or_after(problem.line.minute(incumbent.start))
    is_there = choice is not None and (int(problem.lanes.place[choice.lane]), choice.start) == (place, start)
    return NO_ROW if is_there else place


def _passed(problem: Problem, row: int, choice: Choice | None) -> tuple[int, int, int]:
    """Row, first slot and end of the better window that a job did without."""
    if choice is None or choice.instead is None:
        return NO_ROW, NO_ROW, NO_ROW
    lane, start = choice.instead
    first, end = next(slots_of(problem, row, Choice(lane, start, 0.0)))
    return int(problem.lanes.place[lane]), first, end


def takes_of(problem: Problem, seats: Sequence[int], rows: Sequence[int], choices: Sequence[Choice | None]) -> Takes:
    """What jobs of a problem took of the pools, each by its choice."""
    found = [item for item in zip(seats, rows, choices, strict=True) if item[2] is not None]
    whole = [(seat, row, choice.lane, choice.start) for seat, row, choice in found if choice and not choice.segments]
    seat, row, lane, start = np.array(whole, dtype=np.int64).reshape(-1, 4).T
    line, kind = problem.line, problem.demand.kind[lane]
    minutes = problem.demand.minutes_by_kind[row, kind] + np.where(start == 0, line.next_minute, 0)
    end = np.minimum(start - (-minutes // line.slot_minutes), line.slots)
    takes = [np.array((seat, problem.lanes.place[lane], start, end, problem.demand.gpus_by_kind[row, kind]))]
    for at, job, choice in found:
        if choice is not None and choice.segments:
            gpus, place = int(problem.demand.of(job).gpus[choice.lane]), int(problem.lanes.place[choice.lane])
            parts = [(at, place, *slots, gpus) for slots in slots_of(problem, job, choice)]
            takes.append(np.array(parts, dtype=np.int64).reshape(-1, 5).T)
    return Takes(*np.concatenate(takes, axis=1)).at(np.arange(max(seats, default=-1) + 1))
