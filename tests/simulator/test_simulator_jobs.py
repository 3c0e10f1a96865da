"""Job lists and the series made by rule."""

from datetime import UTC, datetime, timedelta

import pytest

from carbonfleet.api.job import Interruptible
from carbonfleet.simulator.grid import ReplayError
from carbonfleet.simulator.replay import JobDefaults, every_hour, parse_slack, read_jobs, sweep, sweep_starts

START = datetime(2024, 3, 1, tzinfo=UTC)


def test_a_job_list_counts_seconds_from_the_start_and_rounds_up_to_minutes(tmp_path):
    path = tmp_path / "jobs.csv"
    path.write_text("arrival_time,length,cpus\n0.0,6302.0,1\n68.0,1000.0,3\n")
    first, second = read_jobs(path, START, JobDefaults(parse_slack("24")))
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
        read_jobs(path, START, JobDefaults(parse_slack("24")))


def test_an_empty_or_foreign_job_list_is_refused(tmp_path):
    path = tmp_path / "jobs.csv"
    path.write_text("when,what\n1,2\n")
    with pytest.raises(ReplayError, match="first line"):
        read_jobs(path, START, JobDefaults(parse_slack("24")))
    path.write_text("arrival_time,length,cpus\n")
    with pytest.raises(ReplayError, match="no job below"):
        read_jobs(path, START, JobDefaults(parse_slack("24")))
    with pytest.raises(ReplayError, match="missing"):
        read_jobs(tmp_path / "missing.csv", START, JobDefaults(parse_slack("24")))


def test_each_row_may_say_its_own_slack_duration_and_whether_it_may_be_cut(tmp_path):
    path = tmp_path / "jobs.csv"
    path.write_text(
        "arrival_time,length,duration,slack,interruptible\n"
        "0,3600,,,\n0,,1h30m,6,true\n0,3600,2h,next-workday,false\n0,900,,by-length,\n"
    )
    cut = Interruptible(overhead="5m")
    jobs = read_jobs(path, START, JobDefaults(parse_slack("24"), interruptible=Interruptible(), cut=cut))
    assert [(job.minutes, job.delay / timedelta(hours=1), job.interruptible) for job in jobs] == [
        (60, 24, Interruptible()),
        (90, 6, cut),
        (120, 7, None),
        (15, 6, Interruptible()),
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("0,60,,x,", "slack 'x' is neither"),
        ("0,60,,-1,", "slack '-1' is neither"),
        ("0,60,,,perhaps", "interruptible must be true or false"),
        ("0,60,4 hours,,", "write 4h"),
        (",60,,,", "arrival_time must be a number"),
        ("0,,,,", "length must be a number"),
    ],
)
def test_a_cell_that_makes_no_sense_is_named_with_its_line(tmp_path, row, words):
    path = tmp_path / "jobs.csv"
    path.write_text(f"arrival_time,length,duration,slack,interruptible\n{row}\n")
    with pytest.raises(ReplayError, match=rf"line 2: {words}"):
        read_jobs(path, START, JobDefaults(parse_slack("24")))


def test_a_column_that_is_not_known_is_refused(tmp_path):
    path = tmp_path / "jobs.csv"
    path.write_text("arrival_time,length,slak\n0,60,6\n")
    with pytest.raises(ReplayError, match="column slak is none of"):
        read_jobs(path, START, JobDefaults(parse_slack("24")))


@pytest.mark.parametrize(
    ("rule", "submitted", "hours"),
    [
        # 2024-03-01 is a Friday; Berlin is an hour ahead of UTC.
        ("next-workday", datetime(2024, 3, 1, 9, tzinfo=UTC), 0),  # ends 12:00 on Friday
        ("next-workday", datetime(2024, 3, 1, 15, tzinfo=UTC), 63),  # ends 18:00 on Friday, to 9:00 on Monday
        ("next-workday", datetime(2024, 3, 4, 20, tzinfo=UTC), 10),  # ends 23:00 on Monday
        ("semi-weekly", datetime(2024, 3, 1, 9, tzinfo=UTC), 69),  # ends 12:00 on Friday, to 9:00 on Monday
        ("semi-weekly", datetime(2024, 3, 4, 6, tzinfo=UTC), 0),  # ends 9:00 on Monday
        ("semi-weekly", datetime(2024, 3, 4, 7, tzinfo=UTC), 71),  # ends 10:00 on Monday, to Thursday
        ("next-workday", datetime(2024, 3, 29, 15, tzinfo=UTC), 62),  # over the night in which clocks go forward
        ("by-length", datetime(2024, 3, 4, 7, tzinfo=UTC), 6),
        ("7.5", datetime(2024, 3, 4, 7, tzinfo=UTC), 7.5),
    ],
)
def test_a_rule_gives_each_job_the_slack_until_its_result_is_looked_at(rule, submitted, hours):
    assert parse_slack(rule, "Europe/Berlin")(submitted, 120) == timedelta(hours=hours)


def test_a_time_zone_that_does_not_exist_is_refused():
    with pytest.raises(ReplayError, match="--time-zone Mars/Olympus does not exist"):
        parse_slack("semi-weekly", "Mars/Olympus")


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
