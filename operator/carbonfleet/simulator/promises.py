"""Whether promises are kept: what was first promised of jobs in a replay, and what came of them."""

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.placement import Plan, QueuedJob, Snapshot, explain
from carbonfleet.placement.decision import Promise
from carbonfleet.placement.snapshot import RunProfile
from carbonfleet.simulator.backtest import Backtest, our_planner
from carbonfleet.simulator.grid import MINUTE, ForecastFeed, Grid
from carbonfleet.simulator.replay import Moment, Planner, ReplayedRun, ReplayFleet, queued, replay

ROUNDING: Final = 1e-6


@dataclass(frozen=True, slots=True)
class KeptPromises:
    """Of all jobs, in percent: outcomes from P10 to P90, and what else can be counted.

    Starts are whole hours, and a job that starts at once can't start otherwise: of starts more than 80 % must lie
    within, and so of finishes where runs take as long as declared.
    """

    jobs: int
    start: float
    finish: float
    grams: float
    saved: float
    late: float
    """Ended after the P90 of their finish."""
    waiting: float
    """Of jobs that were first planned to wait, the starts within."""


class Witness(Planner):
    """The planner, whose first promise to each job is written down; it learns how long runs took as they end."""

    def __init__(self, name: str, fleet: ReplayFleet, grid: Grid, feed: ForecastFeed) -> None:
        super().__init__(name, fleet, grid, feed)
        self.promised: dict[str, Promise] = {}
        self._ended: dict[RunProfile, list[tuple[datetime, float]]] = {}

    def starts(self, moment: Moment) -> Sequence[ReplayedRun]:
        """The same as the planner's."""
        runs = super().starts(moment)
        for run in runs:
            ended = self._ended.setdefault(_profile(queued(run.job, SignalKind.AVERAGE_LIFECYCLE)), [])
            insort(ended, (run.end, run.minutes * run.pool.speed / 60))
        return runs

    def plan(self, moment: Moment) -> Plan:
        """The same as the planner's."""
        made = super().plan(moment)
        for decision in made:
            if decision.name not in self.promised and (promise := explain(made, decision).promise) is not None:
                self.promised[decision.name] = promise
        return made

    def snapshot(self, moment: Moment) -> Snapshot:
        """With the lengths of the runs that have ended."""
        seen = super().snapshot(moment)
        lengths = {}
        for profile in {_profile(job) for job in seen.jobs}:
            ended = self._ended.get(profile, [])
            lengths[profile] = tuple(hours for _, hours in ended[: bisect_right(ended, (moment.now, np.inf))][-50:])
        return replace(seen, run_lengths=lengths)


def _profile(job: QueuedJob) -> RunProfile:
    return job.spec.workload.profile, "A100", job.spec.resources.gpus


def kept_promises(backtest: Backtest) -> KeptPromises:
    """Replay the jobs, asking of each what it is promised when it comes. 0.1 s a job in nine zones.

    Raises ReplayError like `run_backtest`.
    """
    found = []
    for jobs in backtest.scenarios:
        witness = our_planner(backtest, Witness)
        runs = replay(backtest.grid, jobs, witness, backtest.pools, cycle_minutes=backtest.cycle_minutes)
        home = next(pool for pool in backtest.pools if pool.zone == backtest.home)
        for run in runs:
            if (promise := witness.promised.get(run.job.name)) is not None:
                base = ReplayedRun(run.job, home, run.job.submitted)
                found.append(_kept(promise, run, base, backtest.grid))
    start, finish, grams, saved, late, waits = 100 * np.array(found, dtype=float).T
    waiting = start[waits > 0] if waits.any() else start
    means = (float(each.mean()) for each in (start, finish, grams, saved, late, waiting))
    return KeptPromises(len(found), *means)


def _kept(promise: Promise, run: ReplayedRun, base: ReplayedRun, grid: Grid) -> tuple[bool, ...]:
    grams = run.grams(grid)
    low, _, high = promise.grams
    saved = promise.saved_grams or (-np.inf, 0.0, np.inf)
    begin = run.pieces[0].begin
    return (
        promise.start[0] - MINUTE <= begin <= promise.start[2] + MINUTE,
        promise.finish[0] - MINUTE <= run.end <= promise.finish[2] + MINUTE,
        low - ROUNDING <= grams <= high + ROUNDING,
        saved[0] - ROUNDING <= base.grams(grid) - grams <= saved[2] + ROUNDING,
        run.end > promise.finish[2] + MINUTE,
        promise.start[1] > run.job.submitted,
    )
