"""The rule of early stopping replayed over whole loss curves, as a fleet of so many GPUs would have met them."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from real_curves import STEPS, Curve

from carbonfleet.api.job import Halving
from carbonfleet.hub.running.halving import Arrival, verdicts_on

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of it."""

    steps: Mapping[str, int]
    """That each job trained."""
    leaderboard: tuple[str, ...]
    """Those that came to their end, the best first."""
    best: str
    """Of the full sweep."""

    @property
    def unspent(self) -> float:
        """Share of all steps that were not trained: each takes as long and as much energy."""
        return 1 - sum(self.steps.values()) / (len(self.steps) * STEPS)

    @property
    def place_of_best(self) -> int | None:
        """On the leaderboard, from 1; None where it was stopped."""
        return self.leaderboard.index(self.best) + 1 if self.best in self.leaderboard else None


def replay(curves: Mapping[str, Curve], rule: Halving, gpus: int, order: Sequence[str] = ()) -> Replay:
    """A job a GPU, in the order given; a GPU that is free takes the next job at once. Time is counted in steps."""
    queue = list(order or curves)
    stops = [STEPS * percent // 100 for percent in sorted(rule.rungs_percent)] + [STEPS]
    arrivals: list[Arrival] = []
    steps = dict.fromkeys(curves, 0)
    under_way = [(stops[0], job, 0) for job in queue[:gpus]]
    del queue[:gpus]
    heapq.heapify(under_way)
    while under_way:
        now, job, rung = heapq.heappop(under_way)
        step = steps[job] = stops[rung]
        goes_on = step < STEPS
        if goes_on:
            at = BEGIN + timedelta(minutes=now)
            arrivals.append(Arrival(at, 100 * step // STEPS, job, step, curves[job][step]))
            told = verdicts_on(arrivals, rule, {job})[-1]
            goes_on = told.goes_on
        if goes_on:
            heapq.heappush(under_way, (now + stops[rung + 1] - step, job, rung + 1))
        elif queue:
            heapq.heappush(under_way, (now + stops[0], queue.pop(0), 0))
    final = {job: curve[STEPS] for job, curve in curves.items()}
    ended = sorted((job for job in curves if steps[job] == STEPS), key=lambda job: final[job])
    return Replay(steps, tuple(ended), min(final, key=lambda job: final[job]))
