"""Other schedulers' policies, to compare with: what routers and thresholds do, and what simple forecasts give."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from carbonfleet.placement.snapshot import FloatArray
from carbonfleet.simulator.grid import Grid
from carbonfleet.simulator.replay.fleet import Pool, ReplayedRun
from carbonfleet.simulator.replay.jobs import ReplayJob
from carbonfleet.simulator.replay.loop import Moment

DAY: Final = 24
MONTH: Final = 28 * DAY
LEVEL_HOURS: Final = 12.0
ABSOLUTE_LIMITS: Final = {24: 225.0, 48: 175.0, 96: 125.0}
"""g/kWh by hours of slack, as a scheduler with three tiers ships them."""
PERCENTILE_LIMITS: Final = {24: 50.0, 48: 35.0, 96: 20.0}
"""Of the zone's last 28 days, by hours of slack."""

Outlook = Callable[[Grid, int, int], FloatArray]
"""Grid, hour and how many hours: a forecast of shape (zones, hours) from the hours before alone."""


class JobByJob:
    """A policy that looks at one job after the other, in the order in which they came."""

    def __init__(self, name: str, grid: Grid, home: str) -> None:
        self.name, self.grid, self.home = name, grid, home

    def starts(self, moment: Moment) -> Sequence[ReplayedRun]:
        """Jobs for which the rule says now, and those whose wait is over, as far as GPUs are free."""
        found = []
        for job in moment.waiting:
            pools = self.pools(job, moment)
            if moment.now >= job.latest or self.says_now(job, moment):
                run = next((run for pool in pools if (run := moment.start(job, pool)) is not None), None)
                found += [run] if run is not None else []
        return found

    def pools(self, job: ReplayJob, moment: Moment) -> list[Pool]:
        """Where the job may go, best first."""
        raise NotImplementedError

    def says_now(self, job: ReplayJob, moment: Moment) -> bool:
        """Whether the job starts before its wait is over."""
        return True

    def latest_known(self, pool: Pool, moment: Moment) -> float:
        """The last hour's intensity."""
        return float(self.grid.grams_per_kwh[self.grid.row(pool.zone), max(0, moment.hour - 1)])


class AtHome(JobByJob):
    """At once, in one zone."""

    def pools(self, job: ReplayJob, moment: Moment) -> list[Pool]:
        """Those of the home zone, as listed."""
        return [pool for pool in moment.pools if pool.zone == self.home]


class CleanestNow(JobByJob):
    """At once, in the zone that is cleanest by the last value: the usual router."""

    def pools(self, job: ReplayJob, moment: Moment) -> list[Pool]:
        """The cleanest first."""
        return sorted(moment.pools, key=lambda pool: self.latest_known(pool, moment))


class AbsoluteTiers(CleanestNow):
    """Below a fixed threshold, or when the wait is over."""

    def says_now(self, job: ReplayJob, moment: Moment) -> bool:
        """Whether the cleanest zone is below the threshold of the job's slack."""
        return min(self.latest_known(pool, moment) for pool in moment.pools) <= limit_of(job, ABSOLUTE_LIMITS)


class PercentileTiers(CleanestNow):
    """Below a percentile of the zone's last 28 days, or when the wait is over."""

    def __init__(self, name: str, grid: Grid, home: str) -> None:
        super().__init__(name, grid, home)
        self._known: dict[tuple[int, int, float], float] = {}

    def says_now(self, job: ReplayJob, moment: Moment) -> bool:
        """Whether the cleanest zone is clean for its own standards."""
        pool = self.pools(job, moment)[0]
        percent = limit_of(job, PERCENTILE_LIMITS)
        key = self.grid.row(pool.zone), moment.hour, percent
        if key not in self._known:
            past = self.grid.grams_per_kwh[key[0], max(0, moment.hour - MONTH) : max(1, moment.hour)]
            self._known[key] = float(np.percentile(past, percent))
        return self.latest_known(pool, moment) <= self._known[key]


def limit_of(job: ReplayJob, limits: Mapping[int, float]) -> float:
    """The threshold of a job's slack: that of the next longer one listed."""
    hours = job.delay.total_seconds() / 3600
    return next((limit for slack, limit in sorted(limits.items()) if hours <= slack), limits[max(limits)])


