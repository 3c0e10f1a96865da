"""Other schedulers' policies, to compare with: what routers and thresholds do, and what simple forecasts give."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from carbonfleet.forecast import FloatArray, IntArray
from carbonfleet.simulator.grid import MINUTE, Grid, window_means
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

_NEVER: Final = 2**31
BoolArray = npt.NDArray[np.bool_]
Outlook = Callable[[Grid, int, int], FloatArray]
"""Grid, slot and how many slots: a forecast of shape (zones, slots) from the slots before alone."""


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
            else:
                moment.wake_at(job.latest)
        return found

    def pools(self, job: ReplayJob, moment: Moment) -> list[Pool]:
        """Where the job may go, best first."""
        raise NotImplementedError

    def says_now(self, job: ReplayJob, moment: Moment) -> bool:
        """Whether the job starts before its wait is over."""
        return True

    def latest_known(self, pool: Pool, moment: Moment) -> float:
        """The last value."""
        return float(self.grid.grams_per_kwh[self.grid.row(pool.zone), max(0, moment.slot - 1)])


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
        key = self.grid.row(pool.zone), moment.slot, percent
        if key not in self._known:
            past = self.grid.grams_per_kwh[
                key[0], max(0, moment.slot - MONTH * self.grid.per_hour) : max(1, moment.slot)
            ]
            self._known[key] = float(np.percentile(past, percent))
        return self.latest_known(pool, moment) <= self._known[key]


def limit_of(job: ReplayJob, limits: Mapping[int, float]) -> float:
    """The threshold of a job's slack: that of the next longer one listed."""
    hours = job.delay.total_seconds() / 3600
    return next((limit for slack, limit in sorted(limits.items()) if hours <= slack), limits[max(limits)])


