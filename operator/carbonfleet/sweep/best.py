"""From a leaderboard to what is served: the best adapters that one cluster can read, by their jobs' names."""

from collections.abc import Sequence
from dataclasses import dataclass

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.fleet.manifests import output_of
from carbonfleet.fleet.serving import VLLM_IMAGE, Adapter, Serving
from carbonfleet.sweep.error import SweepError
from carbonfleet.sweep.standing import leaderboard


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person wants of it; empty means as it comes."""

    name: str
    count: int = 3
    cluster: str = ""
    """Left out, where the best was trained."""
    pool: str = ""
    """Left out, where the best that was trained on the cluster was."""
    gpus: int = 1
    image: str = VLLM_IMAGE


@dataclass(frozen=True, slots=True)
class Best:
    """What is to be served, and the better jobs whose adapters lie elsewhere, best first."""

    serving: Serving
    elsewhere: tuple[str, ...]


def best_of(jobs: Sequence[CarbonTrainingJob], wishes: Wishes) -> Best:
    """The best `count` by validation loss whose adapters the cluster can read.

    Raises SweepError where there is none, or where they can't be served together.
    """
    by_name = {job.metadata.name: job for job in jobs}
    ranked = [by_name[place.standing.job] for place in leaderboard(jobs) if place.place is not None]
    if not ranked:
        raise SweepError("no job has succeeded yet, so there is nothing to serve; see carbonfleet sweep status")
    cluster = wishes.cluster or ranked[0].status.cluster
    readable = [job for job in ranked if _can_read(cluster, job)][: wishes.count]
    if not readable:
        places = ", ".join(sorted({job.status.cluster for job in ranked}))
        raise SweepError(f"no adapter can be read on {cluster}: they lie in the stores of {places}; choose one of them")
    _expect_one(readable)
    last = ranked.index(readable[-1])
    return Best(
        _serving(readable, cluster, wishes),
        tuple(job.metadata.name for job in ranked[:last] if job not in readable),
    )


def place_of(job: CarbonTrainingJob) -> str:
    """Where a job's output is: as its spoke said, or else as its placement did."""
    saved = job.status.last_good_checkpoint
    return saved.uri if saved else output_of(job.spec.workload, job.metadata.uid)


def _can_read(cluster: str, job: CarbonTrainingJob) -> bool:
    return "://" in place_of(job) or job.status.cluster == cluster


def _serving(jobs: Sequence[CarbonTrainingJob], cluster: str, wishes: Wishes) -> Serving:
    first = jobs[0]
    adapters = tuple(Adapter(job.metadata.name, place_of(job), job.spec.workload.lora.rank) for job in jobs)
    return Serving(
        name=wishes.name,
        namespace=first.metadata.namespace,
        cluster=cluster,
        pool=wishes.pool or _pool(jobs, cluster),
        model=first.spec.workload.model,
        adapters=adapters,
        residency=first.spec.residency,
        fetch_image=first.spec.workload.image,
        revision=first.spec.workload.model_revision,
        image=wishes.image,
        gpus=wishes.gpus,
    )


def _pool(jobs: Sequence[CarbonTrainingJob], cluster: str) -> str:
    placed = (job.status.placement for job in jobs)
    pool = next((one.pool for one in placed if one is not None and one.cluster == cluster), None)
    if pool is None:
        raise SweepError(f"none of them was trained on {cluster}: say with --pool whose GPUs shall serve them")
    return pool


def _base(job: CarbonTrainingJob) -> str:
    work = job.spec.workload
    return f"{work.model}@{work.model_revision}" if work.model_revision else work.model


def _expect_one(jobs: Sequence[CarbonTrainingJob]) -> None:
    """vLLM has one base model, and a pod one data class."""
    first = jobs[0]
    for job in jobs[1:]:
        ours, theirs = _base(first), _base(job)
        if ours != theirs:
            raise SweepError(f"{job.key} was trained on {theirs}, {first.key} on {ours}: they can't be served together")
        if job.spec.residency != first.spec.residency:
            raise SweepError(f"{job.key} has another residency than {first.key}: they can't be served together")
