"""What searches of plain jobs share: the grid in handy forms, and what is free at the moment."""

from typing import Any

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.placement.inputs import MINUTE, CapacityRuns, IntArray
from carbonfleet.placement.plan_inputs import PlanInputs
from carbonfleet.placement.search.limits import plain_jobs
from carbonfleet.placement.search.lower_bounds import Bounds, Compact, Frontier, bounds_of, minute_share


class WindowIndex:
    """The plan's inputs and capacity, with what is worked out of them once."""

    def __init__(self, inputs: PlanInputs, capacity: CapacityRuns) -> None:
        self.inputs, self.capacity = inputs, capacity
        line = inputs.line
        self._compact: dict[SignalKind, Compact] = {}
        self.searches: dict[int, Any] = {}
        """By job: what `near` found."""
        self._bounds: dict[tuple[SignalKind, float | None], Bounds] = {}
        self.longest = inputs.snapshot.assumptions.longest_run // MINUTE
        self._frontiers: dict[tuple[SignalKind, float], Frontier] = {}
        self.options = np.arange(len(inputs.options))
        self.plain = plain_jobs(inputs)
        rows = range(len(inputs.jobs))
        self.first = np.array([inputs.earliest_start(job) for job in rows], dtype=np.int64)
        latest = np.array([inputs.latest_start(job) for job in rows], dtype=np.int64)
        self.latest = np.minimum(np.maximum(latest, self.first), line.starts - 1)
        self.due = np.array([inputs.deadline_minute(job) for job in rows], dtype=np.int64)
        self.gain = np.array([inputs.gain_per_start(job) for job in rows])
        self.equal = 1 + inputs.snapshot.assumptions.equal_share
        limits = [job.spec.objective.max_cost_usd for job in inputs.jobs]
        self.most_usd = np.array([np.inf if usd is None else usd for usd in limits])

    def compact(self, signal: SignalKind) -> Compact:
        """The grid in 32 bits."""
        if signal not in self._compact:
            self._compact[signal] = Compact.of(self.inputs.carbon[signal], self.inputs.options.zone, self.inputs.line)
        return self._compact[signal]

    def bounds(self, signal: SignalKind, gain: float | None) -> Bounds:
        """How clean windows are, were all options empty, for runs up to the longest.

        Without a gain as they are expected to be: nothing is added for doubt, and nothing for a delay.
        """
        key, line, grid = (signal, gain), self.inputs.line, self.inputs.carbon[signal]
        if key not in self._bounds:
            longest = min(int(self.inputs.demand.lengths_by_kind.max(initial=1)), self.longest)
            totals, share = (grid.total, 0.0) if gain is None else (grid.weighed, minute_share(grid, line))
            self._bounds[key] = bounds_of(totals, line, longest, gain or 0.0, share)
        return self._bounds[key]

    def frontier(self, signal: SignalKind, gain: float) -> Frontier:
        """How clean free windows still are."""
        key = signal, gain
        if key not in self._frontiers:
            self._frontiers[key] = Frontier(self.inputs, self.inputs.carbon[signal], self.capacity, gain)
        return self._frontiers[key]

    def common_gain(self, jobs: IntArray) -> float:
        """What a delay from start 0 must gain at least for each of some jobs: nothing if one may begin only later."""
        return 0.0 if self.first[jobs].any() else float(self.gain[jobs].min())
