"""The seed of the fleet repository, read as the hub reads it."""

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.job import CarbonTrainingJob, JobSpec
from carbonfleet.fleet.git import read_cluster
from carbonfleet.fleet.git.declared import read_policies
from carbonfleet.placement.rules import residency_verdict
from carbonfleet.placement.snapshot import PolicySet

ROOT = Path(__file__).parents[2]
SEED = ROOT / "fleet"
EXAMPLES = ROOT / "crds" / "examples"


@pytest.fixture(scope="module")
def policies() -> PolicySet:
    return read_policies(
        {str(path.relative_to(SEED)): path.read_bytes() for path in (SEED / "policies").glob("*.yaml")}
    )


@pytest.fixture(scope="module")
def clusters() -> dict[str, ClusterFacts]:
    found = [
        read_cluster(str(path.relative_to(SEED)), path.read_bytes())
        for path in sorted((SEED / "clusters").glob("*/cluster.yaml"))
    ]
    return {facts.name: facts for facts in found}


def example(name: str) -> CarbonTrainingJob:
    return CarbonTrainingJob.model_validate(yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text()))


def test_every_policy_reads_without_a_problem(policies):
    assert policies.problems == ()
    assert [policy.metadata.name for policy in policies.policies] == [
        "de-only",
        "default",
        "eu-only",
        "review",
        "stores",
        "tiers",
        "us-only",
    ]


def test_every_cluster_reads_with_its_zone_and_jurisdictions(clusters):
    assert {name: (facts.zone, facts.jurisdictions) for name, facts in clusters.items()} == {
        "ca-qc-1": ("CA-QC", ("CA",)),
        "no-osl-1": ("NO-NO1", ("NO", "EEA")),
        "us-oh-1": ("US-MIDA-PJM", ("US",)),
    }


def test_every_pool_of_the_demo_says_that_it_is_simulated(clusters):
    assert all(pool.simulated for facts in clusters.values() for pool in facts.pools)


def test_a100s_cost_the_same_everywhere_so_that_carbon_decides(clusters):
    prices = {pool.usd_per_gpu_hour for facts in clusters.values() for pool in facts.pools if pool.gpu_type == "A100"}
    assert prices == {2.0}


def test_the_cheap_example_costs_least_in_ohio(clusters):
    job = example("cheap").spec.resources
    hours = {"A100": job.duration, "L40S": job.options[0].duration}
    prices = {
        (name, pool.gpu_type): hours[pool.gpu_type].total_seconds() / 3600 * (pool.usd_per_gpu_hour or 0)
        for name, facts in clusters.items()
        for pool in facts.pools
    }
    assert min(prices, key=lambda place: prices[place]) == ("us-oh-1", "L40S")


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("minimal", {"no-osl-1", "ca-qc-1", "us-oh-1"}),
        ("unconstrained", {"no-osl-1", "ca-qc-1", "us-oh-1"}),
        ("cheap", {"no-osl-1", "ca-qc-1", "us-oh-1"}),
        ("waits", {"us-oh-1"}),
        ("us-only", {"us-oh-1"}),
        ("eu-only", {"no-osl-1"}),
        ("blocked", set()),
    ],
)
def test_the_policies_allow_each_example_where_it_says(policies, clusters, name, allowed):
    job = example(name)
    request = job.spec.residency
    verdicts = {
        cluster: residency_verdict(policies, request.data_class, job.metadata.namespace, request, facts)
        for cluster, facts in clusters.items()
    }
    assert {cluster for cluster, verdict in verdicts.items() if verdict.allowed} == allowed


def test_a_data_class_that_no_policy_knows_is_denied_everywhere(policies, clusters):
    request = example("minimal").spec.residency.model_copy(update={"data_class": "unheard-of"})
    for facts in clusters.values():
        verdict = residency_verdict(policies, "unheard-of", "team-a", request, facts)
        assert (verdict.allowed, verdict.reason) == (False, "PolicyMissing")


def test_every_tier_that_an_example_names_exists(policies):
    known = {tier.name for policy in policies.policies for tier in policy.spec.tiers}
    examples = [yaml.safe_load(path.read_text()) for path in EXAMPLES.glob("*.yaml") if path.stem != "invalid"]
    specs = [each["spec"].get("jobTemplate", each)["spec"] for each in examples]
    used = {JobSpec.model_validate(spec).schedule.tier for spec in specs}
    assert used <= known


def test_flux_packs_the_clusters_only():
    lines = (SEED / ".sourceignore").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["/*", "!/clusters"]


@pytest.mark.parametrize("path", sorted((SEED / "policies").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_editor_schema_agrees_with_each_policy(path):
    schema = json.loads((ROOT / "crds" / "schemas" / "fleet-policy.json").read_text())
    Draft202012Validator(schema).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", sorted((SEED / "clusters").glob("*/cluster.yaml")), ids=str)
def test_the_editor_schema_agrees_with_each_clusters_facts(path):
    schema = json.loads((ROOT / "crds" / "schemas" / "cluster-facts.json").read_text())
    facts = yaml.safe_load(path.read_text())["data"]["facts"]
    Draft202012Validator(schema).validate(yaml.safe_load(facts))
