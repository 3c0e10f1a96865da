"""A backtest of any trace, as asked for on the command line."""

from dataclasses import dataclass, replace
from datetime import datetime
from math import gcd
from pathlib import Path
from typing import Final

from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import HISTORY
from carbonfleet.simulator.backtest import OURS, Backtest, FeedMaker
from carbonfleet.simulator.grid import HOUR, FromHistory, Grid, Perfect, ReplayError, open_grid
from carbonfleet.simulator.presets import FIRST_JOB_HOURS, Case, recorded_backtest
from carbonfleet.simulator.replay import ReplayJob, every_hour, pools_of, read_jobs, span

FORECASTS: Final = ("none", "perfect", "recorded")
SLOTS: Final = (60, 30, 20, 15)
"""Minutes; with a limit on GPUs the longest that divides the jobs' length is taken."""
QUEUE_HOURS: Final = 48
"""With a limit on GPUs, how long before the trace's end the last job comes, so that a queue can empty."""


@dataclass(frozen=True, slots=True)
class Request:
    """The options of a backtest; `case` turns them into one, or says what is wrong with them."""

    traces: tuple[Path, ...]
    zones: tuple[str, ...]
    home: str
    hours: float
    slack_hours: float
    jobs: Path | None
    gpus: int | None
    start: datetime | None
    end: datetime | None
    forecast: str
    signal: SignalKind = SignalKind.AVERAGE_LIFECYCLE
    fill_gaps: bool = False

    def case(self) -> Case:
        """The backtest that is asked for. Raises ReplayError or TraceError."""
        if not self.traces or not self.zones:
            raise ReplayError("give --trace FILE and --zones A,B,C, or a --preset")
        if self.forecast not in FORECASTS:
            raise ReplayError(f"--forecast {self.forecast} is none of {', '.join(FORECASTS)}")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ReplayError(f"--start {self.start} is not before --end {self.end}")
        home = self.home or self.zones[0]
        if home not in self.zones:
            raise ReplayError(f"the home zone {home} is not among {', '.join(self.zones)}")
        title = f"{', '.join(self.zones)} from {home}"
        if self.forecast == "recorded":
            return Case(
                title, recorded_backtest(self._only_trace(), self._home_first(home), self.hours, self.slack_hours)
            )
        begin = None if self.start is None else self.start - HISTORY
        grid = self._grid(begin)
        jobs = self._jobs(grid, self.start or grid.moment(min(FIRST_JOB_HOURS, grid.hours // 2)))
        make: FeedMaker = FromHistory
        if self.forecast == "perfect":
            make = lambda grid, first, last, ahead: Perfect(grid, ahead)  # noqa: E731
        slot = 60 if self.gpus is None else _slot(jobs)
        pools = pools_of(self.zones, self.gpus)
        return Case(title, Backtest(grid, (jobs,), pools, home, ((OURS, make),), slot_minutes=slot))

    def _grid(self, begin: datetime | None) -> Grid:
        """With all the history before the start that forecasts use, where the trace has them."""
        return open_grid(self.traces, self.zones, self.signal, start=begin, end=self.end, fill=self.fill_gaps)

    def _jobs(self, grid: Grid, start: datetime) -> tuple[ReplayJob, ...]:
        if start < grid.start:
            raise ReplayError(f"--start {start} is before the zones' first common hour in the trace, {grid.start}")
        if self.jobs is not None:
            return read_jobs(self.jobs, start, self.slack_hours)
        # A wait ends at a full hour, when the policies are asked.
        latest = grid.start - (grid.start - start - HOUR * self.slack_hours) // HOUR * HOUR
        room = HOUR * self.hours + HOUR * (QUEUE_HOURS if self.gpus else 0)
        count = (grid.end - latest - room) // HOUR + 1
        if count < 1:
            queue = f" and {QUEUE_HOURS} h for the queue to empty" if self.gpus else ""
            raise ReplayError(
                f"from {start} to {grid.end} there is no room for a job of {self.hours:g} h "
                f"with {self.slack_hours:g} h of slack{queue}: begin sooner, end later, or give a longer trace"
            )
        return every_hour(start, count, self.hours, self.slack_hours)

    def _only_trace(self) -> Path:
        if len(self.traces) != 1:
            raise ReplayError("--forecast recorded takes one --trace: a file of recorded forecasts")
        if self.jobs or self.gpus or self.start or self.end:
            raise ReplayError("--forecast recorded goes with --zones, --home, --hours and --slack alone")
        return self.traces[0]

    def _home_first(self, home: str) -> tuple[str, ...]:
        return (home, *(zone for zone in self.zones if zone != home))


def with_minimum_gain(case: Case, minimum_gain: float) -> Case:
    """A case whose planner waits only for so much, in percent of the best start at once for each hour."""
    return replace(case, backtest=replace(case.backtest, minimum_gain=minimum_gain))


def _slot(jobs: tuple[ReplayJob, ...]) -> int:
    """The planner's slot: short enough that runs fill whole slots, or a quarter of an hour."""
    common = gcd(*{job.minutes for job in jobs}, 60)
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
