"""Successive halving without waiting: which jobs of a sweep go on at a rung, by the losses that reached it so far.

ASHA (Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2018, Algorithm 2) in its stopping variant, as
Ray Tune has it: a job that reaches a rung goes on if its loss is among the best 1/eta of those that have reached that
rung so far, itself included, and else is stopped for good. The paper's own variant pauses each job at each rung and
takes up the best when a place is free. Here a pause costs a checkpoint, a start and the loading of a model on a cluster
whose clean hours may be over, and jobs wait for their hours already. The price: the first at a rung are compared with
few, and the first of all with nobody. They go on for want of rivals, and `minimum` says how many do; none of them can
be stopped there later.

A verdict depends on nothing but arrivals at the same rung that are earlier, so that replaying them gives the same
verdicts, whenever and however often that is done. Time: each arrival is put into a sorted list.
"""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from carbonfleet.api.job import Halving


@dataclass(frozen=True, slots=True, order=True)
class Arrival:
    """A job that has reached a rung; in the order of time, ties by job."""

    time: datetime
    percent: int
    """Of its steps: the rung."""
    job: str
    step: int
    loss: float


@dataclass(frozen=True, slots=True)
class RungVerdict:
    """How a job stood when it reached a rung."""

    arrival: Arrival
    rank: int
    """By loss, from 1; equal losses share the better one."""
    reached: int
    """Jobs that had reached the rung, itself included."""
    kept: int
    """How many of them go on."""
    cut_loss: float
    """The highest loss that goes on."""

    @property
    def goes_on(self) -> bool:
        """Whether it is among those."""
        return self.rank <= self.kept


def kept_of(reached: int, rule: Halving) -> int:
    """How many of those that have reached a rung go on: all of the first `minimum`, and then one in `eta`, rounded up.

    Rounded down, as the paper has it, of the four or five that reach a second rung one would go on, by a hair.
    """
    return reached if reached <= rule.minimum else -(-reached // rule.eta)


def verdicts_on(
    arrivals: Iterable[Arrival], rule: Halving, may_stop: Collection[str], decided: Collection[tuple[str, int]] = ()
) -> tuple[RungVerdict, ...]:
    """The verdict on each arrival of the jobs that `may_stop`, but those `decided` (job and rung), in their order.

    The others are rivals alone. A job that is stopped has reached no rung after that.
    """
    losses: dict[int, list[float]] = {}
    stopped: set[str] = set()
    found: list[RungVerdict] = []
    for arrival in sorted(arrivals):
        if arrival.job in stopped:
            continue
        rivals = losses.setdefault(arrival.percent, [])
        insort(rivals, arrival.loss)
        if arrival.job not in may_stop or (arrival.job, arrival.percent) in decided:
            continue
        kept = kept_of(len(rivals), rule)
        rank = bisect_left(rivals, arrival.loss) + 1
        found.append(RungVerdict(arrival, rank, len(rivals), kept, rivals[kept - 1]))
        if rank > kept:
            stopped.add(arrival.job)
    return tuple(found)
