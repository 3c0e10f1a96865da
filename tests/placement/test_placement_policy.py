"""What policies say: residency, tiers, review, budgets."""

from dataclasses import replace

import pytest

from carbonfleet.api.job import ResidencyRequest
from carbonfleet.placement import Outcome, PolicySet, Reservation, Usage, residency_verdict, review_verdict
from fixtures.placement_world import ANYWHERE, HOUR, NOON, TIERS, job, policy, spoke, world
from fixtures.placement_world import explained_plan as plan

OSLO = spoke("oslo", "NO-NO1", jurisdictions=("EEA",))
PARIS = spoke("paris", "FR", jurisdictions=("EU", "EEA"))
OHIO = spoke("ohio", "US-MIDA-PJM", jurisdictions=("US",))
GRIDS = {"NO-NO1": [30] * 60, "FR": [60] * 60, "US-MIDA-PJM": [5] * 60}
EU_ONLY = policy("eu-only", scope={"data_classes": ["eu"]}, residency={"jurisdictions": ["EU", "EEA"]})


def only(snapshot):
    (decision,) = plan(snapshot, NOON)
    return decision


def verdict(policies, facts, data_class="public", namespace="ml", **request):
    asked = ResidencyRequest(data_class=data_class, **request)
    return residency_verdict(PolicySet(tuple(policies)), data_class, namespace, asked, facts)


def test_residency_beats_carbon():
    decision = only(world([job(data_class="eu")], [OSLO, PARIS, OHIO], GRIDS, policies=[ANYWHERE, EU_ONLY]))
    assert decision.window.cluster == "oslo"
    ohio = decision.candidates[-1]
    assert (ohio.cluster, ohio.reason) == ("ohio", "ResidencyPolicy")
    assert ohio.message == "Policy eu-only allows EU, EEA; ohio is in US."


def test_of_several_policies_the_stricter_wins():
    eu = policy("eu", residency={"jurisdictions": ["EU"]})
    assert verdict([ANYWHERE, EU_ONLY, eu], PARIS.facts, "eu").allowed
    assert not verdict([ANYWHERE, EU_ONLY, eu], OSLO.facts, "eu").allowed


def test_the_lists_of_one_policy_must_all_hold():
    both = policy("both", residency={"jurisdictions": ["EEA"], "regions": ["paris-region"]})
    assert verdict([both], PARIS.facts).allowed
    ruling = verdict([both], OSLO.facts)
    assert (ruling.allowed, ruling.message) == (
        False,
        "Policy both allows regions paris-region; oslo is in oslo-region.",
    )


def test_clusters_can_be_named():
    named = policy("named", residency={"clusters": ["paris"]})
    assert verdict([named], PARIS.facts).allowed
    assert not verdict([named], OSLO.facts).allowed


@pytest.mark.parametrize(
    ("request_", "allowed"),
    [
        ({"allowed_jurisdictions": ("EU",)}, False),
        ({"allowed_jurisdictions": ("EEA", "CH")}, True),
        ({"allowed_regions": ("paris-region",)}, False),
        ({"allowed_regions": ("oslo-region",), "allowed_jurisdictions": ("EEA",)}, True),
    ],
)
def test_the_job_may_narrow_what_policy_allows(request_, allowed):
    assert verdict([ANYWHERE], OSLO.facts, **request_).allowed is allowed


def test_the_job_can_not_widen_what_policy_allows():
    assert not verdict([EU_ONLY], OHIO.facts, "eu", allowed_jurisdictions=("US",)).allowed


def test_no_policy_for_the_job_denies():
    decision = only(world([job(data_class="secret")], [OSLO], GRIDS, policies=[EU_ONLY, policy("t", tiers=TIERS)]))
    assert (decision.outcome, decision.reason) == (Outcome.BLOCKED, "PolicyMissing")
    assert [(c.cluster, c.reason) for c in decision.candidates] == [("oslo", "PolicyMissing")]
    assert '"secret"' in decision.message


def test_any_broken_policy_denies_everything():
    snapshot = world([job()], [OSLO], GRIDS)
    broken = PolicySet((ANYWHERE,), "tree", ("policies/eu.yaml:3: unknown key",))
    for job_policies in (broken, PolicySet((ANYWHERE, policy("again", tiers=TIERS[:1])), "tree")):
        decision = only(replace(snapshot, policies=job_policies))
        assert (decision.outcome, decision.reason) == (Outcome.BLOCKED, "PolicyInvalid")
    assert residency_verdict(
        broken, "public", "ml", ResidencyRequest(data_class="public"), OSLO.facts
    ).message.startswith("Policies can't be read, so nothing is allowed: policies/eu.yaml:3: unknown key.")


def test_a_namespace_pattern_scopes_a_policy():
    team = policy("team", scope={"namespaces": ["team-*"]}, residency={"clusters": ["paris"]})
    assert verdict([ANYWHERE, team], OSLO.facts, namespace="ml").allowed
    assert not verdict([ANYWHERE, team], OSLO.facts, namespace="team-a").allowed


def test_an_unknown_tier_blocks_and_names_those_there_are():
    decision = only(world([job(schedule={"tier": "express"})], [OSLO], GRIDS))
    assert (decision.outcome, decision.reason) == (Outcome.BLOCKED, "UnknownTier")
    assert decision.message == 'There is no tier "express"; the policies define flexible, standard, urgent.'


