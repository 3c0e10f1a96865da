"""Whatever stands where something else belongs, in a rule or a cluster's facts, allows nothing more than before."""

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from carbonfleet.fleet.check import Checkout, read_checkout, where
from fixtures.odd_yaml import fleet_files

RULES = """apiVersion: carbonfleet.dev/v1alpha1
kind: FleetPolicy
metadata: {name: tiers}
spec:
  scope: {dataClasses: [public, personal], namespaces: [ml, team-*]}
  residency: {jurisdictions: [EEA], regions: [europe-north1], clusters: [no-osl-1]}
  review: {mode: required, aboveCostUsd: 100, belowSavingPercent: 5, moves: required}
  budget: {carbonKgPerMonth: 10, gpuHoursPerMonth: 100, runningGpus: 4}
  tiers:
    - {name: patient, priority: 10, maxDelay: 24h, maxIntensityGramsPerKwh: 100, minimumGainPercentPerHour: 0.05}
"""
FACTS = """name: no-osl-1
region: europe-north1
zone: "NO-NO1"
jurisdictions: [EEA]
runtime: ray
pue: 1.1
egressUsdPerGib: 0.08
overhead: 5m
store: ours
timeZone: Europe/Oslo
maintenance: true
pools:
  - {name: a100, gpuType: A100, gpus: 1024, gpusPerNode: 8, memoryGib: 80, usdPerGpuHour: 2.5, simulated: true}
"""
POLICY, CLUSTER = "policies/tiers.yaml", "clusters/no-osl-1/cluster.yaml"
CONFIG_MAP: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "carbonfleet-cluster", "namespace": "carbonfleet-fleet"},
}
ODD = [
    None,
    True,
    False,
    0,
    1,
    -1,
    7,
    1.5,
    -0.5,
    "",
    " ",
    "yes",
    "no",
    "true",
    "~",
    "null",
    "1",
    "0x",
    "a b",
    "*",
    "[]",
]
CLASSES, NAMESPACES = ("public", "personal", "none-of-ours"), ("ml", "team-a", "other")


def cluster(facts: object) -> bytes:
    text = yaml.safe_dump(facts)
    return yaml.safe_dump({**CONFIG_MAP, "data": {"facts": text}}).encode()


FILES = {path: content for path, content in fleet_files().items() if "/jobs/" not in path}
FILES |= {POLICY: RULES.encode(), CLUSTER: cluster(yaml.safe_load(FACTS))}


def allowed(found: Checkout) -> set[tuple[str, str, str]]:
    """Cluster, data class and namespace of whatever may run."""
    asked = ((data_class, namespace) for data_class in CLASSES for namespace in NAMESPACES)
    return {(name, *each) for each in asked for name, ruling in where(found, *each) if ruling.allowed}


BEFORE = read_checkout(FILES)
ALLOWED = allowed(BEFORE)
PLACES = (
    (POLICY, yaml.safe_load(RULES)),
    (CLUSTER, yaml.safe_load(FACTS)),
    (CLUSTER, {**CONFIG_MAP, "data": {"facts": FACTS}}),
)


def leaves(value: Any, at: tuple = ()) -> list[tuple]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [place for key, each in inside for place in leaves(each, (*at, key))]
    return [at, *found] if at else found


def with_odd(document: Any, at: tuple, odd: object) -> Any:
    changed = copy.deepcopy(document)
    around = changed
    for key in at[:-1]:
        around = around[key]
    around[at[-1]] = odd
    return changed


def check(path: str, document: Any, at: tuple, odd: object) -> None:
    changed = with_odd(document, at, odd)
    content = cluster(changed) if "pools" in document else yaml.safe_dump(changed).encode()
    found = read_checkout(FILES | {path: content})
    problems = [str(problem) for problem in found.problems if problem.path == path]
    same_type = type(odd) is type(_at(document, at)) or {type(odd), type(_at(document, at))} == {int, float}
    is_scope = same_type and at[:2] == ("spec", "scope")
    assert is_scope or allowed(found) <= ALLOWED, (at, odd, problems)
    assert problems or same_type, f"{at}: {odd!r} is taken without a word"
    assert all(problem.startswith(f"{path}:") for problem in problems)


def _at(document: Any, at: tuple) -> Any:
    for key in at:
        document = document[key]
    return document


EVERYWHERE = [(path, document, at) for path, document in PLACES for at in leaves(document)]


def test_what_is_compared_is_in_order():
    assert (BEFORE.policies.problems, set(BEFORE.clusters)) == ((), {"ca-qc-1", "no-osl-1", "us-oh-1"})
    assert {("no-osl-1", "public", "ml"), ("no-osl-1", "public", "team-a"), *PERSONAL, *ELSEWHERE} == ALLOWED


PERSONAL = {("no-osl-1", "personal", namespace) for namespace in NAMESPACES}
ELSEWHERE = {(name, "public", "other") for name in ("ca-qc-1", "no-osl-1", "us-oh-1")}


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_an_odd_scalar_at_any_place_allows_nothing_more(odd):
    for path, document, at in EVERYWHERE:
        check(path, document, at, odd)


@given(st.sampled_from(EVERYWHERE), st.one_of(st.integers(), st.floats(allow_nan=False), st.text(), st.none()))
@settings(max_examples=200)
def test_any_scalar_at_any_place_allows_nothing_more(place, odd):
    check(*place, odd)


@pytest.mark.soak
@pytest.mark.parametrize("batch", range(20))  # Hypothesis remembers all examples of a test
@given(place=st.sampled_from(EVERYWHERE), odd=st.one_of(st.integers(), st.floats(), st.text(), st.none()))
@settings(max_examples=1000)
def test_any_of_many_scalars_at_any_place_allows_nothing_more(batch, place, odd):
    check(*place, odd)
