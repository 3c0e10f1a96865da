"""What a cluster serves: a file that runs vLLM with adapters by name, and its one way to the branch."""

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.job import ResidencyRequest
from carbonfleet.api.wire import ANNOTATION, LABEL
from carbonfleet.api.workload import SPOKE_STORE, DataPlace, check_reference
from carbonfleet.fleet.git import Tip
from carbonfleet.fleet.manifests import (
    CPUS_PER_GPU,
    MEMORY_GIB_PER_GPU,
    MOST_GPUS,
    SERVING,
    Block,
    Scalar,
    Template,
    digest_of,
    held_by,
    read_serving_path,
    sealed,
    serving_path,
    why_held,
    why_unread,
)
from carbonfleet.fleet.publish import Repository
from carbonfleet.placement.rules import residency_verdict
from carbonfleet.yaml_reader import FileInvalid, FileProblem, YamlDocument, blaming, read_documents

VLLM_IMAGE: Final = "vllm/vllm-openai:v0.12.0@sha256:6766ce0c459e24b76f3e9ba14ffc0442131ef4248c904efdcbf0d89e38be01fe"
MOST_ADAPTERS: Final = 64
_RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM's `--max-lora-rank` may be."""
_GPU: Final = "nvidia.com/gpu"
_LONGEST_NAME: Final = 57
"""With `serve-` before it, a label of 63 characters."""


class ServingRefused(ValueError):  # noqa: N818  named like its reason
    """It must not be served there, or can't be; the message says why and what to do."""


class ServingInvalid(FileInvalid):
    """A file under `serving/` that serves nothing."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter: the name that clients ask for, its job's output as pods see it, and its rank."""

    name: str
    place: str
    rank: int


