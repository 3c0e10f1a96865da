"""carbonfleet's own policy: the planner, asked in every cycle and committing only what starts now."""

from collections.abc import Sequence
from datetime import timedelta

from carbonfleet.api.job import Interruptible
from carbonfleet.placement import Outcome, QueuedJob, plan
from carbonfleet.placement.decision import Window
from carbonfleet.simulator.grid import ForecastFeed, Forecasts, Grid
from carbonfleet.simulator.replay.fleet import ReplayedRun, ReplayFleet, queued
from carbonfleet.simulator.replay.jobs import ReplayJob
from carbonfleet.simulator.replay.loop import Moment


class Planner:
    """The same `plan` as the hub's, on the replay's snapshots."""

    def __init__(self, name: str, fleet: ReplayFleet, grid: Grid, feed: ForecastFeed) -> None:
        self.name = name
        self._fleet, self._grid, self._feed = fleet, grid, feed
        self._pools = {pool.name: pool for pool in fleet.pools}
        self._queued: dict[ReplayJob, QueuedJob] = {}
        self._hour = -1
        self._forecasts: Forecasts = {}

    def starts(self, moment: Moment) -> Sequence[ReplayedRun]:
        """What the plan says is to start now."""
        if self._hour != moment.hour:
            self._hour, self._forecasts = moment.hour, self._feed.at(moment.hour)
        jobs = {job.name: job for job in moment.waiting}
        snapshot = self._fleet.snapshot(map(self._as_queued, moment.waiting), self._forecasts, moment.running)
        found = []
        for decision in plan(snapshot, moment.now):
            if decision.outcome is Outcome.START and decision.window is not None:
                run = moment.start(jobs[decision.name], self._pools[decision.window.cluster])
                found += [run] if run is not None else []
            elif decision.window is not None:
                moment.wake_at(decision.window.start)
        return found

    def _as_queued(self, job: ReplayJob) -> QueuedJob:
        known = self._queued.get(job)
        if known is None:
            known = self._queued[job] = queued(job, self._grid.signal)
        return known


def foreseen(
    fleet: ReplayFleet,
    grid: Grid,
    feed: ForecastFeed,
    jobs: Sequence[ReplayJob],
    interruptible: Interruptible | None = None,
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
        snapshot = fleet.snapshot(
            (queued(job, grid.signal, interruptible, ahead=True) for job in chosen), feed.at(grid.hour(now))
        )
        for decision in plan(snapshot, now):
            if decision.window is not None:
                windows[decision.name] = decision.window
    return windows
