"""A backtest: the same jobs under every policy on one trace, and what each of them reached."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from typing import Final, TypeVar

from carbonfleet.api.policy import Tier
from carbonfleet.simulator.grid import HOUR, ForecastFeed, FromHistory, Grid, Perfect, ReplayError
from carbonfleet.simulator.replay import (
    Planner,
    Policy,
    Pool,
    Progress,
    ReplayFleet,
    ReplayJob,
    Row,
    Scenario,
    Score,
    baselines,
    foreseen_runs,
    replay,
    replay_all,
    replay_fleet,
    score,
    span,
)

OURS: Final = "carbonfleet"
FORESIGHT: Final = "perfect foresight"
TOLD: Final = "told the future (no bound)"
"""Where GPUs are few: the planner with perfect forecasts, which a better plan may beat."""
MINIMUM_GAIN: Final[float] = Tier.model_fields["minimum_gain_percent_per_hour"].default
GAINS: Final = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Of a curve, in percent for each hour."""
FORESEEN_HOURS: Final = 16 * 24

AnyPlanner = TypeVar("AnyPlanner", bound=Planner)
FeedMaker = Callable[[Grid, int, int, int], ForecastFeed]
"""Grid, first and last slot of issue, and hours ahead."""


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
    equal_share: float | None = None
    """Windows within this share of the least carbon count as equal; None: as the hub plans, or 0 without a gain."""

    @property
    def is_bounded(self) -> bool:
        """Whether the row that is told the future is a bound: without a limit on GPUs jobs don't compete."""
        return all(pool.is_endless for pool in self.pools)

    @property
    def foresight(self) -> str:
        """The name of the row that is told the future."""
        return FORESIGHT if self.is_bounded else TOLD


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
    return _replayed(backtest, _rows(backtest, only_ours), workers, progress)


def run_curve(
    backtest: Backtest,
    gains: Sequence[float] = GAINS,
    *,
    workers: int = 1,
    progress: Progress = lambda done, total: None,
) -> tuple[tuple[float, Score], ...]:
    """What the planner reaches by `minimumGainPercentPerHour`: what a wait must gain, and the score with it.

    No windows count as equal meanwhile, so that the curve tells of the gain alone.
    """
    backtest = replace(backtest, equal_share=0.0)
    first, last = _span(backtest)
    make = dict(backtest.feeds)[OURS]
    feed = make(backtest.grid, first, last, _hours_ahead(backtest))
    names = {gain: f"{OURS} at {gain:g}" for gain in gains}
    planners = [Planner(name, _fleet(backtest, gain), backtest.grid, feed) for gain, name in names.items()]
    rows = _with_foresight(backtest, [baselines(backtest.grid, backtest.home, first)[0], *planners])
    result = _replayed(backtest, rows, workers, progress)
    return tuple((gain, result.of(name)) for gain, name in names.items())


def _replayed(backtest: Backtest, rows: dict[str, Row], workers: int, progress: Progress) -> Result:
    replayed = replay_all(rows, backtest.scenarios, workers, progress)
    found = {name: tuple(Scenario.of(runs, backtest.grid) for runs in each) for name, each in replayed.items()}
    base, best = found[next(iter(rows))], found[backtest.foresight]
    return Result(tuple(score(name, scenarios, base, best) for name, scenarios in found.items()), found)


def _rows(backtest: Backtest, only_ours: bool) -> dict[str, Row]:
    """How each row of the table is replayed: others' policies, the planner, and the planner told the future."""
    grid, fleet = backtest.grid, _fleet(backtest, backtest.minimum_gain)
    first, last = _span(backtest)
    ahead = _hours_ahead(backtest)
    others = baselines(grid, backtest.home, first, min(backtest.slot_minutes, backtest.cycle_minutes))
    policies: list[Policy] = [*(others[:1] if only_ours else others)]
    policies += [Planner(name, fleet, grid, make(grid, first, last, ahead)) for name, make in backtest.feeds]
    return _with_foresight(backtest, policies)


def our_planner(backtest: Backtest, kind: type[AnyPlanner]) -> AnyPlanner:
    """The planner of a backtest's own row."""
    first, last = _span(backtest)
    feed = dict(backtest.feeds)[OURS](backtest.grid, first, last, _hours_ahead(backtest))
    return kind(OURS, _fleet(backtest, backtest.minimum_gain), backtest.grid, feed)


def _with_foresight(backtest: Backtest, policies: Sequence[Policy]) -> dict[str, Row]:
    rows = {policy.name: _row(backtest, policy) for policy in policies}
    return {**rows, backtest.foresight: _foresight(backtest, _fleet(backtest, 0.0))}


def _fleet(backtest: Backtest, minimum_gain: float) -> ReplayFleet:
    if backtest.home not in backtest.grid.zones:
        raise ReplayError(f"the home zone {backtest.home} is not among {', '.join(backtest.grid.zones)}")
    return replay_fleet(
        backtest.pools,
        backtest.home,
        backtest.slot_minutes,
        doubt_weight=backtest.doubt_weight,
        minimum_gain=minimum_gain,
        equal_share=backtest.equal_share,
    )


def _span(backtest: Backtest) -> tuple[int, int]:
    """The first and the last slot in which a plan may be asked for."""
    first, last = span(job for jobs in backtest.scenarios for job in jobs)
    grid = backtest.grid
    if first < grid.start or last > grid.end:
        raise ReplayError(
            f"the jobs need the grid from {first} to {last}; the trace covers {grid.start} to {grid.end}: "
            "give a longer trace, or jobs that come sooner (--start)"
        )
    return grid.slot(first), grid.slots - 1


def _hours_ahead(backtest: Backtest) -> int:
    """How far the longest wait and run reach."""
    jobs = [job for jobs in backtest.scenarios for job in jobs]
    slowest = min(pool.speed for pool in backtest.pools)
    runs = (max(job.minutes, job.actual_minutes) / (60 * slowest) for job in jobs)
    return 1 + max(-(-(job.latest - job.submitted) // HOUR) + ceil(run) for job, run in zip(jobs, runs, strict=True))


def _row(backtest: Backtest, policy: Policy) -> Row:
    return partial(replay, backtest.grid, policy=policy, pools=backtest.pools, cycle_minutes=backtest.cycle_minutes)


def _foresight(backtest: Backtest, fleet: ReplayFleet) -> Row:
    """Told the future: without a limit on GPUs the best there is; with one the planner, asked in time."""
    grid = backtest.grid
    feed = Perfect(grid, FORESEEN_HOURS)
    if backtest.is_bounded:
        return partial(foreseen_runs, fleet, grid, feed)
    return _row(backtest, Planner(TOLD, fleet, grid, feed))
