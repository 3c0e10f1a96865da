"""What a file under `serving/` says of itself, whoever wrote it."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from carbonfleet.api.wire import ANNOTATION, LABEL
from carbonfleet.api.workload import DataPlace, check_reference
from carbonfleet.fleet.manifests import MOST_GPUS, digest_of, read_serving_path, why_unread
from carbonfleet.fleet.serving.templates import SCALES, template_of
from carbonfleet.yaml_reader import FileInvalid, FileProblem, YamlDocument, blaming, read_documents

_GPU: Final = "nvidia.com/gpu"
_ALWAYS: Final = ("ConfigMap", "Deployment", "Service")
_BESIDE: Final = ("TriggerAuthentication", "ScaledObject", "SleepInfo")


class ServingInvalid(FileInvalid):
    """A file under `serving/` that serves nothing."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a file says that policy and the planner must know of it."""

    cluster: str
    namespace: str
    data_class: str
    pool: str
    """Whose GPUs its pods take; empty where a person took the selector away."""
    gpus: int
    """Of all its pods together."""
    line: int = 1
    """Where it names its data class."""
    differs: FileProblem | None = None
    """The first thing in it that `carbonfleet serve` never writes; it is not to be merged."""
    edited: bool = False
    """A person changed it after it was written."""
    places: tuple[DataPlace, ...] = ()
    """Where its adapters are."""


def read_serving(path: str, content: bytes) -> Served:
    """What a file serves, whoever wrote it. Raises ServingInvalid for one that serves nothing."""
    with blaming(path, ServingInvalid):
        place = read_serving_path(path)
        if place is None:
            raise ServingInvalid(FileProblem(path, 1, why_unread(path)))
        cluster, namespace, _name = place
        documents = read_documents(path, content)
        deployment, scaling = _deployment(path, documents, namespace)
        differs, edited = _changes(path, documents, place)
        try:
            spec = deployment.data["spec"]
            data_class = str(spec["template"]["metadata"]["labels"][LABEL.DATA_CLASS])
            pool, gpus = _taken(spec, scaling)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ServingInvalid(deployment.problem(f"not readable as what is served: {error!r}", "spec")) from error
        line = deployment.line_of(("spec", "template", "metadata", "labels", LABEL.DATA_CLASS))
        places = () if differs else _places(documents[0])
        return Served(cluster, namespace, data_class, pool, gpus, line, differs, edited, places)


def _places(config_map: YamlDocument) -> tuple[DataPlace, ...]:
    """Where the adapters are. Raises ServingInvalid."""
    try:
        places = json.loads(config_map.data["data"]["adapters.json"]).values()
        return tuple(DataPlace("checkpoints", check_reference(place)) for place in places)
    except (ValueError, AttributeError, TypeError) as error:
        message = "adapters.json must hold an address, without credentials, for each adapter's name"
        raise ServingInvalid(config_map.problem(message, "data", "adapters.json")) from error


def _changes(
    path: str, documents: tuple[YamlDocument, ...], place: tuple[str, str, str]
) -> tuple[FileProblem | None, bool]:
    """The first thing in a file that is never written there, and whether a person changed it at all."""
    try:
        values = template_of(kind for kind, _ in map(_kind_and_namespace, documents)).values_in(path, documents)
        if (values["cluster"], values["namespace"], values["name"]) != place:
            raise FileInvalid(documents[0].problem("its labels say another cluster or name than its path", "metadata"))
    except FileInvalid as error:
        return error.problems[0], True
    return None, values["content_digest"] != digest_of(values)


def _deployment(
    path: str, documents: tuple[YamlDocument, ...], namespace: str
) -> tuple[YamlDocument, Mapping[str, Any] | None]:
    """The Deployment of the objects that a file must hold, and the spec of what scales it."""
    kinds = Counter(map(_kind_and_namespace, documents))
    allowed = {(kind, namespace) for kind in (*_ALWAYS, *_BESIDE)}
    needed = {(kind, namespace) for kind in _ALWAYS}
    if set(kinds.values()) != {1} or not needed <= set(kinds) <= allowed:
        message = (
            f"must hold one ConfigMap, Deployment and Service in namespace {namespace}, "
            f"and nothing else but one {_BESIDE[0]} and {_BESIDE[1]}, and one {_BESIDE[2]}"
        )
        raise ServingInvalid(FileProblem(path, 1, f"not readable as what is served: {message}"))
    found = {kind: document for document in documents for kind, _ in [_kind_and_namespace(document)]}
    deployment, scaled = found["Deployment"], found.get(SCALES)
    return deployment, None if scaled is None else scaled.data.get("spec")


def _kind_and_namespace(document: YamlDocument) -> tuple[str, str]:
    try:
        return str(document.data["kind"]), str(document.data["metadata"]["namespace"])
    except (KeyError, TypeError):
        return "", ""


def _taken(spec: Mapping[str, Any], scaling: Mapping[str, Any] | None) -> tuple[str, int]:
    """The pool and how many of its GPUs a Deployment takes: where it scales, at most."""
    pod = spec["template"]["spec"]
    limits = (container["resources"]["limits"] for container in pod["containers"])
    each = sum(_count(limit.get(_GPU, 0)) for limit in limits)
    replicas = _count(spec.get("replicas", 1) if scaling is None else scaling["maxReplicaCount"])
    return str((pod.get("nodeSelector") or {}).get(ANNOTATION.POOL, "")), _count(replicas * each)


def _count(value: object) -> int:
    """A number of pods or GPUs, as Kubernetes takes one. Raises ValueError."""
    count = int(str(value), 10)
    if not 0 <= count <= MOST_GPUS:
        raise ValueError(f"{value} is not a number from 0 to {MOST_GPUS}")
    return count
