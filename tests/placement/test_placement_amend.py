"""Within a slot a plan is amended for the few jobs that changed, and made anew where that is not enough."""

import gc
from dataclasses import replace
from datetime import timedelta

import pytest

from carbonfleet.placement import Incumbent, Outcome, QueuedJob, Reservation, plan
from carbonfleet.placement.amend import MOST_TIMES
from fixtures.placement_world import ANYWHERE, BARE, HOUR, NOON, TIERS, forecast, job, policy, spoke, world

MINUTE = timedelta(minutes=1)
CLEAN_AT_TWO = [400.0, 300.0, 20.0, 200.0, 300.0] + [400.0] * 60
ALWAYS = replace(BARE, amended_share=1.0)


def queue(*jobs, gpus=1, values=CLEAN_AT_TWO, **more):
    return world(jobs, [spoke("oslo", gpus=gpus)], {"NO-NO1": values}, assumptions=ALWAYS, **more)


def patient(name, **more):
    return job(name, schedule={"max_delay": "12h"}, **more)


def hour_of(made, name):
    (decision,) = (decision for decision in made if decision.name == name)
    return (decision.window.start - NOON) / HOUR


def is_amended(made):
    return made.standing.amended > 0


def test_a_job_that_comes_takes_the_best_that_the_others_leave():
    old, new = patient("old"), patient("new", submitted=NOON - HOUR)
    last = plan(queue(old), NOON)
    made = plan(queue(old, new), NOON + MINUTE, last)
    assert is_amended(made)
    assert (hour_of(made, "old"), hour_of(made, "new")) == (2, 3)
    assert next(d for d in made if d.name == "old") is last.decisions[0]


def test_in_the_next_slot_the_whole_queue_is_thought_over():
    old, new = patient("old"), patient("new", submitted=NOON - 2 * HOUR)
    made = plan(queue(old, new), NOON + HOUR, plan(queue(old), NOON))
    assert not is_amended(made)
    assert (hour_of(made, "old"), hour_of(made, "new")) == (3, 2)  # the older one chooses first


def test_a_lower_tier_makes_way():
    low, new = job("low", schedule={"tier": "flexible"}), patient("new")
    made = plan(queue(low, new), NOON + MINUTE, plan(queue(low), NOON))
    assert is_amended(made)
    assert (hour_of(made, "low"), hour_of(made, "new")) == (3, 2)


def test_only_those_make_way_that_must():
    flexible = {"schedule": {"tier": "flexible"}}
    early, late = job("early", submitted=NOON - MINUTE, **flexible), job("late", **flexible)
    last = plan(queue(early, late, gpus=2), NOON)
    made = plan(queue(early, late, patient("new"), gpus=2), NOON + MINUTE, last)
    assert is_amended(made)
    assert [hour_of(made, name) for name in ("early", "late", "new")] == [2, 3, 2]


def test_what_came_free_above_a_tier_is_kept_for_those_above():
    """They look at it in the next slot; a lower one that began there at once would be before them."""
    dirty_later = [20.0, 300.0] + [400.0] * 60
    gone, high = job("gone", review="required", submitted=NOON - HOUR), patient("high", hours=0.5)
    low = job("low", hours=0.5, schedule={"tier": "flexible", "max_delay": "12h"})
    last = plan(queue(gone, high, values=dirty_later), NOON)
    assert (hour_of(last, "gone"), hour_of(last, "high")) == (0, 1)
    between = plan(queue(high, values=dirty_later), NOON + MINUTE, last)
    for before in (last, between):
        made = plan(queue(high, low, values=dirty_later), NOON + 2 * MINUTE, before)
        assert is_amended(made)
        assert (hour_of(made, "high"), hour_of(made, "low")) == (1, 2)


def test_where_a_lower_tier_needs_what_came_free_all_look_again():
    dirty_later = [20.0, 300.0] + [400.0] * 60
    gone, high = job("gone", review="required", submitted=NOON - HOUR), patient("high", hours=0.5)
    low = job("low", hours=0.5, schedule={"tier": "flexible", "max_delay": "0s"})
    last = plan(queue(gone, high, low, values=dirty_later), NOON)
    assert {d.name: d.reason for d in last if d.name == "low"} == {"low": "WaitingForCapacity"}
    made = plan(queue(high, low, values=dirty_later), NOON + MINUTE, last)
    assert not is_amended(made)


