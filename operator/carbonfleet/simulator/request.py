"""A backtest of any trace, as asked for on the command line."""

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import gcd
from pathlib import Path
from typing import Final

import numpy as np

from carbonfleet.api.job import Interruptible
from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import HISTORY
from carbonfleet.simulator.backtest import OURS, Backtest, FeedMaker
from carbonfleet.simulator.grid import HOUR, MINUTE, FromHistory, Grid, Perfect, ReplayError, open_grid
from carbonfleet.simulator.presets import FIRST_JOB_HOURS, Case, recorded_backtest
from carbonfleet.simulator.replay import JobDefaults, ReplayJob, every_hour, parse_slack, pools_of, read_jobs, span

FORECASTS: Final = ("none", "perfect", "recorded")
SLOTS: Final = (60, 30, 20, 15)
"""Minutes; with a limit on GPUs the longest that divides the jobs' length is taken."""
QUEUE_HOURS: Final = 48
"""With a limit on GPUs, how long before the trace's end the last job comes, so that a queue can empty."""
LONGEST_HOURS: Final = 720.0


@dataclass(frozen=True, slots=True)
class Request:
    """The options of a backtest; `cases` turns them into as many as job shapes are given, or says what is wrong."""

    traces: tuple[Path, ...]
    zones: tuple[str, ...]
    home: str
    jobs: tuple[str, ...]
    """Each a file, or `HOURS:SLACK` for one job an hour."""
    slack: str
    """Of jobs in files that say nothing else."""
    gpus: int | None
    start: datetime | None
    end: datetime | None
    forecast: str
    time_zone: str = "UTC"
    interruptible: bool = False
    pause_minutes: int | None = None
    signal: SignalKind = SignalKind.AVERAGE_LIFECYCLE
    fill_gaps: bool = False

    def cases(self) -> tuple[Case, ...]:
        """The backtests that are asked for. Raises ReplayError or TraceError."""
        if not self.traces or not self.zones:
            raise ReplayError("give --trace FILE and --zones A,B,C, or a --preset")
        if self.forecast not in FORECASTS:
            raise ReplayError(f"--forecast {self.forecast} is none of {', '.join(FORECASTS)}")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ReplayError(f"--start {self.start} is not before --end {self.end}")
        home = self.home or self.zones[0]
        if home not in self.zones:
            raise ReplayError(f"the home zone {home} is not among {', '.join(self.zones)}")
        if self.forecast == "recorded":
            return tuple(self._recorded(shape, home) for shape in self.jobs)
        begin = None if self.start is None else self.start - HISTORY
        grid = open_grid(self.traces, self.zones, self.signal, start=begin, end=self.end, fill=self.fill_gaps)
        return tuple(self._case(each, grid, home) for each in self.jobs)

    def _case(self, which: str, grid: Grid, home: str) -> Case:
        jobs = self._jobs(which, grid, self.start or grid.moment(min(FIRST_JOB_HOURS * grid.per_hour, grid.slots // 2)))
        make: FeedMaker = FromHistory
        if self.forecast == "perfect":
            make = lambda grid, first, last, ahead: Perfect(grid, ahead)  # noqa: E731
        step = grid.step // MINUTE
        backtest = Backtest(
            grid,
            (jobs,),
            pools_of(self.zones, self.gpus),
            home,
            ((OURS, make),),
            cycle_minutes=step,
            slot_minutes=step if self.gpus is None else _slot(jobs, step),
        )
        return Case(f"{', '.join(self.zones)} from {home}, {_words(which)}", backtest)

    def _jobs(self, which: str, grid: Grid, start: datetime) -> tuple[ReplayJob, ...]:
        if start < grid.start:
            raise ReplayError(f"--start {start} is before the zones' first common hour in the trace, {grid.start}")
        shape, cut = _shape(which), self._cut(grid) if self.interruptible else None
        if shape is None:
            slack = parse_slack(self.slack, self.time_zone)
            return read_jobs(Path(which), start, JobDefaults(slack, self.time_zone, cut, self._cut(grid)))
        slack = parse_slack(shape[1], self.time_zone)
        jobs = every_hour(start, (grid.end - start) // HOUR + 1, shape[0], slack, cut)
        end = grid.end - HOUR * (QUEUE_HOURS if self.gpus else 0)
        late = next((i for i, job in enumerate(jobs) if job.latest + MINUTE * job.minutes > end), len(jobs))
        if not late:
            queue = f" and {QUEUE_HOURS} h for the queue to empty" if self.gpus else ""
            raise ReplayError(
                f"from {start} to {grid.end} there is no room for a job of {_words(which)}{queue}: "
                "begin sooner, end later, or give a longer trace"
            )
        return jobs[:late]

    def _cut(self, grid: Grid) -> Interruptible:
        """As in the custom resource; with pauses that cost nothing, anywhere and as often as wanted."""
        if self.pause_minutes is None:
            return Interruptible()
        overhead = timedelta(minutes=self.pause_minutes)
        if overhead:
            return Interruptible(overhead=overhead)
        return Interruptible(max_pauses=100, minimum_run=grid.step, overhead=overhead)

    def _recorded(self, which: str, home: str) -> Case:
        shape = _shape(which)
        if len(self.traces) != 1:
            raise ReplayError("--forecast recorded takes one --trace: a file of recorded forecasts")
        if shape is None or self.gpus or self.start or self.end or self.interruptible:
            raise ReplayError("--forecast recorded goes with --zones, --home, --hours and --slack alone")
        try:
            hours, slack = shape[0], float(shape[1])
        except ValueError:
            raise ReplayError("--forecast recorded takes slack in hours") from None
        zones = (home, *(zone for zone in self.zones if zone != home))
        return Case(f"{', '.join(zones)}, {_words(which)}", recorded_backtest(self.traces[0], zones, hours, slack))


def _shape(text: str) -> tuple[float, str] | None:
    """Hours of run and the slack of `4:24`; None for what is a file. Raises ReplayError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?):([a-z0-9.-]+)", text)
    if found is None:
        return None
    hours = float(found[1])
    if not 0.1 <= hours <= LONGEST_HOURS:
        raise ReplayError(f"a run of {hours:g} h is not within 0.1 and {LONGEST_HOURS:g}")
    return hours, found[2]


def _words(which: str) -> str:
    shape = _shape(which)
    if shape is None:
        return f"jobs of {Path(which).name}"
    hours, slack = shape
    return f"{hours:g} h of run, {slack} {'h of ' if slack[0].isdigit() else ''}slack"


def with_settings(case: Case, minimum_gain: float | None, duration_error: float) -> Case:
    """A case whose planner waits only for so much, in percent of the best start at once for each hour, and whose jobs
    run so many percent longer or shorter than declared. Raises ReplayError.
    """
    if minimum_gain is not None:
        case = replace(case, backtest=replace(case.backtest, minimum_gain=minimum_gain))
    return with_duration_error(case, duration_error) if duration_error else case


def with_duration_error(case: Case, percent: float) -> Case:
    """A case whose jobs run so much longer or shorter than is declared, by chance; those that would end after the trace
    are left out. Raises ReplayError for jobs that are cut.
    """
    backtest, share = case.backtest, percent / 100
    rng = np.random.default_rng(1)
    scenarios = []
    for jobs in backtest.scenarios:
        if any(job.interruptible is not None for job in jobs):
            raise ReplayError("--duration-error is for jobs in one piece: leave --interruptible away")
        signs = rng.choice((-share, share), len(jobs)).tolist()
        off = (replace(job, length_ratio=1 + sign) for job, sign in zip(jobs, signs, strict=True))
        slowest = min(pool.speed for pool in backtest.pools)
        scenarios.append(
            tuple(job for job in off if job.latest + MINUTE * (job.actual_minutes / slowest + 1) <= backtest.grid.end)
        )
    return replace(case, backtest=replace(backtest, scenarios=tuple(filter(None, scenarios))))


def _slot(jobs: tuple[ReplayJob, ...], step_minutes: int) -> int:
    """The planner's slot: short enough that runs fill whole slots, or a quarter of an hour."""
    common = gcd(*{job.minutes for job in jobs}, step_minutes)
    return next((slot for slot in SLOTS if common % slot == 0), SLOTS[-1])


def within(case: Case, start: datetime | None, end: datetime | None) -> Case:
    """A case with the jobs that come in [start, end) alone. Raises ReplayError when there are none."""
    backtest = case.backtest
    kept = [
        tuple(job for job in jobs if (start is None or start <= job.submitted) and (end is None or job.submitted < end))
        for jobs in backtest.scenarios
    ]
    if not any(kept):
        first, last = span(job for jobs in backtest.scenarios for job in jobs)
        raise ReplayError(
            f"{case.title}: no job comes from --start to --end; the first comes {first}, all end by {last}"
        )
    return replace(case, backtest=replace(backtest, scenarios=tuple(filter(None, kept))))
