"""The replay: what the planner may know, what GPUs allow, and what the baselines do."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest

from carbonfleet.placement import plan
from carbonfleet.simulator.backtest import FORESIGHT, OURS, Backtest, run_backtest
from carbonfleet.simulator.grid import HOUR, FromHistory, Grid, Perfect, ReplayError
from carbonfleet.simulator.replay import (
    Planner,
    Pool,
    ReplayJob,
    baselines,
    every_hour,
    foreseen,
    pools_of,
    replay,
    replay_fleet,
    sweep,
)
from carbonfleet.simulator.replay.baselines import best_static
from carbonfleet.simulator.replay.fleet import queued
from fixtures.made_grids import START, made_grid

FIRST = 28 * 24


def planned(grid: Grid, jobs, pools, feed):
    fleet = replay_fleet(pools, grid.zones[0], 60)
    return replay(grid, jobs, Planner(OURS, fleet, grid, feed), pools)


def policies(grid: Grid, pools, slot_minutes: int):
    """All baselines and the planner, each made when it is called."""
    home = grid.zones[0]

    def ours():
        feed = FromHistory(grid, FIRST, grid.hours - 1, 99)
        return Planner(OURS, replay_fleet(pools, home, slot_minutes), grid, feed)

    return [*(lambda rule=rule: rule for rule in baselines(grid, home, FIRST)), ours]


def with_other_future(grid: Grid, hour: int) -> Grid:
    """The same up to an hour, and nonsense from it on."""
    values = grid.grams_per_kwh.copy()
    values[:, hour:] = np.random.default_rng(1).uniform(1, 1500, values[:, hour:].shape)
    return replace(grid, grams_per_kwh=values)


def test_a_corrupted_future_changes_no_decision(grid):
    """The whole plan is compared, trace included, at every hour up to the one where the futures part."""
    part, jobs = FIRST + 30, every_hour(grid.moment(FIRST), 60, 4, 24)
    fleet = replay_fleet(pools_of(grid.zones, None), grid.zones[0], 60)
    digests = []
    for world in (grid, with_other_future(grid, part)):
        feed = FromHistory(world, FIRST, world.hours - 1, 30)
        waiting = [queued(job, world.signal) for job in jobs[:20]]
        hours = range(FIRST + 20, part + 1)
        plans = [plan(fleet.snapshot(waiting, feed.at(hour)), world.moment(hour)) for hour in hours]
        digests.append([[decision.digest for decision in made] for made in plans])
    assert digests[0] == digests[1]


@pytest.mark.parametrize("index", range(8))
def test_a_corrupted_future_changes_no_start_before_it_of_any_policy(grid, index):
    part, jobs = FIRST + 30, every_hour(grid.moment(FIRST), 40, 4, 12)
    pools = pools_of(grid.zones, None)
    begun = []
    for world in (grid, with_other_future(grid, part)):
        policy = policies(world, pools, 60)[index]()
        runs = replay(world, jobs, policy, pools)
        begun.append([(r.job.name, r.pool.zone, r.begin) for r in runs if world.hour(r.begin) <= part])
    assert begun[0] == begun[1]
    assert begun[0]


def test_a_forecast_does_look_at_the_past(grid):
    """The guard of the two tests above: another past gives other forecasts."""
    key = grid.zones[0], grid.signal
    first = FromHistory(grid, FIRST, FIRST + 40, 30).at(FIRST + 40)[key]
    other = FromHistory(with_other_future(grid, FIRST), FIRST, FIRST + 40, 30).at(FIRST + 40)[key]
    assert not np.allclose(first.grams_per_kwh, other.grams_per_kwh)


def test_with_the_future_known_each_job_gets_the_best_window_of_all(grid):
    jobs = every_hour(grid.moment(FIRST), 40, 4, 24)
    fleet = replay_fleet(pools_of(grid.zones, None), grid.zones[0], 60)
    windows = foreseen(fleet, grid, Perfect(grid, 240), jobs)
    for job in jobs:
        begin = grid.hour(job.submitted)
        means = [grid.grams_per_kwh[:, b : b + 4].mean(axis=1).min() for b in range(begin, begin + 25)]
        assert windows[job.name].grams_per_kwh == pytest.approx(min(means), abs=1e-4)


def test_asking_hour_by_hour_with_the_future_known_is_as_good_as_planning_at_once(grid):
    jobs = every_hour(grid.moment(FIRST), 40, 4, 24)
    pools = pools_of(grid.zones, None)
    fleet = replay_fleet(pools, grid.zones[0], 60)
    runs = planned(grid, jobs, pools, Perfect(grid, 240))
    windows = foreseen(fleet, grid, Perfect(grid, 240), jobs)
    assert [(run.pool.name, run.begin) for run in runs] == [
        (windows[run.job.name].cluster, windows[run.job.name].start) for run in runs
    ]


def test_from_history_alone_the_planner_beats_the_router_and_persistence(grid):
    jobs = every_hour(grid.moment(FIRST), 100, 4, 24)
    backtest = Backtest(grid, (jobs,), pools_of(grid.zones, None), grid.zones[0])
    result = run_backtest(backtest)
    ours = result.of(OURS).grams_co2e
    assert ours < result.of("cleanest now").grams_co2e
    assert ours < result.of("one-day persistence").grams_co2e
    assert ours <= 1.03 * result.of("seven-day profile").grams_co2e
    assert result.of(FORESIGHT).grams_co2e <= min(score.grams_co2e for score in result.scores) + 1e-6
    assert result.of("immediate at home").share_percent == 0
    assert result.of(FORESIGHT).share_percent == pytest.approx(100)


@pytest.mark.parametrize("index", range(8))
def test_no_policy_uses_more_gpus_than_there_are(grid, index):
    jobs = sweep(grid.moment(FIRST))
    pools = (Pool("one", "ZA", 1), Pool("fast", "ZA", 1, speed=1.05, kw_per_gpu=1.89))
    runs = replay(grid, jobs, policies(grid, pools, 12)[index](), pools)
    assert sorted(run.job.name for run in runs) == sorted(job.name for job in jobs)
    for pool in pools:
        mine = sorted((run.begin, run.end) for run in runs if run.pool is pool)
        assert all(end <= begin for (_, end), (begin, _) in pairwise(mine))


def test_no_job_starts_before_it_comes_and_with_gpus_enough_none_after_its_wait(grid):
    jobs = every_hour(grid.moment(FIRST), 60, 2, 12)
    for run in planned(grid, jobs, pools_of(grid.zones, None), FromHistory(grid, FIRST, grid.hours - 1, 16)):
        assert run.job.submitted <= run.begin <= run.job.latest


def test_a_job_that_comes_between_hours_starts_at_the_next_cycle_at_the_earliest(grid):
    job = ReplayJob("j", grid.moment(FIRST) + timedelta(minutes=10), 60, timedelta(0))
    (run,) = planned(grid, (job,), pools_of(grid.zones, None), Perfect(grid, 240))
    assert run.begin == grid.moment(FIRST + 1)


def test_a_faster_pool_runs_shorter_and_uses_its_own_power():
    pool = Pool("fast", "ZA", 1, speed=1.05, kw_per_gpu=1.89)
    job = ReplayJob("j", START, 84, timedelta(0))
    assert pool.minutes(job) == 80
    assert pool.kwh(job) == pytest.approx(80 / 60 * 1.89)
    assert Pool("plain", "ZA", 1).minutes(job) == 84


def test_the_same_job_names_in_two_replays_are_two_jobs(grid):
    one = (ReplayJob("j", grid.moment(FIRST), 60, timedelta(hours=6)),)
    two = (ReplayJob("j", grid.moment(FIRST + 100), 60, timedelta(hours=6)),)
    result = run_backtest(Backtest(grid, (one, two), pools_of(grid.zones, None), grid.zones[0]), only_ours=True)
    begun = [scenario.runs[0].begin for scenario in result.scenarios[OURS]]
    assert begun[0] < grid.moment(FIRST + 7) < grid.moment(FIRST + 100) <= begun[1]


def test_best_static_is_chosen_by_the_past_alone(grid):
    values = grid.grams_per_kwh.copy()
    values[2, :FIRST] = 10
    values[2, FIRST:] = 900
    assert best_static(replace(grid, grams_per_kwh=values), FIRST) == "ZC"


def test_too_little_history_is_refused_with_what_to_do(grid):
    jobs = every_hour(grid.moment(10), 5, 1, 6)
    with pytest.raises(ReplayError, match=r"start later \(--start\)"):
        run_backtest(Backtest(grid, (jobs,), pools_of(grid.zones, None), grid.zones[0]))


def test_jobs_that_reach_beyond_the_trace_are_refused(grid):
    jobs = every_hour(grid.moment(grid.hours - 20), 5, 4, 24)
    with pytest.raises(ReplayError, match="the trace covers"):
        run_backtest(Backtest(grid, (jobs,), pools_of(grid.zones, None), grid.zones[0]))


def test_gpus_too_few_for_the_jobs_end_in_an_error_and_not_in_a_loop():
    grid = made_grid(zones=1, days=31)
    jobs = every_hour(grid.moment(FIRST), 30, 6, 2)
    with pytest.raises(ReplayError, match="too few"):
        replay(grid, jobs, baselines(grid, "ZA", FIRST)[0], pools_of(("ZA",), 1))


def test_a_job_larger_than_every_pool_is_refused(grid):
    job = ReplayJob("wide", grid.moment(FIRST), 60, timedelta(0), gpus=9)
    with pytest.raises(ReplayError, match="wide wants 9 GPUs; the largest pool has 8"):
        planned(grid, (job,), pools_of(grid.zones, 8), Perfect(grid, 24))


def test_a_home_that_is_not_replayed_is_refused(grid):
    jobs = every_hour(grid.moment(FIRST), 2, 1, 6)
    with pytest.raises(ReplayError, match="home zone XX"):
        run_backtest(Backtest(grid, (jobs,), pools_of(grid.zones, None), "XX"))


def test_a_replay_is_the_same_every_time(grid):
    backtest = Backtest(grid, (every_hour(grid.moment(FIRST), 30, 3, 24),), pools_of(grid.zones, 4), grid.zones[0])
    assert run_backtest(backtest) == run_backtest(backtest)


def test_delay_and_makespan_are_in_hours(grid):
    jobs = every_hour(grid.moment(FIRST), 4, 2, 0)
    score = run_backtest(Backtest(grid, (jobs,), pools_of(grid.zones, None), grid.zones[0])).of(OURS)
    assert (score.delay_mean_hours, score.makespan_hours, score.jobs) == (0, 5, 4)
    assert score.energy_kwh == pytest.approx(8)


def test_moments_of_a_grid_are_whole_hours(grid):
    moment: datetime = grid.moment(5) + timedelta(minutes=59)
    assert grid.hour(moment) == 5
    assert grid.moment(grid.hours) == grid.end == START + HOUR * grid.hours
