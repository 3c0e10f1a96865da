"""The last plan holds while nothing that it was made of has changed and nothing in it is due."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbonfleet.hub.planning import LastPlan, Quarantine, plan_around
from carbonfleet.placement import Incumbent, Reservation, plan
from fixtures.placement_world import HOUR, NOON, forecast, job, spoke, world

MINUTE = timedelta(minutes=1)
DIRTY_NOW = [400.0] * 3 + [20.0] * 60


def waiting_world(values=DIRTY_NOW, jobs=("patient", "calm")):
    schedule = {"max_delay": "12h"}
    return world(
        [job(name, schedule=schedule) for name in jobs],
        [spoke("oslo")],
        [forecast("NO-NO1", values)],
    )


@pytest.fixture
def remembered():
    """A last plan in which every job waits, and the snapshot that it was made of."""
    snapshot = waiting_world()
    planned = plan_around(snapshot, NOON, Quarantine(), plan)
    assert {decision.outcome.value for decision in planned.decisions.values()} == {"Wait"}
    last = LastPlan()
    last.keep(snapshot, planned)
    return last, snapshot


def test_the_same_question_has_the_same_answer_until_something_is_due(remembered):
    last, _ = remembered
    due = min(decision.recheck_at for decision in last.planned.decisions.values())
    assert last.recall(waiting_world(), due - MINUTE) is last.planned
    assert last.recall(waiting_world(), due) is None


def test_until_it_is_due_a_new_plan_would_say_the_same(remembered):
    last, snapshot = remembered
    due = min(decision.recheck_at for decision in last.planned.decisions.values())
    again = plan_around(snapshot, due - MINUTE, Quarantine(), plan).decisions
    kept = last.planned.decisions
    assert {uid: (d.outcome, d.window.segments) for uid, d in again.items()} == {
        uid: (d.outcome, d.window.segments) for uid, d in kept.items()
    }


def test_other_figures_for_the_grid_ask_again(remembered):
    last, _ = remembered
    assert last.recall(waiting_world([30.0] * 63), NOON + MINUTE) is None


def test_a_grid_that_is_no_more_known_asks_again(remembered):
    last, snapshot = remembered
    assert last.recall(replace(snapshot, forecasts={}), NOON + MINUTE) is None


def test_another_job_asks_again(remembered):
    last, _ = remembered
    assert last.recall(waiting_world(jobs=("patient", "calm", "new")), NOON + MINUTE) is None


def test_a_spoke_that_fell_silent_asks_again(remembered):
    last, snapshot = remembered
    silent = replace(snapshot.spokes[0], healthy=False, reason="Unreachable")
    assert last.recall(replace(snapshot, spokes=(silent,)), NOON + MINUTE) is None


def test_what_is_to_start_is_planned_anew_each_time():
    snapshot = waiting_world([20.0] * 3 + [400.0] * 60)
    last = LastPlan()
    last.keep(snapshot, plan_around(snapshot, NOON, Quarantine(), plan))
    assert last.recall(snapshot, NOON) is None


def test_a_plan_that_left_a_job_out_is_not_kept(remembered):
    last, snapshot = remembered
    last.keep(snapshot, replace(last.planned, faults={"some-uid": "the planner failed on it"}))
    assert last.recall(snapshot, NOON + MINUTE) is None


def told(snapshot, planned, **changes):
    """The same question once statuses say what was planned."""
    jobs = []
    for queued in snapshot.jobs:
        window = planned.decisions[queued.uid].window
        incumbent = replace(Incumbent(window.cluster, window.pool, window.start), **changes)
        jobs.append(replace(queued, incumbent=incumbent))
    return replace(snapshot, jobs=tuple(jobs))


def test_that_jobs_were_told_the_plan_asks_nothing_new(remembered):
    last, snapshot = remembered
    for minute in (1, 2):
        assert last.recall(told(snapshot, last.planned), NOON + minute * MINUTE) is last.planned


def test_jobs_that_were_told_another_time_ask_again(remembered):
    last, snapshot = remembered
    assert last.recall(told(snapshot, last.planned, start=NOON + 60 * MINUTE), NOON + MINUTE) is None


def test_once_told_jobs_are_planned_as_before(remembered):
    last, snapshot = remembered
    again = plan_around(told(snapshot, last.planned), NOON + MINUTE, Quarantine(), plan).decisions
    assert {uid: d.window.segments for uid, d in again.items()} == {
        uid: d.window.segments for uid, d in last.planned.decisions.items()
    }


def test_when_a_job_comes_the_others_decisions_keep_their_words(remembered):
    last, _ = remembered
    more = waiting_world(jobs=("patient", "calm", "new"))
    again = plan_around(more, NOON + MINUTE, Quarantine(), plan, last.told(more))
    for uid, record in last.planned.records.items():
        assert again.records[uid] is record
    assert again.records["uid-ml-new"].decided_at == NOON + MINUTE


def test_a_decision_that_came_out_otherwise_is_told_anew(remembered):
    last, snapshot = remembered
    held = Reservation("other", "ml", "oslo", "main", 8, NOON, NOON + 5 * HOUR)
    crowded = replace(snapshot, reservations=(held,))
    again = plan_around(crowded, NOON + MINUTE, Quarantine(), plan, last.told(crowded))
    assert {record.start for record in again.records.values()} == {NOON + 5 * HOUR}
    assert {record.decided_at for record in again.records.values()} == {NOON + MINUTE}


@pytest.mark.parametrize("change", ["grid", "spoke", "job", "slot"])
def test_words_that_may_have_changed_are_found_anew(remembered, change):
    last, snapshot = remembered
    now = NOON + MINUTE
    if change == "grid":
        snapshot = waiting_world([*DIRTY_NOW[:-1], 21.0])
    elif change == "spoke":
        silent = replace(spoke("ohio"), healthy=False, reason="Unreachable")
        snapshot = replace(snapshot, spokes=(*snapshot.spokes, silent))
    elif change == "job":
        snapshot = replace(snapshot, jobs=tuple(replace(job, generation=2) for job in snapshot.jobs))
    else:
        now = NOON + HOUR
    again = plan_around(snapshot, now, Quarantine(), plan, last.told(snapshot))
    assert {record.decided_at for record in again.records.values()} == {now}


@given(
    gone=st.sets(st.integers(0, 7)),
    new=st.lists(st.tuples(st.sampled_from([1, 2, 5]), st.integers(1, 6)), max_size=3),
    seconds=st.integers(0, 899),
)
@settings(max_examples=15)
def test_what_is_decided_is_the_same_with_and_without_words_that_were_told(gone, new, seconds):
    queue = [job(f"job-{n}", hours=1 + n % 3, gpus=1 + n % 5, schedule={"max_delay": "12h"}) for n in range(8)]
    grid = [forecast("NO-NO1", [400.0, 90, 80, 70, 60] * 12)]
    before = world(queue, [spoke("oslo", gpus=6)], grid)
    last = LastPlan()
    last.keep(before, plan_around(before, NOON, Quarantine(), plan))
    added = [job(f"new-{n}", hours=hours, gpus=gpus) for n, (hours, gpus) in enumerate(new)]
    after = world([j for n, j in enumerate(queue) if n not in gone] + added, [spoke("oslo", gpus=6)], grid)
    now = NOON + timedelta(seconds=seconds)
    kept = plan_around(after, now, Quarantine(), plan, last.told(after)).decisions
    anew = {decision.uid: decision for decision in plan(after, now)}
    assert kept.keys() == anew.keys()
    assert all(kept[uid].decides_as(decision) for uid, decision in anew.items())
