"""Which job a schedule needs at a moment: worked examples of the pure decision."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from carbonfleet.api.job_status import Phase
from carbonfleet.api.schedule import ScheduleStatus, TrainingScheduleSpec, job_name
from carbonfleet.hub.schedules.runs import MissedRuns, RunJob, counted_from, decide_runs

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SEVEN = datetime(2026, 1, 31, 7, tzinfo=UTC)
"""When a run is due, each day."""


def spec(**given):
    template = {
        "workload": {"model": "acme/base", "dataset": {"name": "acme/data"}},
        "resources": {"duration": "2h"},
        "residency": {"dataClass": "public"},
    }
    fields = {"schedule": "0 7 * * *", "leadTime": "12h", "jobTemplate": {"spec": template}} | given
    return TrainingScheduleSpec.model_validate({name: value for name, value in fields.items() if value is not None})


def job(due, phase=Phase.RUNNING, **more):
    return RunJob(job_name("nightly", due), due, phase, **more)


def decide(now, *jobs, since=SEVEN - DAY, **given):
    return decide_runs(spec(**given), since, jobs, now)


@pytest.mark.parametrize(
    ("now", "made"),
    [
        (SEVEN - 12 * HOUR - timedelta(seconds=1), None),
        (SEVEN - 12 * HOUR, SEVEN),
        (SEVEN - 2 * HOUR, SEVEN),
        (SEVEN - 2 * HOUR + timedelta(seconds=1), None),
    ],
)
def test_a_job_is_made_its_lead_time_ahead_and_while_it_can_meet_its_deadline(now, made):
    assert decide(now).make == made


def test_without_lead_time_it_is_made_when_it_is_due_and_however_late():
    assert decide(SEVEN - timedelta(seconds=1), leadTime=None).make is None
    assert [decide(SEVEN + late, leadTime=None).make for late in (timedelta(0), 20 * HOUR)] == [SEVEN, SEVEN]


def test_after_the_starting_deadline_it_is_missed():
    made_at = SEVEN - 12 * HOUR
    on_time, late = (decide(made_at + HOUR + s, startingDeadline="1h") for s in (timedelta(0), timedelta(seconds=1)))
    assert (on_time.make, late.make) == (SEVEN, None)
    assert late.missed == MissedRuns(1, SEVEN, "startingDeadline is over")
    assert late.handled_until == SEVEN


def test_of_runs_that_piled_up_the_newest_alone_is_made_and_the_others_are_missed():
    found = decide(SEVEN + 4 * DAY - HOUR * 5)
    assert (found.make, found.handled_until) == (SEVEN + 4 * DAY, SEVEN + 4 * DAY)
    assert found.missed == MissedRuns(4, SEVEN + 3 * DAY)


def test_a_run_that_has_its_job_is_not_made_again_whatever_the_status_says():
    found = decide(SEVEN - HOUR * 5, job(SEVEN))
    assert (found.make, found.missed, found.handled_until, found.next_due) == (None, None, SEVEN, SEVEN + DAY)


def test_forbid_holds_a_run_until_the_earlier_job_has_ended_or_it_is_too_late():
    running, at = job(SEVEN - DAY), SEVEN - HOUR * 5
    held = decide(at, running, concurrencyPolicy="Forbid")
    assert (held.make, held.held_by, held.missed, held.next_due) == (None, (running,), None, SEVEN)
    assert held.wake == SEVEN - 2 * HOUR + timedelta(seconds=1)
    late = decide(held.wake, running, concurrencyPolicy="Forbid", since=held.handled_until)
    assert late.missed == MissedRuns(1, SEVEN, "its deadline can't be met any more")
    over = decide(at, replace(running, phase=Phase.SUCCEEDED), concurrencyPolicy="Forbid")
    assert over.make == SEVEN


def test_replace_makes_the_new_job_and_takes_the_older_ones_away_also_when_another_hub_made_it():
    older = (job(SEVEN - 2 * DAY), job(SEVEN - DAY, Phase.WAITING), job(SEVEN - 3 * DAY, Phase.SUCCEEDED))
    found = decide(SEVEN - HOUR * 5, *older, concurrencyPolicy="Replace")
    assert (found.make, {each.due for each in found.replaced}) == (SEVEN, {SEVEN - 2 * DAY})
    found = decide(SEVEN - HOUR * 5, *older, job(SEVEN), concurrencyPolicy="Replace")
    assert (found.make, {each.due for each in found.replaced}) == (None, {SEVEN - 2 * DAY})


def test_a_job_that_never_ran_by_its_deadline_is_not_active_and_counts_as_failed():
    waiting = [job(SEVEN - DAY * n, Phase.BLOCKED) for n in range(1, 4)]
    found = decide(SEVEN - HOUR * 5, *waiting, concurrencyPolicy="Forbid")
    assert (found.make, found.active) == (SEVEN, ())
    assert {each.due for each in found.over} == {SEVEN - 2 * DAY, SEVEN - 3 * DAY}
    assert decide(SEVEN - HOUR * 5, *waiting, leadTime=None).active == tuple(reversed(waiting))


def test_history_keeps_the_newest_of_either_end_and_what_is_not_due_yet():
    ended = [job(SEVEN - DAY * n, Phase.SUCCEEDED) for n in range(6)]
    failed = [job(SEVEN - DAY * n, Phase.FAILED) for n in range(6, 9)]
    found = decide(SEVEN - HOUR * 5, *ended, *failed, successfulJobsHistoryLimit=2)
    assert sorted(each.due for each in found.over) == sorted(SEVEN - DAY * n for n in (2, 3, 4, 5, 7, 8))
    none = decide(SEVEN - HOUR * 5, *ended, since=SEVEN, successfulJobsHistoryLimit=0)
    assert SEVEN not in {each.due for each in none.over}


def test_a_suspended_schedule_makes_nothing_and_its_runs_are_told_as_missed_once_it_goes_on():
    found = decide(SEVEN + 3 * DAY, suspend=True)
    assert (found.make, found.missed, found.next_due, found.handled_until) == (None, None, None, SEVEN - DAY)
    assert decide(SEVEN + 3 * DAY, since=found.handled_until).missed.count == 4


def test_of_very_many_missed_runs_the_newest_is_found_at_once():
    found = decide(SEVEN + 3650 * DAY, schedule="* * * * *", leadTime=None)
    assert (found.make, found.missed.count) == (SEVEN + 3650 * DAY, 1000)


def test_a_new_schedule_begins_with_the_first_run_that_can_be_met():
    for created, first in ((SEVEN - 3 * HOUR, SEVEN), (SEVEN - HOUR, SEVEN + DAY)):
        since = counted_from(spec(), ScheduleStatus(), (), created, created)
        found = decide(max(created, first - 12 * HOUR), since=since)
        assert (found.make, found.missed) == (first, None)


def test_changed_times_are_counted_anew_and_nothing_is_missed_by_them():
    before = ScheduleStatus(handled_until=SEVEN, times=spec().told_times)
    assert counted_from(spec(), before, (), SEVEN - 9 * DAY, SEVEN + DAY) == SEVEN
    changed = spec(schedule="0 5 * * *")
    since = counted_from(changed, before, (), SEVEN - 9 * DAY, SEVEN + DAY)
    found = decide_runs(changed, since, (), SEVEN + DAY)
    assert (found.make, found.missed, found.next_due) == (None, None, SEVEN + 2 * DAY - 2 * HOUR)


def test_a_schedule_whose_status_was_lost_goes_on_behind_its_newest_job():
    jobs = (job(SEVEN - DAY, Phase.SUCCEEDED), job(SEVEN))
    since = counted_from(spec(), ScheduleStatus(), jobs, SEVEN - 30 * DAY, SEVEN)
    found = decide(SEVEN, *jobs, since=since)
    assert (since, found.make, found.missed) == (SEVEN, None, None)