class Forecaster(JobByJob):
    """Now, if no later start looks cleaner; asked again in every cycle."""

    def __init__(self, name: str, grid: Grid, home: str, outlook: Outlook) -> None:
        super().__init__(name, grid, home)
        self._outlook = outlook
        self._hour = -1
        self._ahead: FloatArray = np.empty((0, 0))
        self._windows: dict[int, FloatArray] = {}

    def pools(self, job: ReplayJob, moment: Moment) -> list[Pool]:
        """The one whose window now looks cleanest first."""
        windows = self._windows_of(job, moment)
        return sorted(moment.pools, key=lambda pool: float(windows[self.grid.row(pool.zone), 0]))

    def says_now(self, job: ReplayJob, moment: Moment) -> bool:
        """Whether the best window now is no dirtier than the best one to come."""
        left = int((job.latest - moment.now).total_seconds() // 3600)
        windows = self._windows_of(job, moment)
        return bool(windows[:, 0].min() <= windows[:, 1 : left + 1].min(initial=np.inf))

    def _windows_of(self, job: ReplayJob, moment: Moment) -> FloatArray:
        """Mean intensity of the job's run by zone and start in hours from now, shape (zones, starts)."""
        if moment.hour != self._hour:
            self._hour, self._windows = moment.hour, {}
        starts = int(job.delay.total_seconds() // 3600) + 1
        known = self._windows.get(job.minutes)
        if known is None or known.shape[1] < starts:
            hours = -(-job.minutes // 60)
            ahead = self._outlook(self.grid, moment.hour, starts + hours)
            known = self._windows[job.minutes] = window_means(ahead, job.minutes, starts)
        return known


def window_means(ahead: FloatArray, minutes: int, starts: int) -> FloatArray:
    """Mean over a run of `minutes` from the begin of each hour; the last hour may be used in part."""
    whole, part = divmod(minutes, 60)
    total = np.concatenate([np.zeros((ahead.shape[0], 1)), np.cumsum(ahead, axis=1)], axis=1)
    at = np.arange(starts)
    means = (total[:, at + whole] - total[:, at]) * 60
    means += ahead[:, at + whole] * part if part else 0.0
    found: FloatArray = means / minutes
    return found


def persistence(grid: Grid, hour: int, hours: int) -> FloatArray:
    """Tomorrow will be as the last 24 hours were."""
    day = grid.grams_per_kwh[:, hour - DAY : hour]
    found: FloatArray = day[:, np.arange(hours) % DAY]
    return found


def level_profile(grid: Grid, hour: int, hours: int) -> FloatArray:
    """The mean of each hour of the day over seven days, and the last value's distance from it, which fades."""
    days = min(7, hour // DAY)
    profile = grid.grams_per_kwh[:, hour - days * DAY : hour].reshape(len(grid.zones), days, DAY).mean(axis=1)
    ahead = np.arange(hours)
    departure = grid.grams_per_kwh[:, hour - 1] - profile[:, -1]
    found: FloatArray = profile[:, ahead % DAY] + departure[:, None] * np.exp(-(ahead + 1) / LEVEL_HOURS)
    return found


def best_static(grid: Grid, hour: int) -> str:
    """The zone that was cleanest on the mean before an hour; over the whole trace when nothing is before it."""
    past = grid.grams_per_kwh[:, max(0, hour - MONTH) : hour] if hour else grid.grams_per_kwh
    return grid.zones[int(past.mean(axis=1).argmin())]


def baselines(grid: Grid, home: str, first_hour: int) -> tuple[JobByJob, ...]:
    """All of them, the first being what savings are measured from; those that forecast need a day of history."""
    rules: tuple[JobByJob, ...] = (
        AtHome("immediate at home", grid, home),
        AtHome("best static region", grid, best_static(grid, first_hour)),
        CleanestNow("cleanest now", grid, home),
        AbsoluteTiers("absolute tiers", grid, home),
        PercentileTiers("percentile tiers", grid, home),
    )
    if first_hour < DAY:
        return rules
    return (
        *rules,
        Forecaster("one-day persistence", grid, home, persistence),
        Forecaster("seven-day profile", grid, home, level_profile),
    )
