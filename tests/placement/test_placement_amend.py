"""What newcomers to a queue are told while the last plan still stands for the others."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from carbonfleet.placement import Assumptions, Incumbent, Outcome, Reservation, Spoke, plan
from carbonfleet.placement.amend import amended
from fixtures.placement_world import BARE, HOUR, NOON, TIERS, job, policy, spoke, world

ANYWHERE = policy("default", residency={"anywhere": True}, tiers=TIERS)
LATER = NOON + timedelta(seconds=40)
NIGHT_IS_CLEAN = {"NO-NO1": [300] * 6 + [30] * 90}


def night_jobs(count):
    """Jobs that wait for the clean hours."""
    return [job(f"waits-{number}") for number in range(count)]


def planned(snapshot, now=NOON):
    return {decision.uid: decision for decision in plan(snapshot, now)}


def told(decision):
    """What a person would act upon."""
    window = decision.window
    return decision.outcome, decision.reason, window and (window.cluster, window.pool, window.segments)


def after(before, *newcomers, **changes):
    """The same world with more jobs, and what else has changed."""
    return replace(before, jobs=(*before.jobs, *newcomers), **changes)


@pytest.fixture
def roomy():
    """Eight jobs that wait for the night where all fit, with the plan that was made for them."""
    snapshot = world(night_jobs(8), [spoke("a", gpus=64)], NIGHT_IS_CLEAN)
    return snapshot, planned(snapshot)


def test_a_newcomer_is_decided_on_alone_and_the_others_keep_what_they_were_told(roomy):
    snapshot, decisions = roomy
    with_one = after(snapshot, job("new", schedule={"tier": "urgent"}))
    found = amended(snapshot, decisions, with_one, LATER)
    assert found.standing == decisions
    (decision,) = found.plan
    assert told(decision) == told(planned(with_one, LATER)[decision.uid])
    assert decision.outcome is Outcome.START


def test_a_job_that_has_gone_to_git_as_it_was_told_changes_nothing(roomy):
    snapshot, decisions = roomy
    window = decisions["uid-ml-waits-0"].window
    taken = Reservation("uid-ml-waits-0", "ml", "a", "main", 1, NOON, window.end)
    placed = replace(snapshot, jobs=snapshot.jobs[1:], reservations=(taken,))
    found = amended(snapshot, decisions, placed, LATER)
    assert (len(found.standing), found.plan.decisions) == (7, ())


def test_what_a_waiting_job_is_told_does_not_make_it_another(roomy):
    snapshot, decisions = roomy
    jobs = [replace(each, incumbent=Incumbent("a", "main", decisions[each.uid].window.start)) for each in snapshot.jobs]
    found = amended(snapshot, decisions, after(replace(snapshot, jobs=tuple(jobs)), job("new")), LATER)
    assert found.standing == decisions


def test_a_newcomer_whose_best_window_others_hold_has_the_whole_queue_planned_anew():
    full = world(night_jobs(8), [spoke("a", gpus=1)], {"NO-NO1": [300] * 6 + [30] * 8 + [300] * 80})
    decisions = planned(full)
    assert amended(full, decisions, after(full, job("new", schedule={"max_delay": "20h"})), LATER) is None


HELD = Reservation("uid-ml-runs", "ml", "a", "main", 2, NOON - HOUR, NOON + 3 * HOUR)
BUDGET = replace(
    world([], [], {}).policies,
    policies=(ANYWHERE, policy("budget", scope={"namespaces": ["ml"]}, budget={"carbon_kg_per_month": 9})),
)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda s: replace(s, reservations=()), id="an attempt has ended"),
        pytest.param(lambda s: replace(s, reservations=(replace(HELD, end=NOON + HOUR),)), id="one ends earlier"),
        pytest.param(lambda s: replace(s, reservations=(replace(HELD, gpus=1),)), id="one takes fewer GPUs"),
        pytest.param(
            lambda s: replace(s, reservations=(replace(HELD, gpus=3, end=NOON + HOUR),)),
            id="one takes more, for less time",
        ),
        pytest.param(lambda s: replace(s, jobs=s.jobs[1:]), id="a job was deleted"),
        pytest.param(lambda s: replace(s, spokes=(spoke("a", gpus=65),)), id="a cluster file changed"),
        pytest.param(lambda s: replace(s, spokes=(spoke("a", gpus=64, free_gpus={"main": 64}),)), id="GPUs came free"),
        pytest.param(lambda s: replace(s, policies=BUDGET), id="a policy has a budget"),
        pytest.param(lambda s: replace(s, spokes=(*s.spokes, spoke("b"))), id="a spoke joined"),
        pytest.param(
            lambda s: after(s, job("runs", incumbent=Incumbent("a", "main", NOON, running=True, since=NOON))),
            id="what runs is decided on again",
        ),
        pytest.param(lambda s: after(s, *(job(f"new-{n}") for n in range(3))), id="many came at once"),
        pytest.param(lambda s: replace(s, forecasts=world([], [], {"NO-NO1": [9] * 48}).forecasts), id="another grid"),
    ],
)
def test_what_others_may_have_been_waiting_for_has_the_whole_queue_planned_anew(change):
    snapshot = world(night_jobs(8), [spoke("a", gpus=64)], NIGHT_IS_CLEAN, reservations=(HELD,))
    decisions = planned(snapshot)
    assert amended(snapshot, decisions, snapshot, LATER).standing == decisions
    assert amended(snapshot, decisions, change(snapshot), LATER) is None


def test_once_a_decision_is_due_the_whole_queue_is_planned_anew(roomy):
    snapshot, decisions = roomy
    due = min(decision.recheck_at for decision in decisions.values())
    assert amended(snapshot, decisions, snapshot, due) is None


def random_world(dice, count):
    """Jobs of several kinds on one to four spokes, from crowded to roomy, and a maker of more jobs."""
    zones = ["NO-NO1", "CA-QC", "FR", "US-MIDA-PJM"][: dice.randint(1, 4)]
    most = dice.choice([2, 8, 32, 200])
    spokes: list[Spoke] = [
        spoke(f"s{n}", zone, gpus=dice.randint(1, most), price=dice.choice([0.5, 1.0, 2.0]))
        for n, zone in enumerate(zones)
    ]

    def some_job(number):
        schedule = {"tier": dice.choice(["urgent", "standard", "standard", "flexible"])}
        if dice.random() < 0.2:
            schedule["interruptible"] = {"max_pauses": 2, "minimum_run": "30m", "overhead": "5m"}
        return job(
            f"job-{number:03}",
            hours=dice.choice([0.5, 1, 2, 5]),
            gpus=dice.choice([1, 1, 2]),
            namespace=dice.choice(["ml", "other"]),
            schedule=schedule,
            objective={"minimize": dice.choice(["carbon", "carbon", "cost", "composite"])},
            submitted=NOON - timedelta(minutes=dice.choice([0, 30])),
        )

    assumptions = replace(dice.choice([BARE, Assumptions(slot=HOUR / 2)]), improvement_cells=300_000)
    grids = {zone: [dice.randint(5, 900) for _ in range(24)] * 4 for zone in zones}
    queue = [some_job(number) for number in range(count)]
    return world(queue, spokes, grids, policies=(ANYWHERE,), assumptions=assumptions), some_job


def test_newcomers_are_told_what_a_whole_plan_would_tell_them():
    amended_ones = 0
    for seed in range(60):
        dice = random.Random(seed)
        before, some_job = random_world(dice, dice.randint(8, 30))
        decisions = planned(before)
        begun = [each for each in decisions.values() if each.outcome is Outcome.START]
        taken = tuple(
            Reservation(each.uid, each.namespace, each.window.cluster, each.window.pool, each.window.gpus, begin, end)
            for each in begun
            for begin, end in each.window.segments
        )
        waiting = tuple(each for each in before.jobs if decisions[each.uid].outcome is not Outcome.START)
        newcomers = [some_job(100 + number) for number in range(dice.randint(1, 2))]
        now_asked = replace(before, jobs=(*waiting, *newcomers), reservations=taken)
        found = amended(before, decisions, now_asked, LATER)
        if found is not None:
            whole = planned(now_asked, LATER)
            assert [told(each) for each in found.plan] == [told(whole[each.uid]) for each in found.plan], seed
            amended_ones += 1
    assert amended_ones > 15
