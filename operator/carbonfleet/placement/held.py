"""GPUs that the jobs of a plan hold, slot by slot."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from carbonfleet.placement.choice import Choice, slots_of
from carbonfleet.placement.grid import IntArray
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.rules import BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """GPUs that jobs hold. Arrays of shape (pieces,): a run in one piece has one, a cut run several."""

    job: IntArray
    """The row of the job."""
    place: IntArray
    gpus: IntArray
    first: IntArray
    """The first slot of the piece, and the one after its last."""
    end: IntArray

    def of(self, jobs: BoolArray) -> "Held":
        """The pieces of some jobs, shape (jobs,)."""
        pieces = jobs[self.job]
        return Held(*(column[pieces] for column in self._columns()))

    def renumbered(self, rows: IntArray) -> "Held":
        """The same with other rows: job i becomes rows[i]."""
        return Held(rows[self.job], *self._columns()[1:])

    def beside(self, others: "Held") -> "Held":
        """All pieces of both."""
        return Held(*(np.concatenate(pair) for pair in zip(self._columns(), others._columns(), strict=True)))

    def pieces_in(self, slots: BoolArray) -> dict[int, list[tuple[int, int, int, int]]]:
        """All pieces of the jobs that hold any of some slots, by row: place, GPUs, first slot, and the one after.

        `slots` has shape (places, slots).
        """
        before = np.zeros((slots.shape[0], slots.shape[1] + 1), dtype=np.int64)
        np.cumsum(slots, axis=1, out=before[:, 1:])
        touching = self.job[before[self.place, self.end] > before[self.place, self.first]]
        mine = np.isin(self.job, touching)
        found: dict[int, list[tuple[int, int, int, int]]] = {}
        for row, *piece in zip(*(column[mine].tolist() for column in self._columns()), strict=True):
            found.setdefault(row, []).append(tuple(piece))
        return found

    def taken(self, shape: tuple[int, int]) -> IntArray:
        """GPUs that are held in each slot, shape (places, slots)."""
        change = np.zeros((shape[0], shape[1] + 1), dtype=np.int64)
        np.add.at(change, (self.place, self.first), self.gpus)
        np.subtract.at(change, (self.place, self.end), self.gpus)
        return np.cumsum(change[:, :-1], axis=1)

    def _columns(self) -> tuple[IntArray, ...]:
        return self.job, self.place, self.gpus, self.first, self.end


def held_by(problem: Problem, choices: Sequence[Choice | None]) -> Held:
    """What the choices of a problem's jobs hold."""
    chosen = [(row, choice) for row, choice in enumerate(choices) if choice is not None]
    whole = [(row, choice.lane, choice.start) for row, choice in chosen if not choice.segments]
    row, lane, first = np.array(whole, dtype=np.int64).reshape(-1, 3).T
    line, place, kind = problem.line, problem.lanes.place, problem.demand.kind[lane]
    # What begins now ends by the full minute after.
    begin = np.where(first == 0, line.next_minute, first * line.slot_minutes)
    end = -(-(begin + problem.demand.minutes_by_kind[row, kind]) // line.slot_minutes)
    held = Held(row, place[lane], problem.demand.gpus_by_kind[row, kind], first, np.minimum(end, line.slots))
    pieces = [
        (row, place[choice.lane], problem.demand.of(row).gpus[choice.lane], *slots)
        for row, choice in chosen
        if choice.segments
        for slots in slots_of(problem, row, choice)
    ]
    return held.beside(Held(*np.array(pieces, dtype=np.int64).reshape(-1, 5).T))


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """Who of a queue holds what."""

    base: IntArray
    """What was free before any of the queue was placed, shape (places, slots)."""
    held: Held
    priority: IntArray
    """Of the jobs' tiers, shape (jobs,)."""

    @property
    def left(self) -> IntArray:
        """What all leave, shape (places, slots)."""
        return self.base - self.held.taken(self.base.shape)

    def left_to(self, priority: int) -> IntArray:
        """What higher tiers leave to one, shape (places, slots)."""
        return self.base - self.held.of(self.priority > priority).taken(self.base.shape)

    def reordered(self, order: IntArray) -> "Shares":
        """The same with the jobs in another order."""
        places = np.empty(order.size, dtype=np.int64)
        places[order] = np.arange(order.size)
        return Shares(self.base, self.held.renumbered(places), self.priority[order])