@dataclass(frozen=True, slots=True)
class Serving:
    """Adapters of one base model, and where they are served."""

    name: str
    namespace: str
    cluster: str
    pool: str
    model: str
    adapters: tuple[Adapter, ...]
    residency: ResidencyRequest
    fetch_image: str
    """The training image, which copies the adapters to the pod."""
    revision: str | None = None
    """Of the model: the commit, tag or branch that the adapters were trained on; None for the newest."""
    image: str = VLLM_IMAGE
    gpus: int = 1

    @property
    def object_name(self) -> str:
        """What the Deployment and the Service are called."""
        return f"serve-{self.name}"

    @property
    def path(self) -> str:
        """Its file. Raises ValueError for a name that is no label."""
        return serving_path(self.cluster, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Written:
    """Where it stands in Git; `commit` is empty where it stood there already."""

    path: str
    commit: str


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
        deployment = _deployment(path, documents, namespace)
        differs, edited = _changes(path, documents, place)
        try:
            spec = deployment.data["spec"]
            data_class = str(spec["template"]["metadata"]["labels"][LABEL.DATA_CLASS])
            pool, gpus = _taken(spec)
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
        values = _template().values_in(path, documents)
        if (values["cluster"], values["namespace"], values["name"]) != place:
            raise FileInvalid(documents[0].problem("its labels say another cluster or name than its path", "metadata"))
    except FileInvalid as error:
        return error.problems[0], True
    return None, values["content_digest"] != digest_of(values)


def _deployment(path: str, documents: tuple[YamlDocument, ...], namespace: str) -> YamlDocument:
    """The Deployment of the three objects that a file must hold."""
    found = {_kind_and_namespace(document): document for document in documents}
    if len(documents) != 3 or set(found) != {(kind, namespace) for kind in ("ConfigMap", "Deployment", "Service")}:
        message = f"must hold one ConfigMap, Deployment and Service in namespace {namespace}, nothing else"
        raise ServingInvalid(FileProblem(path, 1, f"not readable as what is served: {message}"))
    return found["Deployment", namespace]


def _kind_and_namespace(document: YamlDocument) -> tuple[str, str]:
    try:
        return str(document.data["kind"]), str(document.data["metadata"]["namespace"])
    except (KeyError, TypeError):
        return "", ""


def _taken(spec: Mapping[str, Any]) -> tuple[str, int]:
    """The pool and how many of its GPUs a Deployment takes."""
    pod = spec["template"]["spec"]
    limits = (container["resources"]["limits"] for container in pod["containers"])
    each = sum(_count(limit.get(_GPU, 0)) for limit in limits)
    return str((pod.get("nodeSelector") or {}).get(ANNOTATION.POOL, "")), _count(_count(spec.get("replicas", 1)) * each)


def _count(value: object) -> int:
    """A number of pods or GPUs, as Kubernetes takes one. Raises ValueError."""
    count = int(str(value), 10)
    if not 0 <= count <= MOST_GPUS:
        raise ValueError(f"{value} is not a number from 0 to {MOST_GPUS}")
    return count


def render_serving(serving: Serving) -> bytes:
    """The file: equal inputs give equal bytes. Raises ServingRefused for what can't be served."""
    _check(serving)
    config, adapters = _config(serving), json.dumps({one.name: one.place for one in serving.adapters}, indent=1)
    values: dict[str, Scalar | Block] = {
        "object": serving.object_name,
        "name": serving.name,
        "namespace": serving.namespace,
        "cluster": serving.cluster,
        "pool": serving.pool,
        "data_class": serving.residency.data_class,
        "adapters": Block(adapters),
        "config": Block(config),
        "config_digest": f"sha256:{hashlib.sha256((adapters + config).encode()).hexdigest()}",
        "fetch_image": serving.fetch_image,
        "image": serving.image,
        "replicas": 1,
        "gpus": str(serving.gpus),
        "cpus": str(CPUS_PER_GPU * serving.gpus),
        "memory": f"{MEMORY_GIB_PER_GPU * serving.gpus}Gi",
    }
    return _template().fill(sealed(values)).encode()


def publish_serving(
    repository: Repository, serving: Serving, author: tuple[str, str], *, replace: bool = False
) -> Written:
    """Write the file in a person's name, if policy allows it on the tip that it is committed to.

    Raises ServingRefused, or FleetError as `Repository.publish` does. A file that a person edited stays,
    unless `replace`.
    """
    content, session = render_serving(serving), repository.session

    def work(_attempt: int) -> Written:
        session.fetch()
        check_allowed(serving, session.tip, replace=replace)
        commit = session.commit([session.head.id], {serving.path: content}, _message(serving), author)
        if commit is None:
            return Written(serving.path, "")
        session.push(commit)
        return Written(serving.path, str(commit))

    return repository.retrying(work)


def check_allowed(serving: Serving, tip: Tip, *, replace: bool = False) -> None:
    """What a tip says of it: an adapter may be only where the data that it was trained on may be.

    Raises ServingRefused.
    """
    facts = tip.clusters.get(serving.cluster)
    if facts is None:
        why = tip.cluster_problems.get(serving.cluster, f"clusters/{serving.cluster}/cluster.yaml is not on the branch")
        raise ServingRefused(f"{serving.cluster} can't serve: {why}")
    if why := _unread(serving, tip):
        raise ServingRefused(why)
    residency, places = serving.residency, tuple(DataPlace("checkpoints", one.place) for one in serving.adapters)
    ruling = residency_verdict(tip.policies, residency.data_class, serving.namespace, residency, facts, places)
    if not ruling.allowed:
        raise ServingRefused(f"{serving.cluster} must not serve data class {residency.data_class}: {ruling.message}")
    _check_pool(serving, facts)
    present = tip.file(serving.path)
    if present is not None and _was_edited(serving.path, present) and not replace:
        raise ServingRefused(f"{serving.path} was changed by a person; --replace writes it all the same")


def _unread(serving: Serving, tip: Tip) -> str:
    """Why nothing more is served on a cluster: a file there can't be read, so what it takes and says is not known."""
    unread: dict[str, str] = {}
    for path, content in tip.serving(serving.cluster).items():
        try:
            if path != serving.path and content is not None:
                read_serving(path, content)
        except ServingInvalid as error:
            unread[path] = str(error)
    return tip.why_held(SERVING, serving.cluster) or why_held(held_by(unread), SERVING, serving.cluster)


def _was_edited(path: str, content: bytes) -> bool:
    try:
        return read_serving(path, content).edited
    except ServingInvalid:
        return True


def _check_pool(serving: Serving, facts: ClusterFacts) -> None:
    pool = next((pool for pool in facts.pools if pool.name == serving.pool), None)
    if pool is None:
        raise ServingRefused(
            f"{facts.name} has no pool {serving.pool}; there is {', '.join(p.name for p in facts.pools)}"
        )
    if pool.simulated:
        raise ServingRefused(
            f"the GPUs of {facts.name}/{pool.name} are simulated, and vLLM needs real ones: "
            "python -m workloads.lora.serve NAME=OUTPUT serves adapters on this machine"
        )
    if serving.gpus > pool.gpus_per_node:
        raise ServingRefused(f"a node of {facts.name}/{pool.name} has {pool.gpus_per_node} GPUs, not {serving.gpus}")


def _check(serving: Serving) -> None:
    try:
        serving_path(serving.cluster, serving.namespace, serving.name)
    except ValueError as error:
        raise ServingRefused(str(error)) from error
    if len(serving.name) > _LONGEST_NAME:
        raise ServingRefused(f"the name {serving.name} is longer than {_LONGEST_NAME} characters; --name gives another")
    if not 1 <= len(serving.adapters) <= MOST_ADAPTERS:
        raise ServingRefused(f"{len(serving.adapters)} adapters; serve 1 to {MOST_ADAPTERS} together")
    for one in serving.adapters:
        if "://" not in one.place and not one.place.startswith(f"{SPOKE_STORE}/"):
            all_of_them = " ".join(shlex.quote(f"{each.name}={each.place}") for each in serving.adapters)
            raise ServingRefused(
                f"{one.name} is in a folder of the machine that trained it, which no pod can see; serve it there:\n"
                f"python -m workloads.lora.serve {all_of_them}"
            )
        if one.rank > _RANKS[-1]:
            raise ServingRefused(f"{one.name} has rank {one.rank}; vLLM serves up to {_RANKS[-1]}")


def _config(serving: Serving) -> str:
    """What vLLM would be told on its command line, where no user's text belongs."""
    modules = [{"name": one.name, "path": f"/adapters/{one.name}"} for one in serving.adapters]
    most = max(one.rank for one in serving.adapters)
    config = {
        "model": serving.model,
        **({"revision": serving.revision, "tokenizer-revision": serving.revision} if serving.revision else {}),
        "served-model-name": serving.model,
        "port": 8000,
        "tensor-parallel-size": serving.gpus,
        "enable-lora": True,
        "max-loras": len(modules),
        "max-lora-rank": next(rank for rank in _RANKS if rank >= most),
        "lora-modules": [json.dumps(module) for module in modules],
    }
    return json.dumps(config, indent=1)


def _message(serving: Serving) -> str:
    """All of it is names that were checked."""
    lines = "\n".join(one.name for one in serving.adapters)
    return f"serve: {serving.namespace}/{serving.name} on {serving.cluster}\n\nAdapters:\n{lines}\n"


@cache
def _template() -> Template:
    return Template.read(files(__package__).joinpath("serving.yaml").read_text())