def test_a_lower_tier_takes_what_its_own_left():
    gone, new = (job(name, schedule={"tier": "flexible"}) for name in ("gone", "new"))
    last = plan(queue(patient("high"), gone), NOON)
    made = plan(queue(patient("high"), new), NOON + MINUTE, last)
    assert is_amended(made)
    assert hour_of(made, "new") == hour_of(last, "gone") == 3


def test_what_is_to_start_starts_at_the_new_time():
    made = plan(queue(job("now"), values=[1.0] * 60), NOON + MINUTE, plan(queue(job("now"), values=[1.0] * 60), NOON))
    (decision,) = made
    assert (decision.outcome, decision.window.start) == (Outcome.START, NOON + MINUTE)


def test_that_a_job_was_told_its_place_changes_nothing():
    last = plan(queue(patient("old")), NOON)
    window = last.decisions[0].window
    told = patient("old", incumbent=Incumbent(window.cluster, window.pool, window.start))
    made = plan(queue(told, patient("new")), NOON + MINUTE, last)
    assert is_amended(made)
    assert made.decisions[1] is last.decisions[0]
    assert plan(queue(told, patient("other")), NOON + 2 * MINUTE, made).decisions[0] is last.decisions[0]


def test_a_job_that_was_edited_is_decided_on_again():
    last = plan(queue(patient("one"), patient("two"), gpus=2), NOON)
    wider = patient("two", gpus=2, generation=2)
    made = plan(queue(patient("one"), wider, gpus=2), NOON + MINUTE, last)
    assert is_amended(made)
    assert made.decisions[0] is last.decisions[0]
    assert (hour_of(made, "two"), made.decisions[1].generation, made.decisions[1].window.gpus) == (3, 2, 2)


def test_a_job_that_found_no_gpus_in_time_looks_again_when_another_leaves():
    urgent = [job(name, hours=3, schedule={"tier": "urgent"}) for name in ("first", "second")]
    last = plan(queue(*urgent), NOON)
    assert [d.reason for d in last] == ["Placed", "WaitingForCapacity"]
    made = plan(queue(urgent[1]), NOON + MINUTE, last)
    assert is_amended(made)
    assert (made.decisions[0].outcome, made.decisions[0].window.start) == (Outcome.START, NOON + MINUTE)


def test_a_job_that_starts_elsewhere_is_not_counted_twice():
    """What was committed leaves the queue and holds its GPUs as a reservation."""
    first, second = (job(name, hours=3, schedule={"tier": "urgent"}) for name in ("first", "second"))
    last = plan(queue(first, second), NOON)
    held = Reservation("uid-ml-first", "ml", "oslo", "main", 1, NOON, NOON + 3 * HOUR)
    made = plan(queue(second, reservations=(held,)), NOON + MINUTE, last)
    assert is_amended(made)
    assert made.decisions[0] is last.decisions[1]


def test_a_plan_is_not_amended_for_ever():
    """What each amendment found is held until the next whole plan."""
    jobs = [patient(f"job-{number}") for number in range(3)]
    large = replace(ALWAYS, amended_share=1e6)
    made, times = plan(replace(queue(*jobs), assumptions=large), NOON), []
    for number in range(MOST_TIMES + 2):
        jobs = [*jobs[1:], patient(f"more-{number}")]
        made = plan(replace(queue(*jobs), assumptions=large), NOON, made)
        times.append(made.standing.times)
    assert times == [*range(1, MOST_TIMES + 1), 0, 1]


def later_slot(snapshot, new):
    return replace(snapshot, jobs=(*snapshot.jobs, new)), NOON + HOUR


def other_grid(snapshot, new):
    grid = {("NO-NO1", value.signal): forecast("NO-NO1", [5.0] * 60) for value in snapshot.forecasts.values()}
    return replace(snapshot, jobs=(*snapshot.jobs, new), forecasts=grid), NOON + MINUTE


def other_policy(snapshot, new):
    strict = policy("strict", scope={"data_classes": ["eu"]}, residency={"jurisdictions": ["EU"]})
    policies = replace(snapshot.policies, policies=(ANYWHERE, strict))
    return replace(snapshot, jobs=(*snapshot.jobs, new), policies=policies), NOON + MINUTE


def ill_spoke(snapshot, new):
    return replace(snapshot, jobs=(*snapshot.jobs, new), spokes=(spoke("oslo", healthy=False),)), NOON + MINUTE


def gpus_came_free(snapshot, new):
    return replace(snapshot, jobs=(*snapshot.jobs, new), reservations=()), NOON + MINUTE


