"""Whether promises are kept: what was first promised of jobs in a replay, and what came of them."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from carbonfleet.placement import Plan, explain
from carbonfleet.placement.decision import Promise
from carbonfleet.simulator.backtest import Backtest, our_planner
from carbonfleet.simulator.grid import MINUTE, ForecastFeed, Grid
from carbonfleet.simulator.replay import Moment, Planner, ReplayedRun, ReplayFleet, replay

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


class PromiseRecorder(Planner):
    """The planner, whose first promise to each job is written down."""

    def __init__(self, name: str, fleet: ReplayFleet, grid: Grid, feed: ForecastFeed) -> None:
        super().__init__(name, fleet, grid, feed)
        self.promised: dict[str, Promise] = {}

    def plan(self, moment: Moment) -> Plan:
        """The same as the planner's."""
        made = super().plan(moment)
        for decision in made:
            if decision.name not in self.promised and (promise := explain(made, decision).promise) is not None:
                self.promised[decision.name] = promise
        return made


def kept_promises(backtest: Backtest) -> KeptPromises:
    """Replay the jobs, asking of each what it is promised when it comes. 0.1 s a job in nine zones.

    Raises ReplayError like `run_backtest`.
    """
    found = []
    for jobs in backtest.scenarios:
        recorder = our_planner(backtest, PromiseRecorder)
        runs = replay(backtest.grid, jobs, recorder, backtest.pools, cycle_minutes=backtest.cycle_minutes)
        home = next(pool for pool in backtest.pools if pool.zone == backtest.home)
        for run in runs:
            if (promise := recorder.promised.get(run.job.name)) is not None:
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
