"""What keeps a job waiting in the planner, and what its message says to do: a job whose advice was followed starts."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from carbonfleet.placement import Outcome, PolicySet, Reservation
from fixtures.placement_world import ANYWHERE, HOUR, NOON, TIERS, explained_plan, job, policy, spoke, world

GRIDS = {"NO-NO1": [30] * 60, "FR": [300] * 60}
PARIS = spoke("paris", "FR")
BUSY = (Reservation("other", "ml", "oslo", "main", 8, NOON - HOUR, NOON + 4 * HOUR),)
BY_COST = {"minimize": "cost"}
EU = policy("eu", scope={"data_classes": ["eu"]}, residency={"jurisdictions": ["EU"]})
EEA = policy("eu", scope={"data_classes": ["eu"]}, residency={"jurisdictions": ["EU", "EEA"]})
MIND_COST = {"objective": {"minimize": "composite"}}


def kept(*namespaces):
    """Policies that keep the tier urgent for some."""
    urgent, *others = TIERS
    return [
        policy("default", residency={"anywhere": True}, tiers=[urgent | {"scope": {"namespaces": namespaces}}, *others])
    ]


def stores(*names):
    declared = [
        {"name": name, "uri": f"s3://{name}", "region": "eu-north-1", "jurisdictions": ["EU"]} for name in names
    ]
    return policy("stores", stores=declared)


def budget(kilograms):
    return policy("budget", residency={"anywhere": True}, tiers=TIERS, budget={"carbon_kg_per_month": kilograms})


@dataclass(frozen=True)
class Case:
    """A world in which a job is held, and the same with what the advice says."""

    reason: str
    held: dict[str, Any]
    followed: dict[str, Any]
    shared: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.reason


def by_job(reason, held, followed, **shared):
    return Case(reason, {"job": held}, {"job": followed}, shared)


def by_policies(reason, held, followed, **of_job):
    return Case(reason, {"policies": held}, {"policies": followed}, {"job": of_job})


def by_spoke(reason, held, followed, **of_job):
    return Case(reason, {"spoke": held}, {"spoke": followed}, {"job": of_job})


CASES = [
    by_policies("BudgetExhausted", [budget(0.1)], [budget(2.0)], hours=8),
    by_job("CarbonBudget", {"objective": {"carbon_budget_kg": 0.01}}, {"objective": {"carbon_budget_kg": 1.0}}),
    by_job("CostLimit", {"objective": {"max_cost_usd": 1.0}}, {"objective": {"max_cost_usd": 9.0}}),
    by_job(
        "CostTolerance",
        {"objective": {"cost_tolerance_percent": 10}},
        {"objective": {"cost_tolerance_percent": 60}},
        spoke={"price": 3.0},
        beside=[PARIS],
    ),
    by_job(
        "DeadlineUnreachable", {"schedule": {"deadline": NOON + HOUR / 2}}, {"schedule": {"deadline": NOON + 4 * HOUR}}
    ),
    by_job("GpuCount", {"gpus": 9}, {"gpus": 8}),
    by_job("GpuMemory", {"resources": {"gpu_memory_gib": 81}}, {"resources": {"gpu_memory_gib": 80}}),
    by_job("GpuType", {"resources": {"gpu_types": ["H100"]}}, {"resources": {"gpu_types": ["A100"]}}),
    by_spoke("NoPrice", {"price": None}, {"price": 2.0}, **MIND_COST),
    Case("NoSignal", {"grids": {"FR": [300] * 60}}, {"grids": GRIDS}, {"beside": [PARIS]}),
    by_job(
        "NotInTime",
        {"schedule": {"max_delay": "1h"}},
        {"schedule": {"max_delay": "9h"}},
        beside=[PARIS],
        reservations=BUSY,
    ),
    by_policies("PolicyMissing", [policy("tiers", tiers=TIERS)], [ANYWHERE]),
    by_policies("ResidencyPolicy", [ANYWHERE, EU], [ANYWHERE, EEA], data_class="eu"),
    by_job(
        "ResidencyRequest",
        {"residency": {"allowed_jurisdictions": ["CH"]}},
        {"residency": {"allowed_jurisdictions": ["EEA"]}},
    ),
    by_job("RunTooLong", {"hours": 24 * 60}, {"hours": 24}),
    by_job(
        "SpotNotAllowed",
        {"objective": BY_COST},
        {"objective": BY_COST, "resources": {"spot": True}},
        spoke={"price": None, "spot_usd_per_gpu_hour": 1.0},
    ),
    by_policies(
        "StoreUndeclared",
        [ANYWHERE, EEA],
        [ANYWHERE, EEA, stores("lora")],
        data_class="eu",
        workload={"checkpoints": {"uri": "s3://lora"}},
    ),
    by_policies("TierNotAllowed", kept("others"), kept("others", "ml"), schedule={"tier": "urgent"}),
    by_job("TierNotAllowed", {"schedule": {"tier": "urgent"}}, {}, policies=kept("others")),
    by_job("UnknownTier", {"schedule": {"tier": "express"}}, {"schedule": {"tier": "urgent"}}),
    by_spoke("Unhealthy", {"healthy": False, "reason": "Unhealthy", "message": "It is not well."}, {}),
]


def planned(made):
    """The spoke that such a world's one job gets, and every reason that is named."""
    snapshot = world(
        [job(**made.get("job", {}))],
        [spoke("oslo", **made.get("spoke", {})), *made.get("beside", [])],
        made.get("grids", GRIDS),
        policies=made.get("policies", [ANYWHERE]),
        reservations=made.get("reservations", ()),
    )
    (decision,) = explained_plan(snapshot, NOON)
    reasons = {decision.reason, *(candidate.reason for candidate in decision.candidates)}
    return decision.window.cluster if decision.window else None, reasons


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_job_gets_its_place_once_the_advice_is_followed(case):
    cluster, reasons = planned(case.shared | case.held)
    assert case.reason in reasons
    assert cluster != "oslo"
    cluster, reasons = planned(case.shared | case.followed)
    assert case.reason not in reasons
    assert cluster == "oslo"