class Forecaster(JobByJob):
    """A plan made anew in every cycle, of which starts now what is to: each job in turn, the one that must start
    soonest first, takes the cleanest window of its wait that those before leave free.
    """

    def __init__(self, name: str, grid: Grid, home: str, outlook: Outlook, slot_minutes: int) -> None:
        super().__init__(name, grid, home)
        self._outlook, self._minutes = outlook, slot_minutes
        self._slot = -1
        self._ahead: FloatArray = np.empty((0, 0))

    def starts(self, moment: Moment) -> Sequence[ReplayedRun]:
        """What the plan has begin now."""
        free = _FreeGpus(moment, self._minutes)
        step = MINUTE * self._minutes
        lasts = {job.name: max(0, (job.latest - moment.now) // step) for job in moment.waiting}
        means: dict[int, FloatArray] = {}
        for job in sorted(moment.waiting, key=lambda job: -lasts[job.name]):
            if job.minutes not in means:
                means[job.minutes] = self._means(job, moment, lasts[job.name])
        found = []
        for job in sorted(moment.waiting, key=lambda job: (job.latest, job.submitted, job.name)):
            start, pool = free.take(job, means[job.minutes][:, : lasts[job.name] + 1])
            run = moment.start(job, pool) if start == 0 else None
            found += [run] if run is not None else []
            moment.wake_at(moment.now + start * step)
        return found

    def _means(self, job: ReplayJob, moment: Moment, last: int) -> FloatArray:
        """Mean intensity of the job's run by pool and start, shape (pools, last + 1)."""
        step = self.grid.step / MINUTE
        offset = (moment.now - self.grid.moment(moment.slot)) / MINUTE
        starts = offset + np.arange(last + 1, dtype=np.float64) * self._minutes
        longest = max(pool.minutes(job) for pool in moment.pools)
        slots = int(-(-(starts[-1] + longest) // step))
        if moment.slot != self._slot or self._ahead.shape[1] < slots:
            self._slot, self._ahead = moment.slot, self._outlook(self.grid, moment.slot, slots)
        rows = [self.grid.row(pool.zone) for pool in moment.pools]
        return np.array(
            [
                window_means(self._ahead[row], int(step), starts, pool.minutes(job))
                for row, pool in zip(rows, moment.pools, strict=True)
            ]
        )


class _FreeGpus:
    """GPUs by pool and slot from now on, less what runs and what jobs before have taken."""

    def __init__(self, moment: Moment, slot_minutes: int) -> None:
        self._pools, self._minutes = moment.pools, slot_minutes
        self._free = {pool.name: np.full(0, pool.gpus) for pool in moment.pools if not pool.is_endless}
        for run in moment.running:
            self._occupy(run.pool, run.job.gpus, 0, self._slots(run.end - moment.now))

    def take(self, job: ReplayJob, means: FloatArray) -> tuple[int, Pool]:
        """The cleanest start that is free, the earliest of equal ones; where none is, the first that is free after."""
        open_starts = np.array([self._open(pool, job, means.shape[1]) for pool in self._pools])
        weighed = np.where(open_starts, means, np.inf)
        if np.isfinite(weighed).any():
            start, index = divmod(int(weighed.T.argmin()), len(self._pools))
        else:
            start, index = min((self._first(pool, job), i) for i, pool in enumerate(self._pools))
        pool = self._pools[index]
        self._occupy(pool, job.gpus, start, start + self._slots(MINUTE * pool.minutes(job)))
        return start, pool

    def _slots(self, span: timedelta) -> int:
        return -(-span // (MINUTE * self._minutes))

    def _occupy(self, pool: Pool, gpus: int, first: int, end: int) -> None:
        if pool.name in self._free:
            self._reach(pool, end)[first:end] -= gpus

    def _reach(self, pool: Pool, slots: int) -> IntArray:
        """Free GPUs of a pool over at least so many slots."""
        known = self._free[pool.name]
        if known.size < slots:
            known = self._free[pool.name] = np.pad(known, (0, slots - known.size), constant_values=pool.gpus)
        return known

    def _open(self, pool: Pool, job: ReplayJob, starts: int) -> BoolArray:
        if pool.name not in self._free:
            return np.full(starts, True)
        length = self._slots(MINUTE * pool.minutes(job))
        busy = np.concatenate([[0], np.cumsum(self._reach(pool, starts + length)[: starts + length] < job.gpus)])
        free: BoolArray = busy[length : length + starts] == busy[:starts]
        return free

    def _first(self, pool: Pool, job: ReplayJob) -> int:
        """The first start that is free at all; far off for a job that never fits."""
        if job.gpus > pool.gpus:
            return _NEVER
        return int(self._open(pool, job, self._free[pool.name].size + 1).argmax())


def persistence(grid: Grid, slot: int, slots: int) -> FloatArray:
    """Tomorrow will be as the last 24 hours were."""
    period = DAY * grid.per_hour
    day = grid.grams_per_kwh[:, slot - period : slot]
    found: FloatArray = day[:, np.arange(slots) % period]
    return found


def level_profile(grid: Grid, slot: int, slots: int) -> FloatArray:
    """The mean of each hour of the day over seven days, and the last value's distance from it, which fades."""
    period = DAY * grid.per_hour
    days = min(7, slot // period)
    profile = grid.grams_per_kwh[:, slot - days * period : slot].reshape(len(grid.zones), days, period).mean(axis=1)
    ahead = np.arange(slots)
    departure = grid.grams_per_kwh[:, slot - 1] - profile[:, -1]
    fading = np.exp(-(ahead + 1) / (LEVEL_HOURS * grid.per_hour))
    found: FloatArray = profile[:, ahead % period] + departure[:, None] * fading
    return found


def best_static(grid: Grid, slot: int) -> str:
    """The zone that was cleanest on the mean before a slot; over the whole trace when nothing is before it."""
    past = grid.grams_per_kwh[:, max(0, slot - MONTH * grid.per_hour) : slot] if slot else grid.grams_per_kwh
    return grid.zones[int(past.mean(axis=1).argmin())]


def baselines(grid: Grid, home: str, first_slot: int, slot_minutes: int = 60) -> tuple[JobByJob, ...]:
    """All of them, the first being what savings are measured from; those that forecast need a day of history."""
    rules: tuple[JobByJob, ...] = (
        AtHome("immediate at home", grid, home),
        AtHome("best static region", grid, best_static(grid, first_slot)),
        CleanestNow("cleanest now", grid, home),
        AbsoluteTiers("absolute tiers", grid, home),
        PercentileTiers("percentile tiers", grid, home),
    )
    if first_slot < DAY * grid.per_hour:
        return rules
    return (
        *rules,
        Forecaster("one-day persistence", grid, home, persistence, slot_minutes),
        Forecaster("seven-day profile", grid, home, level_profile, slot_minutes),
    )
