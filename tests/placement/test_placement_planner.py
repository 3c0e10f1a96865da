"""A planner that remembers says what one says that plans afresh."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbonfleet.placement import Incumbent, Outcome, Planner, Reservation, plan
from fixtures.placement_world import BARE, HOUR, NOON, job, policy, spoke, world

MINUTE = timedelta(minutes=1)
ZONES = ("AA-0", "AA-1", "AA-2", "AA-3")
SCHEDULES = (
    *({"max_delay": f"{hours}h"} for hours in (0, 3, 9, 24, 30)),
    {"max_delay": "5h", "deadline": NOON + 9 * HOUR},
    {"earliest_start": NOON + 200 * MINUTE, "max_delay": "20h"},
    {"earliest_start": NOON + 2 * MINUTE, "max_delay": "20h"},
    {"tier": "urgent"},
    {"tier": "flexible"},
    {"max_intensity_grams_per_kwh": 300, "max_delay": "9h"},
    {"interruptible": {"overhead": "10m", "minimum_run": "20m", "max_pauses": 2}, "max_delay": "12h"},
)


def jobs(number):
    """A job of any kind."""
    return st.builds(
        lambda hours, gpus, schedule, objective, ago: job(
            f"job-{number}", hours, gpus, schedule=schedule, objective=objective, submitted=NOON - ago * HOUR / 2
        ),
        st.sampled_from([0.4, 1, 1.5, 3, 6]),
        st.integers(1, 4),
        st.sampled_from(SCHEDULES),
        st.sampled_from([{"minimize": "carbon"}, {}, {"minimize": "cost"}]),
        st.integers(0, 8),
    )


@st.composite
def worlds(draw, improvement_cells=(0, 0, 200_000)):
    """A snapshot whose grid may have many equal hours."""
    random = draw(st.randoms(use_true_random=False))
    values = draw(st.sampled_from([range(20, 700), (100, 200, 300)]))
    spokes = [
        spoke(name, name.upper(), draw(st.integers(3, 12)), draw(st.sampled_from([1.0, 2.0])), **more)
        for name, more in zip(
            ("aa-0", "aa-1", "aa-2", "aa-3"),
            ({}, {"spot_usd_per_gpu_hour": 0.3}, {"overhead": "7m"}, {}),
            strict=True,
        )
    ]
    queue = [draw(jobs(number)) for number in range(draw(st.integers(2, 25)))]
    slot = timedelta(minutes=draw(st.sampled_from([15, 30, 60])))
    assumptions = replace(BARE, slot=slot, improvement_cells=draw(st.sampled_from(improvement_cells)))
    grids = {zone: [random.choice(values) for _ in range(70)] for zone in ZONES}
    return world(queue, spokes, grids, assumptions=assumptions)


def as_told(queued, decision):
    """A job that was told where it would run."""
    window = decision.window if decision is not None and decision.outcome is Outcome.WAIT else None
    return replace(queued, incumbent=Incumbent(window.cluster, window.pool, window.start)) if window else queued


@st.composite
def edits(draw, step):
    """A change of a snapshot: jobs gone, told and come, GPUs taken or free again, in any order."""
    gone = draw(st.sets(st.integers(0, 24), max_size=3))
    told = draw(st.sets(st.integers(0, 24)) if draw(st.booleans()) else st.just(set()))
    come = [draw(jobs(f"{step}-{number}")) for number in range(draw(st.integers(0, 3)))]
    held = draw(st.lists(st.tuples(st.sampled_from(ZONES), st.integers(1, 2), st.integers(1, 20)), max_size=1))
    random = draw(st.randoms(use_true_random=False))

    def edited(snapshot, decisions):
        queue = [
            as_told(queued, decisions.get(queued.uid)) if number in told else queued
            for number, queued in enumerate(snapshot.jobs)
            if number not in gone
        ] + come
        random.shuffle(queue)
        taken = [
            Reservation(f"held-{step}", "ml", zone.lower(), "main", gpus, NOON - HOUR, NOON + hours * HOUR)
            for zone, gpus, hours in held
        ]
        return replace(snapshot, jobs=tuple(queue), reservations=(*snapshot.reservations[-2:], *taken))

    return edited


def agree(snapshot, now, planner):
    """The decisions of both, which must be the same to the last word."""
    remembered, afresh = planner(snapshot, now), plan(snapshot, now)
    assert remembered == afresh
    return {decision.uid: decision for decision in afresh}


@given(worlds(), st.tuples(edits(1), edits(2), edits(3)), st.lists(st.integers(0, 150), min_size=3, max_size=3))
@settings(max_examples=20, deadline=None)
def test_what_is_remembered_is_what_would_be_planned_afresh(snapshot, changes, seconds):
    planner, now = Planner(), NOON + timedelta(minutes=1, seconds=20)
    decisions = agree(snapshot, now, planner)
    for change, later in zip(changes, seconds, strict=True):
        snapshot, now = change(snapshot, decisions), now + timedelta(seconds=later) * (later > 75)
        decisions = agree(snapshot, now, planner)


@pytest.mark.soak
@given(worlds(), st.tuples(edits(1), edits(2), edits(3)), st.lists(st.integers(0, 150), min_size=3, max_size=3))
@settings(max_examples=2000, deadline=None)
def test_what_is_remembered_is_what_would_be_planned_afresh_at_length(snapshot, changes, seconds):
    test_what_is_remembered_is_what_would_be_planned_afresh.hypothesis.inner_test(snapshot, changes, seconds)


def crowd(count, first=0):
    """Many jobs that want the same hours."""
    return [
        job(f"job-{number:03d}", 1 + number % 4, 1 + number % 3, schedule={"max_delay": "20h"})
        for number in range(first, first + count)
    ]


@pytest.fixture
def crowded():
    """A queue that is too long for its pools, in which nobody's place is bettered."""
    grids = {zone: [300 + 9 * number, 90, 80 + number, 70, 60, 50] * 12 for number, zone in enumerate(ZONES)}
    return world(
        crowd(60),
        [spoke(zone.lower(), zone, gpus=6) for zone in ZONES],
        grids,
        assumptions=replace(BARE, improvement_cells=0),
    )


def test_a_decision_that_nothing_touches_is_made_once(crowded):
    planner = Planner()
    before = {decision.uid: decision.window for decision in planner(crowded, NOON)}
    last = max(crowded.jobs, key=lambda queued: queued.name)
    after = planner(replace(crowded, jobs=tuple(queued for queued in crowded.jobs if queued is not last)), NOON)
    assert len(after.decisions) == 59
    same = [decision for decision in after if decision.window is before[decision.uid]]
    assert len(same) > 40


def test_what_was_said_of_the_queue_before_holds_after_a_change(crowded):
    planner = Planner()
    before, afresh = planner(crowded, NOON), plan(crowded, NOON)
    planner(replace(crowded, jobs=(*crowded.jobs[5:], *crowd(5, first=90))), NOON)
    assert before == afresh


def test_another_policy_has_all_planned_afresh(crowded):
    planner = Planner()
    planner(crowded, NOON)
    policies = replace(crowded.policies, policies=(policy("none", residency={"clusters": ["aa-1"]}),))
    changed = replace(crowded, policies=policies)
    assert planner(changed, NOON) == plan(changed, NOON)
