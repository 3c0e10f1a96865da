"""What people declare in the fleet repository: the policies, and the facts of each cluster."""

import hashlib
from typing import Any, Literal

from pydantic import Field

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.policy import FleetPolicy
from carbonfleet.api.wire import Wire
from carbonfleet.fleet.git.trees import Files
from carbonfleet.fleet.manifests import POLICIES, why_unread
from carbonfleet.placement.snapshot import PolicySet
from carbonfleet.yaml_reader import FileInvalid, FileProblem, YamlDocument, blaming, read_document

CONFIG_MAP = "carbonfleet-cluster"
FACTS = "facts"


def read_policies(files: Files) -> PolicySet:
    """All of `policies/`, by path. What is no policy there is a problem of the whole set, which then denies."""
    policies, problems = read_policy_files(files)
    return PolicySet(policies, digest_of(files), tuple(map(str, problems)))


def read_policy_files(files: Files) -> tuple[tuple[FleetPolicy, ...], list[FileProblem]]:
    """The policies that could be read, and what is wrong with the others, each with file and line."""
    policies: list[FleetPolicy] = []
    readable, problems = only_read(files)
    for path in sorted(readable):
        try:
            with blaming(path):
                policies.append(_policy(path, readable[path]))
        except FileInvalid as error:
            problems += error.problems
    problems += _tiers_defined_twice(policies)
    if not readable:
        problems.append(FileProblem(POLICIES, 1, "there is no policy, so every placement is denied; add one"))
    return tuple(policies), problems


def only_read(files: Files) -> tuple[dict[str, bytes], list[FileProblem]]:
    """The files that somebody reads, and a problem for whatever else lies where they lie."""
    readable: dict[str, bytes] = {}
    problems: list[FileProblem] = []
    for path, content in sorted(files.items()):
        if why := why_unread(path, is_file=content is not None):
            problems.append(FileProblem(path, 1, why))
        elif content is not None:
            readable[path] = content
    return readable, problems


def digest_of(files: Files) -> str:
    """sha256 over paths and contents, the same for a checkout and for a commit."""
    digest = hashlib.sha256()
    for path, content in sorted(files.items()):
        data = content or b""
        digest.update(f"{path}\0{len(data)}\0".encode("utf-8", "surrogateescape"))
        digest.update(data)
    return f"sha256:{digest.hexdigest()}"


def read_cluster(path: str, content: bytes) -> ClusterFacts:
    """The facts in a cluster's file, whose folder bears its name. Raises FileInvalid."""
    with blaming(path):
        facts = _facts(read_document(path, content))
        found = facts.read_as(ClusterFacts)
        folder = path.split("/")[-2]
        if found.name != folder:
            raise FileInvalid(facts.problem(f"name is {found.name}, but the folder is {folder}", "name"))
    return found


def _policy(path: str, content: bytes) -> FleetPolicy:
    document = read_document(path, content)
    policy = document.read_as(FleetPolicy)
    stem = path.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    if policy.metadata.name != stem:
        message = f"metadata.name is {policy.metadata.name}, but the file is {stem}; make them the same"
        raise FileInvalid(document.problem(message, "metadata", "name"))
    return policy


def _tiers_defined_twice(policies: list[FleetPolicy]) -> list[FileProblem]:
    first: dict[str, str] = {}
    problems = []
    for policy in policies:
        path = f"{POLICIES}/{policy.metadata.name}.yaml"
        for tier in policy.spec.tiers:
            if first.setdefault(tier.name, path) != path:
                problems.append(
                    FileProblem(path, 1, f"tier {tier.name} is defined in {first[tier.name]} too; keep one")
                )
    return problems


class _Metadata(Wire):
    name: str
    namespace: Literal["carbonfleet-fleet"]
    """Where whoever applies the folder may write it; in another it would take another object's place."""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class _Data(Wire):
    facts: str


class _ClusterFile(Wire):
    """The ConfigMap as a whole: what is in no field of it, nobody reads."""

    api_version: Literal["v1"]
    kind: Literal["ConfigMap"]
    metadata: _Metadata
    data: _Data


def _facts(file: YamlDocument) -> YamlDocument:
    """The facts inside a cluster's file, as a document of their own. Raises FileInvalid."""
    data: Any = file.data
    if not isinstance(data, dict) or data.get("kind") != "ConfigMap":
        raise FileInvalid(file.problem("must be a ConfigMap", "kind"))
    if not isinstance(data.get("metadata"), dict) or data["metadata"].get("name") != CONFIG_MAP:
        raise FileInvalid(file.problem(f"must be named {CONFIG_MAP}", "metadata", "name"))
    text = data["data"].get(FACTS) if isinstance(data.get("data"), dict) else None
    if not isinstance(text, str):
        raise FileInvalid(file.problem(f"data.{FACTS} must hold the cluster's facts as text", "data"))
    file.read_as(_ClusterFile)
    # The block begins on the line after `facts: |`.
    return read_document(file.path, text, file.line_of(("data", FACTS)) + 1)
