"""Within a tier, namespaces take turns: one tenant's queue delays no other."""

import numpy as np
import pytest

from carbonfleet.placement import Outcome, Reservation, plan
from fixtures.placement_world import HOUR, NOON, job, policy, spoke, world

TIER = {"name": "standard", "max_delay": "0s"}
ALL = policy("default", residency={"anywhere": True}, tiers=[TIER])


def starts(jobs, gpus, policies=(ALL,), **more):
    """By job's name, in how many hours each starts."""
    grid = {"NO-NO1": [100] * 400}
    snapshot = world(jobs, [spoke("oslo", gpus=gpus)], grid, policies=policies, **more)
    return {found.name: (found.window.start - NOON) / HOUR for found in plan(snapshot, NOON) if found.window}


def test_a_tenant_with_one_job_goes_before_anothers_second():
    many = [job(f"many-{number}", namespace="many", submitted=NOON - 9 * HOUR) for number in range(6)]
    found = starts([*many, job("one", namespace="one")], gpus=1)
    assert found["one"] == 1
    assert sorted(found.values()) == [0, 1, 2, 3, 4, 5, 6]


def test_what_a_tenant_has_in_use_counts():
    held = Reservation("other", "many", "oslo", "main", 1, NOON - HOUR, NOON + 4 * HOUR)
    queue = [job("many", namespace="many", submitted=NOON - 9 * HOUR), job("one", namespace="one")]
    assert starts(queue, gpus=2, reservations=(held,)) == {"one": 0, "many": 1}


def test_a_weight_of_two_is_two_turns():
    heavy = policy("heavy", scope={"namespaces": ["heavy"]}, share_weight=2)
    queue = [job(f"{name}-{number}", namespace=name) for name in ("heavy", "light") for number in range(4)]
    found = starts(queue, gpus=1, policies=(ALL, heavy))
    assert sum(hour for name, hour in found.items() if name.startswith("heavy")) == 0 + 2 + 3 + 5


def test_of_one_tenant_the_job_with_the_least_slack_still_goes_first():
    patient = {"max_delay": "9h"}
    late = job("late", namespace="a", schedule=patient | {"deadline": NOON + 2 * HOUR})
    queue = [job("early", namespace="a", schedule=patient), job("b", namespace="b", schedule=patient), late]
    assert starts(queue, gpus=1)["late"] == 0


DAY = [round(300 + 200 * float(np.sin(hour / 24 * 2 * np.pi)), 3) for hour in range(24)]
PATIENT = policy("default", residency={"anywhere": True}, tiers=[TIER | {"max_delay": "12h"}])


class Queue:
    """Jobs of tenants that arrive hour by hour and wait for cleaner hours, planned each hour on one spoke."""

    def __init__(self, gpus):
        self.gpus, self.waiting, self.held, self.waits = gpus, [], [], {}

    def hour(self, now, arriving):
        self.waiting += arriving
        self.held = [reservation for reservation in self.held if reservation.end > now]
        spokes = [spoke("oslo", gpus=self.gpus)]
        snapshot = world(self.waiting, spokes, {"NO-NO1": DAY * 9}, policies=(PATIENT,), reservations=tuple(self.held))
        for found in plan(snapshot, now):
            if found.outcome is Outcome.START:
                (begin, end) = found.window.segments[0]
                self.held.append(Reservation(found.uid, found.namespace, "oslo", "main", found.window.gpus, begin, end))
                (queued,) = (queued for queued in self.waiting if queued.uid == found.uid)
                self.waiting.remove(queued)
                self.waits[found.key] = (now - queued.submitted_at) / HOUR


def mean_wait(hours, tenth, seed, gpus=45):
    """Of nine tenants at 80 % of the GPUs for so many hours, where a tenth comes with so many jobs at once."""
    random, queue = np.random.default_rng(seed), Queue(gpus)
    for hour in range(hours + 14):  # all that came have begun by then
        now = NOON + hour * HOUR
        arriving = [
            job(
                f"job-{hour}-{number}",
                namespace=f"tenant-{tenant}",
                hours=float(random.integers(1, 4)),
                gpus=int(random.integers(1, 4)),
                submitted=now,
            )
            for tenant in range(9)
            for number in range(int(random.poisson(0.8 * gpus / 9 / 4)) if hour < hours else 0)
        ]
        if hour == hours // 3:
            arriving += [job(f"mass-{number}", namespace="tenth", hours=2.0, submitted=now) for number in range(tenth)]
        queue.hour(now, arriving)
    own = [wait for key, wait in queue.waits.items() if not key.startswith("tenth/")]
    return float(np.mean(own)), len(own)


def test_a_tenant_with_a_great_many_jobs_leaves_the_others_waits_as_they_were():
    before, count = mean_wait(12, 0, seed=0)
    after, counted = mean_wait(12, 200, seed=0)
    assert before > 1
    assert after <= 1.2 * before
    assert counted == count


@pytest.mark.soak
def test_ten_thousand_jobs_of_a_tenth_tenant_leave_the_others_waits_as_they_were(capsys):
    before, count = mean_wait(48, 0, seed=1, gpus=90)
    after, counted = mean_wait(48, 10_000, seed=1, gpus=90)
    with capsys.disabled():
        print(f"\nnine tenants wait {before:.3f} h, {count} jobs; beside 10,000 of a tenth {after:.3f} h, {counted}")
    assert after <= 1.2 * before
    assert counted == count
