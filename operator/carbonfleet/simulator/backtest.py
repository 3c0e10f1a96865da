"""A backtest: the same jobs under every policy on one trace, and what each of them reached."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from carbonfleet.simulator.feeds import Feed, FromHistory, Perfect
from carbonfleet.simulator.jobs import ReplayJob, span
from carbonfleet.simulator.loop import Policy, replay
from carbonfleet.simulator.planner import Planner, foreseen
from carbonfleet.simulator.rivals import rivals
from carbonfleet.simulator.score import Scenario, Score, score
from carbonfleet.simulator.stage import Pool, Run, Stage, stage_of
from carbonfleet.simulator.trace import HOUR, Grid, ReplayError

OURS: Final = "carbonfleet"
FORESIGHT: Final = "perfect foresight"
FORESEEN_HOURS: Final = 16 * 24

FeedMaker = Callable[[Grid, int, int, int], Feed]
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


@dataclass(frozen=True, slots=True)
class Result:
    """Scores by policy, and every run."""

    scores: tuple[Score, ...]
    scenarios: dict[str, tuple[Scenario, ...]] = field(default_factory=dict)

    def of(self, policy: str) -> Score:
        """The score of a policy."""
        return next(score for score in self.scores if score.policy == policy)


def run_backtest(backtest: Backtest, *, only_ours: bool = False) -> Result:
    """Replay all policies; `only_ours` leaves others out, apart from at once at home and perfect foresight.

    Raises ReplayError for jobs that don't fit the trace or the pools.
    """
    grid, stage = backtest.grid, _stage(backtest)
    first, last = _span(backtest)
    ahead = _hours_ahead(backtest)
    found: dict[str, tuple[Scenario, ...]] = {}
    others = rivals(grid, backtest.home, first)
    for rule in others[:1] if only_ours else others:
        found[rule.name] = _replay_all(backtest, rule)
    for name, make in backtest.feeds:
        found[name] = _replay_all(backtest, Planner(name, stage, grid, make(grid, first, last, ahead)))
    found[FORESIGHT] = _foresight(backtest, stage)
    base, best = found[others[0].name], found[FORESIGHT]
    scores = tuple(score(name, scenarios, base, best) for name, scenarios in found.items())
    return Result(scores, found)


def _stage(backtest: Backtest) -> Stage:
    if backtest.home not in backtest.grid.zones:
        raise ReplayError(f"the home zone {backtest.home} is not among {', '.join(backtest.grid.zones)}")
    weight = backtest.doubt_weight
    return stage_of(backtest.pools, backtest.home, backtest.slot_minutes, doubt_weight=weight)


def _span(backtest: Backtest) -> tuple[int, int]:
    """The first and the last hour at which a plan may be asked for."""
    first, last = span(job for jobs in backtest.scenarios for job in jobs)
    grid = backtest.grid
    if first < grid.start or last > grid.end:
        raise ReplayError(f"the jobs need the grid from {first} to {last}; the trace covers {grid.start} to {grid.end}")
    return grid.hour(first), grid.hours - 1


def _hours_ahead(backtest: Backtest) -> int:
    """How far the longest wait and run reach."""
    jobs = [job for jobs in backtest.scenarios for job in jobs]
    slowest = min(pool.speed for pool in backtest.pools)
    return (
        max(-(-(job.latest - job.submitted) // HOUR) + -(-job.minutes // (60 * slowest)) for job in jobs).__ceil__() + 1
    )


def _replay_all(backtest: Backtest, policy: Policy) -> tuple[Scenario, ...]:
    grid = backtest.grid
    return tuple(
        Scenario.of(replay(grid, jobs, policy, backtest.pools, cycle_minutes=backtest.cycle_minutes), grid)
        for jobs in backtest.scenarios
    )


def _foresight(backtest: Backtest, stage: Stage) -> tuple[Scenario, ...]:
    """The planner told the future: all at once without a limit on GPUs, in time with one."""
    grid = backtest.grid
    feed = Perfect(grid, FORESEEN_HOURS)
    if not all(pool.is_endless for pool in backtest.pools):
        return _replay_all(backtest, Planner(FORESIGHT, stage, grid, feed))
    return tuple(Scenario.of(_foreseen_runs(stage, grid, feed, jobs), grid) for jobs in backtest.scenarios)


def _foreseen_runs(stage: Stage, grid: Grid, feed: Feed, jobs: Sequence[ReplayJob]) -> tuple[Run, ...]:
    windows = foreseen(stage, grid, feed, jobs)
    pools = {pool.name: pool for pool in stage.pools}
    by_name = sorted(jobs, key=lambda job: job.name)
    return tuple(Run(job, pools[windows[job.name].cluster], windows[job.name].start) for job in by_name)
