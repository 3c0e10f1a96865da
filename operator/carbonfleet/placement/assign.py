"""Give each job its window: tier after tier, and in a tier one after the other."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from carbonfleet.placement.careful import carefully, hold
from carbonfleet.placement.choice import Choice
from carbonfleet.placement.grid import IntArray
from carbonfleet.placement.improve import improve
from carbonfleet.placement.look import STRETCH, Looker, forms_of, plain_jobs
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.room import Room
from carbonfleet.placement.rules import BoolArray
from carbonfleet.placement.stretch import Stretch

CROWDED: Final = 0.3
"""Where more than this share of a stretch found its windows taken, the next is not sought together."""


def assign(problem: Problem) -> list[Choice | None]:
    """A choice for each job in the problem's order; None where nothing is open and free.

    Tier after tier: a lower one takes what the higher ones leave.
    """
    if not problem.jobs or not len(problem.lanes):
        return [None] * len(problem.jobs)
    room = Room(problem.capacity, problem.demand.gpus_by_kind, int(problem.lanes.gpus.max()))
    looker = Looker(problem, room, forms_of(problem))
    plain = plain_jobs(problem)
    choices: list[Choice | None] = []
    for jobs in tiers_of(problem):
        choices += in_turn(problem, looker, room, jobs, plain)
        if improve(problem, looker, room, choices, jobs[plain[jobs]]):
            look_again(problem, room, choices, jobs[~plain[jobs]])
    return choices


def look_again(problem: Problem, room: Room, choices: list[Choice | None], jobs: IntArray) -> None:
    """Jobs that found nothing in time, or nothing below their threshold, may find it where others have moved.

    One that runs has given back its GPUs.
    """
    for job in jobs.tolist():
        old, incumbent = choices[job], problem.jobs[job].incumbent
        if (old is None or old.is_late or problem.gives_up_threshold(job)) and not (
            incumbent is not None and incumbent.running
        ):
            if old is not None:
                hold(problem, job, old, room, sign=-1)
            choices[job] = carefully(problem, job, room)


def tiers_of(problem: Problem) -> list[IntArray]:
    """The jobs of each tier, in their order."""
    priority = np.array([limits.priority for limits in problem.limits])
    return np.split(np.arange(priority.size), np.flatnonzero(np.diff(priority)) + 1)


def in_turn(problem: Problem, looker: Looker, room: Room, jobs: IntArray, plain: BoolArray) -> list[Choice | None]:
    """Each job takes the best that is left when its turn comes."""
    choices: list[Choice | None] = []
    crowded = False
    for neighbours, quick in stretches(problem, jobs, plain):
        if quick:
            stretch = Stretch(problem, looker.at(neighbours), room, crowded)
            choices += stretch.choices()
            crowded = stretch.repeated > CROWDED * neighbours.size
        else:
            choices += [carefully(problem, job, room) for job in neighbours.tolist()]
    return choices


def stretches(problem: Problem, jobs: IntArray, plain: BoolArray) -> Iterator[tuple[IntArray, bool]]:
    """Runs of neighbours that are plain and weigh one signal, at most STRETCH long; and the rest."""
    kinds = [problem.jobs[job].spec.signal if plain[job] else "" for job in jobs.tolist()]
    begin = 0
    for end in range(1, len(kinds) + 1):
        if end == len(kinds) or kinds[end] != kinds[begin] or end - begin == STRETCH:
            yield jobs[begin:end], bool(kinds[begin])
            begin = end
