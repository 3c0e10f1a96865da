"""A backtest: the same jobs under every policy on one trace, and what each of them reached."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from carbonfleet.api.policy import Tier
from carbonfleet.simulator.grid import HOUR, ForecastFeed, FromHistory, Grid, Perfect, ReplayError
from carbonfleet.simulator.replay import (
    Planner,
    Policy,
    Pool,
    Progress,
    ReplayedRun,
    ReplayFleet,
    ReplayJob,
    Row,
    Scenario,
    Score,
    baselines,
    foreseen,
    replay,
    replay_all,
    replay_fleet,
    score,
    span,
)

OURS: Final = "carbonfleet"
FORESIGHT: Final = "perfect foresight"
MINIMUM_GAIN: Final[float] = Tier.model_fields["minimum_gain_percent_per_hour"].default
FORESEEN_HOURS: Final = 16 * 24

FeedMaker = Callable[[Grid, int, int, int], ForecastFeed]
"""Grid, first and last hour of issue, and hours ahead."""


@dataclass(frozen=True, slots=True)
class Backtest:
    """What to replay: each of `scenarios` is a job list that is replayed by itself."""

    grid: Grid
    scenarios: tuple[tuple[ReplayJob, ...], ...]
    pools: tuple[Pool, ...]
    home: str
    feeds: tuple[tuple[str, FeedMaker], ...] = ((OURS, FromHistory),)
    """Rows of the planner by name, each with what it is told."""
    cycle_minutes: int = 60
    slot_minutes: int = 60
    doubt_weight: float | None = None
    minimum_gain: float = MINIMUM_GAIN
    """Of the planner's tier: what a later start must save of the best start at once, in percent for each hour."""


@dataclass(frozen=True, slots=True)
class Result:
    """Scores by policy, and every run."""

    scores: tuple[Score, ...]
    scenarios: dict[str, tuple[Scenario, ...]] = field(default_factory=dict)

    def of(self, policy: str) -> Score:
        """The score of a policy."""
        return next(score for score in self.scores if score.policy == policy)


def run_backtest(
    backtest: Backtest, *, only_ours: bool = False, workers: int = 1, progress: Progress = lambda done, total: None
) -> Result:
    """Replay all policies; `only_ours` leaves others out, apart from at once at home and perfect foresight.

    `workers` processes share the replays, which changes no result. Raises ReplayError for jobs that don't fit
    the trace or the pools.
    """
    grid, rows = backtest.grid, _rows(backtest, only_ours)
    replayed = replay_all(rows, backtest.scenarios, workers, progress)
    found = {name: tuple(Scenario.of(runs, grid) for runs in each) for name, each in replayed.items()}
    base, best = found[next(iter(rows))], found[FORESIGHT]
    scores = tuple(score(name, scenarios, base, best) for name, scenarios in found.items())
    return Result(scores, found)


def _rows(backtest: Backtest, only_ours: bool) -> dict[str, Row]:
    """How each row of the table is replayed: others' policies, the planner, and the planner told the future."""
    grid, fleet = backtest.grid, _fleet(backtest, backtest.minimum_gain)
    first, last = _span(backtest)
    ahead = _hours_ahead(backtest)
    others = baselines(grid, backtest.home, first)
    policies: list[Policy] = [*(others[:1] if only_ours else others)]
    policies += [Planner(name, fleet, grid, make(grid, first, last, ahead)) for name, make in backtest.feeds]
    rows = {policy.name: _row(backtest, policy) for policy in policies}
    return {**rows, FORESIGHT: _foresight(backtest, _fleet(backtest, 0.0))}


def _fleet(backtest: Backtest, minimum_gain: float) -> ReplayFleet:
    if backtest.home not in backtest.grid.zones:
        raise ReplayError(f"the home zone {backtest.home} is not among {', '.join(backtest.grid.zones)}")
    return replay_fleet(
        backtest.pools,
        backtest.home,
        backtest.slot_minutes,
        doubt_weight=backtest.doubt_weight,
        minimum_gain=minimum_gain,
    )


def _span(backtest: Backtest) -> tuple[int, int]:
    """The first and the last hour at which a plan may be asked for."""
    first, last = span(job for jobs in backtest.scenarios for job in jobs)
    grid = backtest.grid
    if first < grid.start or last > grid.end:
        raise ReplayError(
            f"the jobs need the grid from {first} to {last}; the trace covers {grid.start} to {grid.end}: "
            "give a longer trace, or jobs that come sooner (--start)"
        )
    return grid.hour(first), grid.hours - 1


def _hours_ahead(backtest: Backtest) -> int:
    """How far the longest wait and run reach."""
    jobs = [job for jobs in backtest.scenarios for job in jobs]
    slowest = min(pool.speed for pool in backtest.pools)
    return (
        max(-(-(job.latest - job.submitted) // HOUR) + -(-job.minutes // (60 * slowest)) for job in jobs).__ceil__() + 1
    )


def _row(backtest: Backtest, policy: Policy) -> Row:
    return partial(replay, backtest.grid, policy=policy, pools=backtest.pools, cycle_minutes=backtest.cycle_minutes)


def _foresight(backtest: Backtest, fleet: ReplayFleet) -> Row:
    """The planner told the future: all at once without a limit on GPUs, in time with one."""
    grid = backtest.grid
    feed = Perfect(grid, FORESEEN_HOURS)
    if not all(pool.is_endless for pool in backtest.pools):
        return _row(backtest, Planner(FORESIGHT, fleet, grid, feed))
    return partial(_foreseen_runs, fleet, grid, feed)


def _foreseen_runs(
    fleet: ReplayFleet, grid: Grid, feed: ForecastFeed, jobs: Sequence[ReplayJob]
) -> tuple[ReplayedRun, ...]:
    windows = foreseen(fleet, grid, feed, jobs)
    pools = {pool.name: pool for pool in fleet.pools}
    by_name = sorted(jobs, key=lambda job: job.name)
    return tuple(ReplayedRun(job, pools[windows[job.name].cluster], windows[job.name].start) for job in by_name)
