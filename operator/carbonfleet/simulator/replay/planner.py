"""carbonfleet's own policy: the planner, asked in every cycle and committing only what starts now."""

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from carbonfleet.placement import Outcome, Plan, QueuedJob, Snapshot, plan
from carbonfleet.placement.decision import Window
from carbonfleet.placement.snapshot import Incumbent, RunProfile
from carbonfleet.simulator.grid import MINUTE, ForecastFeed, Forecasts, Grid
from carbonfleet.simulator.replay.fleet import Pool, ReplayedRun, ReplayFleet, queued
from carbonfleet.simulator.replay.jobs import ReplayJob
from carbonfleet.simulator.replay.loop import Moment

MOST_LENGTHS: Final = 50
"""Of one profile, the last runs whose lengths are known."""


class Planner:
    """The same `plan` as the hub's, on the replay's snapshots; it learns how long runs took as they end.

    As in the hub, a job that waits is planned again as one that was told where and when.
    """

    def __init__(self, name: str, fleet: ReplayFleet, grid: Grid, feed: ForecastFeed) -> None:
        self.name = name
        self._fleet, self._grid, self._feed = fleet, grid, feed
        self._pools = {pool.name: pool for pool in fleet.pools}
        self._queued: dict[ReplayJob, QueuedJob] = {}
        self._told: dict[str, Incumbent] = {}
        self._ended: dict[RunProfile, list[tuple[datetime, float]]] = {}
        self._slot = -1
        self._forecasts: Forecasts = {}

    def starts(self, moment: Moment) -> Sequence[ReplayedRun]:
        """What the plan says is to start now; of a job that is to be cut, the first piece."""
        jobs = {job.name: job for job in moment.waiting}
        found = []
        for decision in self.plan(moment):
            if decision.outcome is Outcome.START and decision.window is not None:
                window = decision.window
                run = moment.start(jobs[decision.name], self._pools[window.cluster], _first_piece(window))
                found += [run] if run is not None else []
            elif decision.window is not None:
                moment.wake_at(decision.window.start)
        for run in found:
            if run.piece_minutes is None and not run.earlier:
                ended = self._ended.setdefault(_profile(self._as_queued(run.job)), [])
                insort(ended, (run.end, run.minutes * run.pool.speed / 60))
        return found

    def plan(self, moment: Moment) -> Plan:
        """The plan for all that waits."""
        made = plan(self.snapshot(moment), moment.now)
        self._told = {
            decision.name: Incumbent(decision.window.cluster, decision.window.pool, decision.window.start)
            for decision in made
            if decision.outcome is Outcome.WAIT and decision.window is not None
        }
        return made

    def snapshot(self, moment: Moment) -> Snapshot:
        """What is known at that moment."""
        if self._slot != moment.slot:
            self._slot, self._forecasts = moment.slot, self._feed.at(moment.slot)
        jobs = [replace(self._as_queued(job), incumbent=self._told.get(job.name)) for job in moment.waiting]
        seen = self._fleet.snapshot(jobs, self._forecasts, moment.running)
        return replace(seen, run_lengths={profile: self._took(profile, moment.now) for profile in map(_profile, jobs)})

    def _took(self, profile: RunProfile, now: datetime) -> tuple[float, ...]:
        """Hours that the last whole runs took which have ended."""
        ended = self._ended.get(profile, [])
        return tuple(hours for _, hours in ended[: bisect_right(ended, (now, float("inf")))][-MOST_LENGTHS:])

    def _as_queued(self, job: ReplayJob) -> QueuedJob:
        known = self._queued.get(job)
        if known is None:
            known = self._queued[job] = queued(job, self._grid.signal)
        return known


def _profile(job: QueuedJob) -> RunProfile:
    return job.spec.workload.profile, "A100", job.spec.resources.gpus


def _first_piece(window: Window) -> int | None:
    (begin, end), *more = window.segments
    return (end - begin) // MINUTE if more else None


def foreseen(
    fleet: ReplayFleet,
    grid: Grid,
    feed: ForecastFeed,
    jobs: Sequence[ReplayJob],
    *,
    batch: timedelta = timedelta(days=7),
) -> dict[str, Window]:
    """The window of each job as planned in one go, days before they come: for perfect foresight.

    By name. Jobs are shown in batches of a week; without a limit on capacity that changes nothing.
    """
    left = sorted(jobs, key=lambda job: (job.submitted, job.name))
    windows: dict[str, Window] = {}
    while left:
        now = left[0].submitted
        chosen = [job for job in left if job.submitted < now + batch]
        left = left[len(chosen) :]
        snapshot = fleet.snapshot((queued(job, grid.signal, ahead=True) for job in chosen), feed.at(grid.slot(now)))
        for decision in plan(snapshot, now):
            if decision.window is not None:
                windows[decision.name] = decision.window
    return windows


def foreseen_runs(
    fleet: ReplayFleet, grid: Grid, feed: ForecastFeed, jobs: Sequence[ReplayJob]
) -> tuple[ReplayedRun, ...]:
    """The best run of each job without a limit on GPUs: in one piece the exact best; cut, the better of that and
    the pieces that the planner finds, told the future.
    """
    runs = {job.name: best_run(fleet.pools, grid, job) for job in jobs}
    cut = foreseen(fleet, grid, feed, [job for job in jobs if job.interruptible is not None])
    pools = {pool.name: pool for pool in fleet.pools}
    for job in jobs:
        if job.name in cut:
            pieces = _pieces(job, pools[cut[job.name].cluster], cut[job.name])
            runs[job.name] = min(runs[job.name], pieces, key=lambda run: run.grams(grid))
    return tuple(runs[name] for name in sorted(runs))


def best_run(pools: Sequence[Pool], grid: Grid, job: ReplayJob) -> ReplayedRun:
    """The run in one piece that emits least, the earliest of equal ones.

    The mean over a sliding window of a step function is piecewise linear, so that it is least where the run begins
    or ends with a slot, or at an end of the wait.
    """
    step = grid.step / MINUTE
    first, last = (job.submitted - grid.start) / MINUTE, (job.latest - grid.start) / MINUTE
    found: list[tuple[float, float, Pool]] = []
    for pool in pools:
        minutes = pool.actual_minutes(job)
        begins = np.arange(-(-first // step), last // step + 1) * step
        ends = np.arange(-(-(first + minutes) // step), (last + minutes) // step + 1) * step - minutes
        starts = np.unique(np.concatenate([[first, last], begins, ends]))
        grams = np.round(pool.kwh(job) * grid.means(grid.row(pool.zone), starts, minutes), 9)
        index = int(grams.argmin())
        found.append((float(grams[index]), float(starts[index]), pool))
    _, start, pool = min(found, key=lambda each: each[:2])
    return ReplayedRun(job, pool, grid.start + MINUTE * start)


def _pieces(job: ReplayJob, pool: Pool, window: Window) -> ReplayedRun:
    pieces = [ReplayedRun(job, pool, begin, False, (end - begin) // MINUTE) for begin, end in window.segments]
    return replace(pieces[-1], earlier=tuple(pieces[:-1]))
