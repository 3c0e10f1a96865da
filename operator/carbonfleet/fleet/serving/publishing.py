"""The file's one way to the branch: in a person's name, where policy and cluster allow it on the tip."""

from dataclasses import dataclass

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.workload import DataPlace
from carbonfleet.fleet.git import Tip
from carbonfleet.fleet.manifests import SERVING, held_by, why_held
from carbonfleet.fleet.publish import Repository
from carbonfleet.fleet.serving.reading import ServingInvalid, read_serving
from carbonfleet.fleet.serving.rendering import render_serving
from carbonfleet.fleet.serving.values import Serving, ServingRefused
from carbonfleet.placement.rules import residency_verdict


@dataclass(frozen=True, slots=True)
class Written:
    """Where it stands in Git; `commit` is empty where it stood there already."""

    path: str
    commit: str


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
    if serving.scaling is not None and serving.scaling.zone != facts.zone:
        raise ServingRefused(f"{facts.name} is in zone {facts.zone}, not {serving.scaling.zone}: leave --zone out")
    if serving.gpus > pool.gpus_per_node:
        raise ServingRefused(f"a node of {facts.name}/{pool.name} has {pool.gpus_per_node} GPUs, not {serving.gpus}")
    most = serving.gpus * (serving.scaling.most if serving.scaling else 1)
    if most > pool.gpus:
        raise ServingRefused(f"{facts.name}/{pool.name} has {pool.gpus} GPUs, not {most}: lower --max")


def _message(serving: Serving) -> str:
    """All of it is names that were checked."""
    lines = "\n".join(one.name for one in serving.adapters)
    return f"serve: {serving.namespace}/{serving.name} on {serving.cluster}\n\nAdapters:\n{lines}\n"
