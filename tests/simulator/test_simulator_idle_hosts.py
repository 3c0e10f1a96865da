"""What sleeping hosts save in a replay, and that nobody waits longer for one than was planned."""

from dataclasses import replace
from datetime import timedelta

import pytest

from carbonfleet.api.cluster import GpuPool
from carbonfleet.placement.hardware import pool_profile
from carbonfleet.simulator.backtest import Backtest, our_planner
from carbonfleet.simulator.grid import open_grid
from carbonfleet.simulator.idle_hosts import IdleEnergy, PlanRecorder, idle_energy
from carbonfleet.simulator.presets import HALF_YEAR, JOB_LIST
from carbonfleet.simulator.replay import Pool, ReplayedRun, ReplayJob, every_hour, parse_slack, read_jobs, replay
from carbonfleet.simulator.replay.jobs import JobDefaults
from fixtures.made_grids import made_grid

WAKE = timedelta(minutes=10)
MINUTE = timedelta(minutes=1)


def pool_of(hosts: int, gpus_per_host: int) -> GpuPool:
    gpus = hosts * gpus_per_host
    return GpuPool(name="gpus", gpu_type="A100", gpus=gpus, gpus_per_node=gpus_per_host, memory_gib=80, wake_time=WAKE)


def with_wake(jobs: list[ReplayJob]) -> list[ReplayJob]:
    """As the planner sees them: whoever begins may have to wait for hosts to wake."""
    return [replace(job, minutes=job.minutes + WAKE // MINUTE) for job in jobs]


def simulated(grid, jobs, pool, facts) -> tuple[IdleEnergy, list[ReplayedRun]]:
    backtest = Backtest(grid, (tuple(jobs),), (pool,), grid.zones[0])
    recorder = our_planner(backtest, PlanRecorder)
    runs = replay(grid, jobs, recorder, (pool,))
    pieces = [piece for run in runs for piece in run.pieces]
    return idle_energy(pieces, recorder.told, facts, pool_profile(facts).idle_watts), list(runs)


def test_hosts_sleep_between_runs_and_wake_for_those_that_are_planned():
    """One run of an hour on 8 GPUs at noon, known since midnight: one host wakes at 11:48, and sleeps from 13:10 on."""
    grid = made_grid(zones=1, days=2)
    job = ReplayJob("a", grid.moment(0), 70, timedelta(hours=24), gpus=8)
    pool, facts = Pool("gpus", grid.zones[0], 16), pool_of(2, 8)
    last = ReplayJob("b", grid.moment(0), 70, timedelta(hours=24), gpus=8)
    runs = [ReplayedRun(job, pool, grid.moment(12)), ReplayedRun(last, pool, grid.moment(24))]
    told = [(grid.moment(0), ((grid.moment(12), 8), (grid.moment(24), 8)))]
    early = [ReplayedRun(replace(job, name="c"), pool, grid.moment(0))]
    found = idle_energy([*early, *runs], told, facts, 50)
    assert (found.wakes, found.latest_begin) == (3, WAKE)
    # 10 minutes for the first, which nobody had planned; of both others 12 before; 10 after the first two.
    idle_gpu_minutes = 8 * (10 + 12 + 12 + 10 + 10) + 8 * 10
    assert found.sleeping_kwh == pytest.approx(idle_gpu_minutes * 50 / 60_000, rel=0.15)
    assert found.saved_share > 0.9


def test_without_a_wake_time_nothing_sleeps():
    grid = made_grid(zones=1, days=2)
    run = ReplayedRun(ReplayJob("a", grid.moment(0), 60, timedelta()), Pool("gpus", grid.zones[0], 8), grid.moment(3))
    facts = pool_of(1, 8).model_copy(update={"wake_time": None})
    found = idle_energy([run], [], facts, 50)
    assert found.latest_begin == timedelta()


def test_a_week_of_runs_at_a_third_of_use_idles_little_and_nobody_is_late():
    grid = made_grid(zones=1, days=40)
    jobs = with_wake(list(every_hour(grid.moment(28 * 24), 7 * 24, 4, 12)[::2]))
    found, runs = simulated(grid, jobs, Pool("gpus", grid.zones[0], 8), pool_of(8, 1))
    assert 0.2 < found.use < 0.4
    assert found.saved_share >= 0.8
    assert found.latest_begin <= WAKE
    assert all(run.begin <= run.job.latest for run in runs)


@pytest.mark.soak
@pytest.mark.parametrize(("gpus", "per_host", "saved"), [(64, 8, 0.6), (32, 2, 0.6)], ids=["at 28 %", "at 56 %"])
def test_a_month_of_gaias_jobs_idles_less_by_sixty_percent_and_nobody_is_late(data_folder, gpus, per_host, saved):
    grid = open_grid([data_folder / HALF_YEAR], ["DE"])
    week = read_jobs(data_folder / JOB_LIST, grid.moment(28 * 24), JobDefaults(parse_slack("by-length")))
    jobs = [
        replace(job, name=f"{number}-{job.name}", submitted=job.submitted + number * timedelta(days=7))
        for number in range(4)
        for job in week
    ]
    found, runs = simulated(grid, with_wake(jobs), Pool("de", "DE", gpus), pool_of(gpus // per_host, per_host))
    assert len(runs) == 4000
    assert found.latest_begin <= WAKE
    assert found.saved_share >= saved
