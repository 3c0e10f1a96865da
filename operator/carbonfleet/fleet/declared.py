"""What people declare in the fleet repository: the policies, and the facts of each cluster."""

import hashlib
from collections.abc import Mapping
from typing import Any

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.policy import FleetPolicy
from carbonfleet.fleet.layout import POLICIES
from carbonfleet.fleet.source import Problem, Source, SourceInvalid, read_source
from carbonfleet.placement.snapshot import PolicySet

CONFIG_MAP = "carbonfleet-cluster"
FACTS = "facts"


def read_policies(contents: Mapping[str, bytes]) -> PolicySet:
    """All of `policies/`, by path. One broken file is a problem of the whole set, which then denies."""
    policies, problems = read_policy_files(contents)
    return PolicySet(policies, digest_of(contents), tuple(map(str, problems)))


def read_policy_files(contents: Mapping[str, bytes]) -> tuple[tuple[FleetPolicy, ...], list[Problem]]:
    """The policies that could be read, and what is wrong with the others, each with file and line."""
    policies: list[FleetPolicy] = []
    problems: list[Problem] = []
    for path in sorted(contents):
        try:
            policies.append(_policy(path, contents[path]))
        except SourceInvalid as error:
            problems += error.problems
    problems += _tiers_defined_twice(policies)
    if not contents:
        problems.append(Problem(POLICIES, 1, "there is no policy, so every placement is denied; add one"))
    return tuple(policies), problems


def digest_of(contents: Mapping[str, bytes]) -> str:
    """sha256 over paths and contents, the same for a checkout and for a commit."""
    digest = hashlib.sha256()
    for path in sorted(contents):
        digest.update(f"{path}\0{len(contents[path])}\0".encode())
        digest.update(contents[path])
    return f"sha256:{digest.hexdigest()}"


def read_cluster(path: str, content: bytes) -> ClusterFacts:
    """The facts in a cluster's file, whose folder bears its name. Raises SourceInvalid."""
    source = read_source(path, content)
    facts = _facts_source(source)
    found = facts.read_as(ClusterFacts)
    folder = path.split("/")[-2]
    if found.name != folder:
        raise SourceInvalid(facts.problem(f"name is {found.name}, but the folder is {folder}", "name"))
    return found


def _policy(path: str, content: bytes) -> FleetPolicy:
    source = read_source(path, content)
    policy = source.read_as(FleetPolicy)
    stem = path.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    if policy.metadata.name != stem:
        message = f"metadata.name is {policy.metadata.name}, but the file is {stem}; make them the same"
        raise SourceInvalid(source.problem(message, "metadata", "name"))
    return policy


def _tiers_defined_twice(policies: list[FleetPolicy]) -> list[Problem]:
    first: dict[str, str] = {}
    problems = []
    for policy in policies:
        path = f"{POLICIES}/{policy.metadata.name}.yaml"
        for tier in policy.spec.tiers:
            if first.setdefault(tier.name, path) != path:
                problems.append(Problem(path, 1, f"tier {tier.name} is defined in {first[tier.name]} too; keep one"))
    return problems


def _facts_source(source: Source) -> Source:
    data: Any = source.data
    if not isinstance(data, dict) or data.get("kind") != "ConfigMap":
        raise SourceInvalid(source.problem("must be a ConfigMap", "kind"))
    if not isinstance(data.get("metadata"), dict) or data["metadata"].get("name") != CONFIG_MAP:
        raise SourceInvalid(source.problem(f"must be named {CONFIG_MAP}", "metadata", "name"))
    text = data["data"].get(FACTS) if isinstance(data.get("data"), dict) else None
    if not isinstance(text, str):
        raise SourceInvalid(source.problem(f"data.{FACTS} must hold the cluster's facts as text", "data"))
    # The block begins on the line after `facts: |`.
    return read_source(source.path, text, source.line_of(("data", FACTS)) + 1)
