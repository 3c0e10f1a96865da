"""A planner that fails on some jobs must not stop the others."""

from datetime import timedelta

import pytest

from carbonfleet.hub.planning import Quarantine, plan_around
from carbonfleet.placement import plan
from fixtures.placement_world import NOON, job, spoke, world


def snapshot_of(*names):
    """A queue of jobs by name, and a spoke for them."""
    return world([job(name) for name in names], [spoke("a", gpus=64)], {"NO-NO1": [30] * 48})


class Picky:
    """The real planner, but for jobs whose name is poison; it counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, snapshot, now):
        self.asked += 1
        for queued in snapshot.jobs:
            if queued.name.startswith("poison"):
                raise ZeroDivisionError(queued.name)
        return plan(snapshot, now)


def test_a_job_that_makes_the_planner_fail_is_set_aside_and_named():
    planned = plan_around(snapshot_of("one", "poison", "two"), NOON, Quarantine(), Picky())
    assert sorted(planned.decisions) == sorted(planned.records) == ["uid-ml-one", "uid-ml-two"]
    assert planned.faults == {"uid-ml-poison": "ZeroDivisionError: poison"}


def test_a_poison_job_alone_is_set_aside_too():
    planned = plan_around(snapshot_of("poison"), NOON, Quarantine(), Picky())
    assert (planned.decisions, list(planned.faults)) == ({}, ["uid-ml-poison"])


def test_a_job_that_was_set_aside_costs_nothing_until_it_is_tried_again():
    quarantine, picky = Quarantine(), Picky()
    snapshot = snapshot_of("one", "poison")
    plan_around(snapshot, NOON, quarantine, picky)
    before = picky.asked
    assert plan_around(snapshot, NOON, quarantine, picky).faults
    assert picky.asked == before + 1
    plan_around(snapshot, NOON + timedelta(minutes=3), quarantine, picky)
    assert picky.asked > before + 2


def test_a_changed_spec_is_tried_at_once():
    quarantine = Quarantine()
    plan_around(snapshot_of("one", "poison"), NOON, quarantine, Picky())
    changed = world([job("one"), job("poison", generation=2)], [spoke("a")], {"NO-NO1": [30] * 48})
    assert plan_around(changed, NOON, quarantine, plan).faults == {}


def test_a_changed_policy_or_cluster_file_lets_every_job_be_tried_at_once():
    quarantine = Quarantine()
    plan_around(snapshot_of("one", "poison"), NOON, quarantine, Picky())
    larger = world([job("one"), job("poison")], [spoke("a", gpus=65)], {"NO-NO1": [30] * 48})
    assert plan_around(larger, NOON, quarantine, plan).faults == {}


def test_many_poison_jobs_among_many_are_found_without_asking_for_each_healthy_one():
    names = [f"job-{n}" for n in range(100)] + [f"poison-{n}" for n in range(12)]
    picky = Picky()
    planned = plan_around(snapshot_of(*names), NOON, Quarantine(), picky)
    assert (len(planned.decisions), len(planned.faults)) == (100, 12)
    assert picky.asked < 150


def test_a_fault_that_is_not_the_jobs_is_raised():
    def broken(snapshot, now):
        raise ZeroDivisionError("always")

    with pytest.raises(ZeroDivisionError):
        plan_around(snapshot_of(*(f"job-{n}" for n in range(20))), NOON, Quarantine(), broken)