def kept(namespace, data_class, scope):
    """What becomes of a job that names a tier with this scope."""
    tiers = [{**TIERS[0], "scope": scope}, *TIERS[1:]]
    asked = job(namespace=namespace, data_class=data_class, schedule={"tier": TIERS[0]["name"]})
    return only(world([asked], [OSLO], GRIDS, policies=[policy(residency={"anywhere": True}, tiers=tiers)]))


@pytest.mark.parametrize(
    ("scope", "may"),
    [
        ({}, True),
        ({"namespaces": ["team-a"]}, True),
        ({"namespaces": ["team-*"]}, True),
        ({"namespaces": ["team-b"]}, False),
        ({"dataClasses": ["public"]}, True),
        ({"dataClasses": ["eu-personal"]}, False),
        ({"namespaces": ["team-a"], "dataClasses": ["eu-personal"]}, False),
    ],
)
def test_a_tier_is_for_the_jobs_in_its_scope(scope, may):
    decision = kept("team-a", "public", scope)
    assert (decision.reason == "TierNotAllowed") is not may
    assert (decision.outcome is Outcome.BLOCKED) is not may


def test_a_job_that_names_a_tier_of_others_is_told_which_it_may_name():
    decision = kept("team-b", "public", {"namespaces": ["team-a"]})
    others = ", ".join(sorted(tier["name"] for tier in TIERS[1:]))
    assert decision.message == (
        f'Policy keeps tier "{TIERS[0]["name"]}" from data class public of namespace team-b, which may use {others}. '
        "Name one of these in schedule.tier, or have the tier's scope under policies/ changed."
    )


def test_where_residency_leaves_no_spoke_the_job_is_blocked_with_a_reason_for_each():
    decision = only(world([job(residency={"allowed_jurisdictions": ["CH"]})], [OSLO, OHIO], GRIDS))
    assert (decision.outcome, decision.reason) == (Outcome.BLOCKED, "NoRegionAllowed")
    assert [c.reason for c in decision.candidates] == ["ResidencyRequest", "ResidencyRequest"]


def review(spec, cost=1.0, saving=50.0, moving=False):
    policies = PolicySet((policy("default", review=spec),))
    return review_verdict(policies, job().spec, "ml", cost_usd=cost, saving_percent=saving, moving=moving)


@pytest.mark.parametrize(
    ("spec", "known", "reason"),
    [
        ({"mode": "required"}, {}, "RequiredByPolicy"),
        ({"above_cost_usd": 10}, {"cost": 9}, ""),
        ({"above_cost_usd": 10}, {"cost": 11}, "CostAboveLimit"),
        ({"above_cost_usd": 10}, {"cost": None}, "CostAboveLimit"),
        ({"below_saving_percent": 20}, {"saving": 19}, "SavingBelowLimit"),
        ({"below_saving_percent": 20}, {"saving": 21}, ""),
        ({"below_saving_percent": 20}, {"saving": None}, "SavingBelowLimit"),
        ({"moves": "required"}, {}, ""),
        ({"moves": "required"}, {"moving": True}, "MoveNeedsReview"),
    ],
)
def test_review_is_asked_for_by_rule(spec, known, reason):
    ruling = review(spec, **known)
    assert (ruling.required, ruling.reason) == (bool(reason), reason)


def test_a_job_may_ask_for_review_itself():
    ruling = review_verdict(PolicySet(), job(review="required").spec, "ml", cost_usd=1, saving_percent=50)
    assert (ruling.required, ruling.reason) == (True, "RequestedByJob")


def budgeted(**budget):
    return policy("default", residency={"anywhere": True}, tiers=TIERS, budget=budget)


def test_a_monthly_carbon_budget_blocks_when_it_is_used_up():
    limit = budgeted(carbon_kg_per_month=1.0)
    fits = world([job(hours=2)], [OSLO], GRIDS, policies=[limit], usage={"ml": Usage(carbon_kg=0.93)})
    assert only(fits).outcome is Outcome.START
    full = world([job(hours=2)], [OSLO], GRIDS, policies=[limit], usage={"ml": Usage(carbon_kg=0.95)})
    assert (only(full).outcome, only(full).reason) == (Outcome.BLOCKED, "BudgetExhausted")


def test_jobs_of_one_cycle_draw_on_the_same_budget():
    limit = budgeted(gpu_hours_per_month=5)
    decisions = plan(world([job("a", hours=3), job("b", hours=3)], [OSLO], GRIDS, policies=[limit]), NOON)
    assert [d.outcome for d in decisions] == [Outcome.START, Outcome.BLOCKED]


def test_a_limit_on_running_gpus_holds_over_all_spokes():
    limit = budgeted(running_gpus=4)
    held = Reservation("other", "ml", "paris", "main", 2, NOON, NOON + 2 * HOUR)
    snapshot = world([job("a", gpus=2), job("b", gpus=2)], [OSLO], GRIDS, policies=[limit], reservations=(held,))
    assert [d.window.start for d in plan(snapshot, NOON)] == [NOON, NOON + HOUR]
