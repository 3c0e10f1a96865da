"""Job lists and the series made by rule."""

from datetime import UTC, datetime, timedelta

import pytest

from carbonfleet.simulator.grid import ReplayError
from carbonfleet.simulator.replay import every_hour, read_jobs, sweep, sweep_starts

START = datetime(2024, 3, 1, tzinfo=UTC)


def test_a_job_list_counts_seconds_from_the_start_and_rounds_up_to_minutes(tmp_path):
    path = tmp_path / "jobs.csv"
    path.write_text("arrival_time,length,cpus\n0.0,6302.0,1\n68.0,1000.0,3\n")
    first, second = read_jobs(path, START, 24)
    assert (first.submitted, first.minutes, first.gpus) == (START, 106, 1)
    assert (second.submitted, second.minutes, second.gpus) == (START + timedelta(minutes=2), 17, 3)
    assert second.latest == START + timedelta(hours=24, minutes=2)


@pytest.mark.parametrize(
    "line", ["-1,60,1", "0,0,1", "0,nan,1", "x,60,1", "0,inf,1", "0,60,-2", "0,60,1e9", "0,,1", "1e300,60,1"]
)
def test_a_line_that_makes_no_sense_is_named(tmp_path, line):
    path = tmp_path / "jobs.csv"
    path.write_text(f"arrival_time,length,cpus\n0,60,1\n{line}\n")
    with pytest.raises(ReplayError, match="line 3"):
        read_jobs(path, START, 24)


def test_an_empty_or_foreign_job_list_is_refused(tmp_path):
    path = tmp_path / "jobs.csv"
    path.write_text("when,what\n1,2\n")
    with pytest.raises(ReplayError, match="first line"):
        read_jobs(path, START, 24)
    path.write_text("arrival_time,length,cpus\n")
    with pytest.raises(ReplayError, match="no job below"):
        read_jobs(path, START, 24)
    with pytest.raises(ReplayError, match="missing"):
        read_jobs(tmp_path / "missing.csv", START, 24)


def test_jobs_come_at_every_hour():
    jobs = every_hour(START, 3, 4, 24)
    assert [job.submitted for job in jobs] == [START + timedelta(hours=h) for h in range(3)]
    assert {(job.minutes, job.delay) for job in jobs} == {(240, timedelta(hours=24))}


def test_the_sweep_has_21_jobs_in_three_tiers():
    jobs = sweep(START)
    assert len(jobs) == 21
    assert [sum(job.tier == tier for job in jobs) for tier in ("tier-1", "tier-2", "tier-3")] == [8, 4, 9]


def test_sweeps_start_three_times_on_four_days_of_a_month():
    starts = sweep_starts(START, datetime(2024, 3, 31, tzinfo=UTC))
    assert len(starts) == 12
    assert starts[0] == datetime(2024, 3, 3, 1, tzinfo=UTC)
    assert starts[-1] == datetime(2024, 3, 24, 17, tzinfo=UTC)
