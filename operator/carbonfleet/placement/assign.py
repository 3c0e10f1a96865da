"""Give each job its window: tier after tier, and in a tier one after the other."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from carbonfleet.placement.inputs import BoolArray, CapacityRuns, IntArray
from carbonfleet.placement.plan_inputs import PlanInputs
from carbonfleet.placement.repair import repair_tier
from carbonfleet.placement.search import (
    BLOCK,
    Choice,
    GreedyBlock,
    WindowIndex,
    WindowSearch,
    best_choice,
    hold,
    prefers_among_equals,
)

CONTENDED: Final = 0.3
"""Where more than this share of a block found its windows taken, the next is not sought together."""


def index_of(inputs: PlanInputs) -> WindowIndex:
    """What searches share, for the inputs as their capacity changes."""
    biggest = int(inputs.options.gpus.max(initial=0))
    return WindowIndex(inputs, CapacityRuns(inputs.capacity, inputs.demand.gpus_by_kind, biggest))


def assign(inputs: PlanInputs, index: WindowIndex) -> list[Choice | None]:
    """A choice for each job in the order of the inputs; None where nothing is open and free.

    Tier after tier: a lower one takes what the higher ones leave.
    """
    if not inputs.jobs or not len(inputs.options):
        return [None] * len(inputs.jobs)
    capacity, plain = index.capacity, index.plain
    choices: list[Choice | None] = []
    for jobs in tiers_of(inputs):
        choices += in_turn(inputs, index, capacity, jobs, plain)
        repaired = repair_tier(inputs, index, capacity, choices, jobs, plain)
        if repaired.size:
            look_again(inputs, capacity, choices, np.setdiff1d(jobs[~plain[jobs]], repaired))
            prefer_among_equals(inputs, index, capacity, choices, repaired)
    return choices


def look_again(inputs: PlanInputs, capacity: CapacityRuns, choices: list[Choice | None], jobs: IntArray) -> None:
    """Jobs that found nothing in time, or nothing below their threshold, may find it where others have moved.

    One that runs has given back its GPUs.
    """
    for job in jobs.tolist():
        old, incumbent = choices[job], inputs.jobs[job].incumbent
        if (old is None or old.is_late or inputs.gives_up_threshold(job)) and not (
            incumbent is not None and incumbent.running
        ):
            if old is not None:
                hold(inputs, job, old, capacity, sign=-1)
            choices[job] = best_choice(inputs, job, capacity)


def prefer_among_equals(
    inputs: PlanInputs, index: WindowIndex, capacity: CapacityRuns, choices: list[Choice | None], jobs: IntArray
) -> None:
    """Jobs that were repaired, to the last gram or cent, take the one they prefer of what counts as equal once more."""
    for job in jobs.tolist():
        choice = choices[job]
        if choice is None or choice.is_late or not prefers_among_equals(inputs, job):
            continue
        hold(inputs, job, choice, capacity, sign=-1)
        if index.plain[job]:
            search = WindowSearch(index, np.array([job]))
            choice = search.preferred_to(0, choice, search.bounds()[0])
            hold(inputs, job, choice, capacity)
        else:
            choice = best_choice(inputs, job, capacity)
        choices[job] = choice


def tiers_of(inputs: PlanInputs) -> list[IntArray]:
    """The jobs of each tier, in their order."""
    priority = np.array([limits.priority for limits in inputs.limits])
    return np.split(np.arange(priority.size), np.flatnonzero(np.diff(priority)) + 1)


def in_turn(
    inputs: PlanInputs, index: WindowIndex, capacity: CapacityRuns, jobs: IntArray, plain: BoolArray
) -> list[Choice | None]:
    """Each job takes the best that is left when its turn comes."""
    choices: list[Choice | None] = []
    contended = False
    for neighbours, quick in blocks(inputs, jobs, plain):
        if quick:
            block = GreedyBlock(inputs, WindowSearch(index, neighbours), capacity, contended)
            choices += block.choices()
            contended = block.repeated > CONTENDED * neighbours.size
        else:
            choices += [best_choice(inputs, job, capacity) for job in neighbours.tolist()]
    return choices


def blocks(inputs: PlanInputs, jobs: IntArray, plain: BoolArray) -> Iterator[tuple[IntArray, bool]]:
    """Runs of neighbours that are plain and weigh one signal, at most BLOCK long; and the rest."""
    kinds = [inputs.jobs[job].spec.signal if plain[job] else "" for job in jobs.tolist()]
    begin = 0
    for end in range(1, len(kinds) + 1):
        if end == len(kinds) or kinds[end] != kinds[begin] or end - begin == BLOCK:
            yield jobs[begin:end], bool(kinds[begin])
            begin = end
