"""Where data is read and saved is judged by the policies that say where it may be, as clusters are."""

from dataclasses import replace

import pytest

from carbonfleet.api.job import ResidencyRequest
from carbonfleet.api.workload import DataPlace
from carbonfleet.placement import PolicySet, residency_verdict
from fixtures.placement_world import ANYWHERE, NOON, explained_plan, job, policy, spoke, world

PARIS = spoke("paris", "FR", jurisdictions=("EU", "EEA"))
EU_ONLY = policy("eu-only", scope={"data_classes": ["eu"]}, residency={"jurisdictions": ["EU", "EEA"]})


def store(name, jurisdiction, region, uri=None):
    return {"name": name, "uri": uri, "region": region, "jurisdictions": [jurisdiction]}


STORES = policy(
    "stores",
    stores=[
        store("lora-eu", "EU", "eu-north-1", "s3://lora-eu/"),
        store("lora-us", "US", "us-east-2", "s3://lora-us"),
        store("inner", "US", "us-east-1", "s3://lora-eu/to-us/"),
        store("mount", "US", "us-east-1", "/mnt/us"),
        store("by-name", "US", "us-east-1"),
    ],
)


def ruled(*places, data_class="eu", rules=(ANYWHERE, EU_ONLY, STORES), facts=PARIS.facts, **request):
    asked = ResidencyRequest(data_class=data_class, **request)
    return residency_verdict(PolicySet(tuple(rules)), data_class, "ml", asked, facts, places)


def reason(*places, **more):
    return ruled(*places, **more).reason


def saved(uri):
    return DataPlace("checkpoints", uri)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (saved(""), "Allowed"),
        (saved("/checkpoints/runs"), "Allowed"),
        (saved("s3://lora-eu"), "Allowed"),
        (saved("S3://LORA-EU/runs/"), "Allowed"),
        (saved("s3://lora-us/runs"), "ResidencyPolicy"),
        (saved("s3://lora-eu/to-us/runs"), "ResidencyPolicy"),
        (saved("s3://lora-eu-us/runs"), "StoreUndeclared"),
        (saved("s3://lora-e"), "StoreUndeclared"),
        (saved("https://lora-eu/x"), "StoreUndeclared"),
        (saved("/mnt/us/runs"), "ResidencyPolicy"),
        (saved("/mnt/other"), "StoreUndeclared"),
        (saved("/checkpoints-of-others"), "StoreUndeclared"),
        (DataPlace("dataset"), "Allowed"),
        (DataPlace("dataset", "/data/train.jsonl"), "Allowed"),
        (DataPlace("dataset", "s3://lora-eu/train.jsonl"), "Allowed"),
        (DataPlace("dataset", "s3://lora-us/train.jsonl"), "ResidencyPolicy"),
        (DataPlace("dataset", "https://example.org/train.jsonl"), "StoreUndeclared"),
        (DataPlace("dataset", "", "paris-region"), "Allowed"),
        (DataPlace("dataset", "", "eu-north-1"), "Allowed"),
        (DataPlace("dataset", "", "us-east-2"), "ResidencyPolicy"),
        (DataPlace("dataset", "", "nowhere-1"), "StoreUndeclared"),
    ],
)
def test_each_place_is_judged_by_where_it_is_declared_to_lie(place, expected):
    assert reason(place) == expected
    assert reason(saved(""), place) == expected


def test_what_is_denied_says_why_and_what_to_do():
    assert ruled(saved("s3://lora-us/x")).message == (
        "Policy eu-only allows EU, EEA; lora-us is in US, for its checkpoints."
    )
    assert ruled(saved("s3://other/x")).message == (
        "Nobody has declared where s3://other/x lies, for the job's checkpoints, and its data may not be anywhere: "
        "add it to stores in a file of policies/."
    )


def test_data_that_may_be_anywhere_may_be_in_any_store():
    assert reason(saved("s3://other/x"), data_class="public") == "Allowed"


def test_the_job_s_own_limits_hold_for_stores():
    assert reason(saved("s3://lora-us/x"), data_class="public", allowed_jurisdictions=("EU",)) == "ResidencyRequest"
    assert reason(saved("s3://other/x"), data_class="public", allowed_regions=("paris-region",)) == "StoreUndeclared"


def test_a_store_that_a_spoke_names_lies_where_it_is_declared():
    facts = PARIS.facts.model_copy(update={"store": "by-name"})
    assert reason(saved(""), facts=facts) == "ResidencyPolicy"


def test_a_policy_that_names_clusters_alone_keeps_data_on_them():
    there = policy("there", residency={"clusters": ["paris"]})
    assert reason(saved(""), rules=[there, STORES]) == "Allowed"
    assert reason(saved("s3://lora-eu/x"), rules=[there, STORES]) == "ResidencyPolicy"


@pytest.mark.parametrize("again", [store("lora-eu", "US", "x"), store("other", "US", "x", "S3://lora-eu")])
def test_a_store_that_is_declared_twice_denies_everything(again):
    assert reason(saved(""), rules=[ANYWHERE, EU_ONLY, STORES, policy("more", stores=[again])]) == "PolicyInvalid"


def test_no_plan_sends_data_to_a_store_where_it_may_not_be():
    wanted = job(data_class="eu")
    workload = wanted.spec.workload.model_copy(
        update={"checkpoints": wanted.spec.workload.checkpoints.model_copy(update={"uri": "s3://lora-us/x"})}
    )
    abroad = replace(wanted, uid="abroad", spec=wanted.spec.model_copy(update={"workload": workload}))
    snapshot = world([wanted, abroad], [PARIS], {"FR": [60] * 60}, policies=[ANYWHERE, EU_ONLY, STORES])
    decisions = {decision.uid: decision for decision in explained_plan(snapshot, NOON)}
    assert decisions[wanted.uid].window.cluster == "paris"
    assert (decisions["abroad"].window, decisions["abroad"].candidates[0].reason) == (None, "ResidencyPolicy")
