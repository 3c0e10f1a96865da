"""The replay: what the planner may know, what GPUs allow, and what the baselines do."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest

from carbonfleet.api.job import Interruptible
from carbonfleet.placement import plan
from carbonfleet.simulator.backtest import FORESIGHT, OURS, Backtest, run_backtest
from carbonfleet.simulator.grid import HOUR, FromHistory, Grid, Perfect, ReplayError
from carbonfleet.simulator.replay import (
    Planner,
    Pool,
    ReplayJob,
    baselines,
    best_run,
    every_hour,
    foreseen,
    foreseen_runs,
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
        feed = FromHistory(grid, FIRST, grid.slots - 1, 99)
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
        feed = FromHistory(world, FIRST, world.slots - 1, 30)
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
        begun.append([(r.job.name, r.pool.zone, r.begin) for r in runs if world.slot(r.begin) <= part])
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
        begin = grid.slot(job.submitted)
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
    pools = (Pool("one", "XA", 1), Pool("fast", "XA", 1, speed=1.05, kw_per_gpu=1.89))
    runs = replay(grid, jobs, policies(grid, pools, 12)[index](), pools)
    assert sorted(run.job.name for run in runs) == sorted(job.name for job in jobs)
    for pool in pools:
        mine = sorted((run.begin, run.end) for run in runs if run.pool is pool)
        assert all(end <= begin for (_, end), (begin, _) in pairwise(mine))


def test_no_job_starts_before_it_comes_and_with_gpus_enough_none_after_its_wait(grid):
    jobs = every_hour(grid.moment(FIRST), 60, 2, 12)
    for run in planned(grid, jobs, pools_of(grid.zones, None), FromHistory(grid, FIRST, grid.slots - 1, 16)):
        assert run.job.submitted <= run.begin <= run.job.latest


@pytest.mark.parametrize("index", range(8))
def test_a_job_without_slack_starts_when_it_comes_under_every_policy(grid, index):
    job = ReplayJob("j", grid.moment(FIRST) + timedelta(minutes=10), 60, timedelta(0))
    pools = pools_of(grid.zones, None)
    (run,) = replay(grid, (job,), policies(grid, pools, 60)[index](), pools)
    assert run.begin == job.submitted


@pytest.mark.parametrize("index", range(8))
def test_a_wait_ends_when_it_is_over_and_not_at_the_next_hour(grid, index):
    jobs = [replace(job, submitted=job.submitted + timedelta(minutes=25)) for job in every_hour(START, 30, 2, 5)]
    jobs = [replace(job, submitted=job.submitted + FIRST * HOUR) for job in jobs]
    pools = pools_of(grid.zones, None)
    runs = replay(grid, jobs, policies(grid, pools, 60)[index](), pools)
    assert all(run.job.submitted <= run.begin <= run.job.latest for run in runs)
    assert len(runs) == 30


def test_the_best_run_in_one_piece_is_the_best_of_all_minutes(grid):
    rng = np.random.default_rng(3)
    for number in range(20):
        begin = grid.moment(FIRST) + timedelta(minutes=int(rng.integers(0, 3000)))
        job = ReplayJob("j", begin, int(rng.integers(1, 400)), timedelta(minutes=int(rng.integers(0, 900))))
        found = best_run(pools_of(grid.zones, None), grid, job)
        means = [
            grid.mean(row, begin + timedelta(minutes=m), job.minutes)
            for row in range(len(grid.zones))
            for m in range(int(job.delay.total_seconds()) // 60 + 1)
        ]
        assert job.submitted <= found.begin <= job.latest, number
        assert grid.mean(grid.row(found.pool.zone), found.begin, job.minutes) == pytest.approx(min(means), abs=1e-6)


def test_a_job_that_may_be_cut_runs_in_its_clean_hours_and_pauses_in_between():
    values = np.full((1, 40 * 24), 500.0)
    values[0, [FIRST + 3, FIRST + 6, FIRST + 7, FIRST + 12]] = 100.0
    world = Grid(("XA",), made_grid().signal, START, values, {})
    cut = Interruptible(max_pauses=100, minimum_run="1h", overhead="0s")
    job = ReplayJob("j", world.moment(FIRST), 240, timedelta(hours=12), interruptible=cut)
    (run,) = planned(world, (job,), pools_of(("XA",), None), Perfect(world, 240))
    pieces = [(world.slot(piece.begin) - FIRST, piece.minutes) for piece in run.pieces]
    assert pieces == [(3, 60), (6, 120), (12, 60)]
    assert (run.kwh, run.grams(world), run.delay_hours) == (4, 400, 9)
    (best,) = foreseen_runs(replay_fleet(pools_of(("XA",), None), "XA", 60), world, Perfect(world, 240), (job,))
    assert best.grams(world) == 400


def test_a_pause_costs_its_overhead_and_ends_in_time():
    values = np.full((1, 40 * 24), 500.0)
    values[0, [FIRST + 2, FIRST + 5]] = 20.0
    world = Grid(("XA",), made_grid().signal, START, values, {})
    job = ReplayJob("j", world.moment(FIRST), 120, timedelta(hours=8), interruptible=Interruptible(overhead="10m"))
    (run,) = planned(world, (job,), pools_of(("XA",), None), Perfect(world, 240))
    assert len(run.pieces) == 2
    assert sum(piece.minutes for piece in run.pieces) == 130
    assert run.end <= job.latest + timedelta(minutes=120)


def test_gpus_are_free_for_others_while_a_job_pauses():
    values = np.full((1, 40 * 24), 500.0)
    values[0, [FIRST + 1, FIRST + 9]] = 10.0
    world = Grid(("XA",), made_grid().signal, START, values, {})
    cut = Interruptible(max_pauses=1, minimum_run="1h", overhead="0s")
    long = ReplayJob("a", world.moment(FIRST), 120, timedelta(hours=10), interruptible=cut)
    short = ReplayJob("b", world.moment(FIRST + 3), 60, timedelta(0))
    pools = pools_of(("XA",), 1)
    runs = planned(world, (long, short), pools, Perfect(world, 240))
    begun = [[world.slot(piece.begin) - FIRST for piece in run.pieces] for run in runs]
    assert begun == [[1, 9], [3]]


def test_half_hours_are_planned_and_accounted_as_they_are():
    values = np.full((1, 40 * 48), 500.0)
    values[0, 2 * FIRST + 5] = 100.0
    world = Grid(("XA",), made_grid().signal, START, values, {}, timedelta(minutes=30))
    job = ReplayJob("j", world.moment(2 * FIRST), 30, timedelta(hours=6))
    pools = pools_of(("XA",), None)
    (run,) = replay(
        world, (job,), Planner(OURS, replay_fleet(pools, "XA", 30), world, Perfect(world, 24)), pools, cycle_minutes=30
    )
    assert run.begin == world.moment(2 * FIRST + 5)
    assert run.grams(world) == 50


def test_from_history_each_half_of_an_hour_is_forecast_by_its_own_past():
    day = np.concatenate([np.full(24, 300.0), np.full(24, 500.0)])
    day[::2] += 40
    world = Grid(("XA",), made_grid().signal, START, np.tile(day, 40)[None, :], {}, timedelta(minutes=30))
    feed = FromHistory(world, 48 * 30, world.slots - 1, 24)
    for slot in (48 * 30, 48 * 30 + 1, 48 * 33 + 17):
        forecast = feed.at(slot)["XA", world.signal]
        assert (forecast.start, forecast.step) == (world.moment(slot), timedelta(minutes=30))
        expected = world.grams_per_kwh[0, slot : slot + 48]
        assert forecast.grams_per_kwh == pytest.approx(expected, rel=0.02)


def test_a_rival_shares_gpus_by_plan_where_all_jobs_want_one_hour():
    """Of two jobs that want the same clean hours on one GPU, the second takes the next best, not what is left."""
    values = np.full((1, 40 * 24), 500.0)
    hours = np.arange(values.shape[1]) % 24
    values[0, hours == 12] = 100.0
    values[0, hours == 6] = 200.0
    world = Grid(("XA",), made_grid().signal, START, values, {})
    jobs = [ReplayJob(name, world.moment(FIRST), 60, timedelta(hours=20)) for name in "ab"]
    pools = pools_of(("XA",), 1)
    for rival in baselines(world, "XA", FIRST)[-2:]:
        runs = replay(world, jobs, rival, pools)
        assert sorted(world.slot(run.begin) - FIRST for run in runs) == [6, 12], rival.name


@pytest.mark.parametrize("gpus", [None, 2])
def test_what_is_told_the_future_is_called_a_bound_only_where_it_is_one(grid, gpus):
    backtest = Backtest(grid, (every_hour(grid.moment(FIRST), 10, 2, 12),), pools_of(grid.zones, gpus), "XA")
    names = [score.policy for score in run_backtest(backtest, only_ours=True).scores]
    assert names[-1] == {None: FORESIGHT, 2: "told the future (no bound)"}[gpus]


def test_a_faster_pool_runs_shorter_and_uses_its_own_power():
    pool = Pool("fast", "XA", 1, speed=1.05, kw_per_gpu=1.89)
    job = ReplayJob("j", START, 84, timedelta(0))
    assert pool.minutes(job) == 80
    assert pool.kwh(job) == pytest.approx(80 / 60 * 1.89)
    assert Pool("plain", "XA", 1).minutes(job) == 84


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
    assert best_static(replace(grid, grams_per_kwh=values), FIRST) == "XC"


def test_too_little_history_is_refused_with_what_to_do(grid):
    jobs = every_hour(grid.moment(10), 5, 1, 6)
    with pytest.raises(ReplayError, match=r"start later \(--start\)"):
        run_backtest(Backtest(grid, (jobs,), pools_of(grid.zones, None), grid.zones[0]))


def test_jobs_that_reach_beyond_the_trace_are_refused(grid):
    jobs = every_hour(grid.moment(grid.slots - 20), 5, 4, 24)
    with pytest.raises(ReplayError, match="the trace covers"):
        run_backtest(Backtest(grid, (jobs,), pools_of(grid.zones, None), grid.zones[0]))


def test_gpus_too_few_for_the_jobs_end_in_an_error_and_not_in_a_loop():
    grid = made_grid(zones=1, days=31)
    jobs = every_hour(grid.moment(FIRST), 30, 6, 2)
    with pytest.raises(ReplayError, match="too few"):
        replay(grid, jobs, baselines(grid, "XA", FIRST)[0], pools_of(("XA",), 1))


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
    assert grid.slot(moment) == 5
    assert grid.moment(grid.slots) == grid.end == START + HOUR * grid.slots