def test_a_broken_policy_holds_every_job_until_it_is_corrected():
    snapshot = world([job()], [spoke("oslo")], GRIDS)
    broken = PolicySet(snapshot.policies.policies, "tree", problems=("policies/x.yaml:1: is empty",))
    (held,) = explained_plan(replace(snapshot, policies=broken), NOON)
    assert (held.outcome, held.reason) == (Outcome.BLOCKED, "PolicyInvalid")
    assert "Correct the file." in held.message
    (decision,) = explained_plan(snapshot, NOON)
    assert decision.outcome is Outcome.START


CLEAN_LATER = {"NO-NO1": [400] * 6 + [20] * 50}
CHEAP_LATER = [{"from_hour": 18, "to_hour": 24, "usd_per_gpu_hour": 1.0}]


@pytest.mark.parametrize(
    ("limit", "grids", "prices", "said"),
    [
        (
            {"carbon_budget_kg": 0.05},
            CLEAN_LATER,
            None,
            "It would emit 800 gCO2e at least when it starts and ends in time",
        ),
        (
            {"max_cost_usd": 3.0},
            {"NO-NO1": [400] * 60},
            CHEAP_LATER,
            "4.00 USD at least when it starts and ends in time",
        ),
    ],
)
def test_two_limits_that_leave_nothing_together_are_told_as_such(limit, grids, prices, said):
    """By its deadline nothing is within the other limit, which later windows would meet; GPUs are free all along."""
    schedule = {"deadline": NOON + 5 * HOUR, "max_delay": "40h"}
    oslo = spoke("oslo", **({"prices_by_hour": prices} if prices else {}))
    (decision,) = explained_plan(world([job(hours=2, objective=limit, schedule=schedule)], [oslo], grids), NOON)
    assert decision.outcome is Outcome.BLOCKED
    assert said in decision.message
    assert "free" not in decision.message


def test_a_job_that_is_late_for_its_limits_is_not_told_that_gpus_were_lacking():
    late = job(hours=2, objective={"carbon_budget_kg": 0.05}, schedule={"max_delay": "3h"})
    (decision,) = explained_plan(world([late], [spoke("oslo")], CLEAN_LATER), NOON)
    assert decision.window.start == NOON + 6 * HOUR
    assert "Nothing before the job's latest start is within its limits" in decision.message