def gpus_are_gone(snapshot, new):
    more = Reservation("b", "ml", "oslo", "main", 7, NOON, NOON + 9 * HOUR)
    return replace(snapshot, jobs=(*snapshot.jobs, new), reservations=(*snapshot.reservations, more)), NOON + MINUTE


def running_job(snapshot, new):
    runs = replace(new, incumbent=Incumbent("oslo", "main", NOON - HOUR, running=True, since=NOON - HOUR))
    return replace(snapshot, jobs=(*snapshot.jobs, runs)), NOON + MINUTE


def no_window_in_time(snapshot, new):
    return replace(snapshot, jobs=(*snapshot.jobs, job("big", gpus=8, schedule={"tier": "urgent"}))), NOON + MINUTE


def longer_look(snapshot, new):
    far = job("far", schedule={"max_delay": "70h"})
    return replace(snapshot, jobs=(*snapshot.jobs, far)), NOON + MINUTE


def many_changes(snapshot, new):
    few = replace(snapshot.assumptions, amended_share=0.4)
    return replace(snapshot, jobs=(*snapshot.jobs, new, patient("more")), assumptions=few), NOON + MINUTE


@pytest.mark.parametrize(
    "change",
    [
        *(later_slot, other_grid, other_policy, ill_spoke, gpus_came_free, gpus_are_gone),
        *(running_job, no_window_in_time, longer_look, many_changes),
    ],
)
def test_where_that_is_not_enough_the_whole_queue_is_planned_anew(change):
    held = Reservation("a", "ml", "oslo", "main", 1, NOON, NOON + 4 * HOUR)
    before = queue(patient("one"), patient("two"), gpus=8, reservations=(held,))
    last = plan(before, NOON)
    after, now = change(before, patient("new"))
    made = plan(after, now, last)
    assert not is_amended(made)
    assert made == plan(after, now)


def test_where_a_budget_is_drawn_on_each_plan_is_whole():
    budget = policy("budget", scope={"namespaces": ["ml"]}, budget={"carbon_kg_per_month": 9})
    anywhere = policy("default", residency={"anywhere": True}, tiers=TIERS)
    before = queue(patient("one"), policies=(anywhere, budget))
    after = replace(before, jobs=(*before.jobs, patient("new")))
    assert not is_amended(plan(after, NOON + MINUTE, plan(before, NOON)))


def test_a_job_that_policy_refuses_is_told_so_beside_the_others():
    closed = policy("closed", scope={"data_classes": ["secret"]}, residency={"jurisdictions": ["CH"]})
    before = queue(patient("one"), policies=(ANYWHERE, closed))
    unknown = job("unknown", schedule={"tier": "golden"})
    after = replace(before, jobs=(*before.jobs, unknown, job("secret", data_class="secret")))
    made = plan(after, NOON + MINUTE, plan(before, NOON))
    assert is_amended(made)
    assert {d.name: d.reason for d in made if d.window is None} == {
        "unknown": "UnknownTier",
        "secret": "NoRegionAllowed",
    }
    again = plan(after, NOON + 2 * MINUTE, made)
    assert [a is b for a, b in zip(again, made, strict=True)] == [True] * 3


def test_in_whatever_order_spokes_are_given_they_are_the_same():
    def fleet(*names):
        spokes = [spoke(name, gpus=1) for name in names]
        return [world(jobs, spokes, {"NO-NO1": CLEAN_AT_TWO}, assumptions=ALWAYS) for jobs in before_and_after]

    before_and_after = [patient("old")], [patient("old"), patient("new")]
    last = plan(fleet("oslo", "bergen")[0], NOON)
    made = [plan(fleet(*names)[1], NOON + MINUTE, last) for names in (("oslo", "bergen"), ("bergen", "oslo"))]
    assert [is_amended(one) for one in made] == [True, True]
    assert made[0] == made[1]


def test_decisions_that_wait_for_words_do_not_hold_each_queue_that_was():
    """A hub reads its jobs anew in each cycle, and a slot has hundreds of cycles."""
    olds, cycles = [patient(f"old-{number}") for number in range(20)], 10
    made = plan(queue(*olds, gpus=90), NOON)
    for number in range(cycles):
        olds = [*map(replace, olds), patient(f"new-{number}")]
        made = plan(queue(*olds, gpus=90), NOON + number * MINUTE, made)
        assert is_amended(made)
    gc.collect()
    alive = [one for one in gc.get_objects() if isinstance(one, QueuedJob) and one.name == "old-7"]
    assert len(alive) <= 3  # of the whole plan, the last one and now
