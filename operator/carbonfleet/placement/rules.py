"""Where a job may not go, whatever the hour: each rule is a function, and a line in `RULES`."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from carbonfleet.api.job import Goal, HardwareOption
from carbonfleet.placement.lanes import Lane, Lanes
from carbonfleet.placement.policy import residency_verdict
from carbonfleet.placement.snapshot import PolicySet, QueuedJob

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a lane is out for a job: a reason for machines, a sentence for people."""

    reason: str
    message: str


Rule = Callable[[QueuedJob, Lane, PolicySet], Refusal | None]
Key = Callable[[QueuedJob], Hashable]


def residency(job: QueuedJob, lane: Lane, policies: PolicySet) -> Refusal | None:
    """The data may be there: policies and the job's own limits agree."""
    request = job.spec.residency
    ruling = residency_verdict(policies, request.data_class, job.namespace, request, lane.spoke.facts)
    return None if ruling.allowed else Refusal(ruling.reason, ruling.message)


def health(job: QueuedJob, lane: Lane, policies: PolicySet) -> Refusal | None:
    """The spoke is there and takes new work."""
    spoke = lane.spoke
    if not spoke.healthy:
        message = spoke.message or f"{spoke.name} is not healthy; look at its SpokeCluster."
        return Refusal(spoke.reason or "Unhealthy", message)
    if spoke.facts.maintenance:
        return Refusal("Maintenance", f"{spoke.name} is under maintenance and takes nothing new.")
    return None


def recently_left(job: QueuedJob, lane: Lane, policies: PolicySet) -> Refusal | None:
    """The job has not just failed there or been moved away."""
    if lane.cluster not in job.excluded_clusters:
        return None
    return Refusal("RecentlyLeft", f"An attempt on {lane.cluster} just failed or was moved away; it rests a while.")


def own_place(job: QueuedJob, lane: Lane, policies: PolicySet) -> Refusal | None:
    """A job that may not be moved goes on where it is, or where people agreed that it goes."""
    if not job.stays_because or job.incumbent is None or lane.cluster == job.incumbent.cluster:
        return None
    return Refusal("StaysInPlace", job.stays_because)


def gpu_type(job: QueuedJob, lane: Lane, policies: PolicySet) -> Refusal | None:
    """The pool's GPU model is one that the job accepts."""
    wanted = job.spec.resources.gpu_types
    if not wanted or lane.pool.gpu_type in wanted:
        return None
    return Refusal("GpuType", f"Pool {lane.pool.name} has {lane.pool.gpu_type}; the job accepts {', '.join(wanted)}.")


def gpu_memory(job: QueuedJob, lane: Lane, policies: PolicySet) -> Refusal | None:
    """One GPU has enough memory."""
    needed = job.spec.resources.gpu_memory_gib
    if lane.pool.memory_gib >= needed:
        return None
    message = f"GPUs of pool {lane.pool.name} have {lane.pool.memory_gib:g} GiB; the job needs {needed:g} GiB."
    return Refusal("GpuMemory", message)


def gpu_count(job: QueuedJob, lane: Lane, policies: PolicySet) -> Refusal | None:
    """The pool is large enough: a job's workers never straddle pools."""
    needed = gpus_needed(job, lane.pool.gpu_type)
    if lane.pool.gpus >= needed:
        return None
    return Refusal("GpuCount", f"Pool {lane.pool.name} has {lane.pool.gpus} GPUs in all; the job needs {needed}.")


def spot(job: QueuedJob, lane: Lane, policies: PolicySet) -> Refusal | None:
    """GPUs that can be reclaimed are only for jobs that say so."""
    if not lane.spot or job.spec.resources.spot:
        return None
    return Refusal("SpotNotAllowed", f"Pool {lane.pool.name} as spot can be reclaimed; the job does not allow that.")


def price(job: QueuedJob, lane: Lane, policies: PolicySet) -> Refusal | None:
    """A job that minds cost goes nowhere without a price."""
    if lane.is_priced or not minds_cost(job):
        return None
    return Refusal(
        "NoPrice",
        f"Pool {lane.pool.name} of {lane.cluster} declares no price, and the job minds cost. Declare one.",
    )


_asked = "spec.residency."
_residency_key = attrgetter(
    "namespace", f"{_asked}data_class", f"{_asked}allowed_regions", f"{_asked}allowed_jurisdictions"
)


RULES: tuple[tuple[Rule, Key], ...] = (
    (residency, _residency_key),
    (health, lambda job: None),
    (recently_left, attrgetter("excluded_clusters")),
    (
        own_place,
        lambda job: (job.stays_because, job.incumbent.cluster) if job.stays_because and job.incumbent else None,
    ),
    (gpu_type, attrgetter("spec.resources.gpu_types")),
    (gpu_memory, attrgetter("spec.resources.gpu_memory_gib")),
    (gpu_count, attrgetter("spec.resources.gpus", "spec.resources.options")),
    (spot, attrgetter("spec.resources.spot")),
    (price, lambda job: minds_cost(job)),
)
"""In the order in which they are named to people; each with what of the job it looks at."""


def option_for(job: QueuedJob, gpu_type: str) -> HardwareOption | None:
    """The job's own figures for a GPU model, if it gives any."""
    return next((o for o in job.spec.resources.options if o.gpu_type == gpu_type), None)


def gpus_needed(job: QueuedJob, gpu_type: str) -> int:
    """GPUs that the job takes on a GPU model."""
    option = option_for(job, gpu_type)
    return option.gpus if option else job.spec.resources.gpus


def minds_cost(job: QueuedJob) -> bool:
    """Whether money plays a part in where the job goes."""
    objective = job.spec.objective
    return objective.minimize is not Goal.CARBON or objective.max_cost_usd is not None


class Admission:
    """Which lanes the rules leave to a job; equal questions are answered once."""

    def __init__(self, lanes: Lanes, policies: PolicySet) -> None:
        self._lanes, self._policies = lanes, policies
        self._by_rule: dict[tuple[int, Hashable], BoolArray] = {}
        self._by_keys: dict[tuple[Hashable, ...], BoolArray] = {}

    def admitted(self, job: QueuedJob) -> BoolArray:
        """Shape (lanes,): True where no rule objects."""
        keys = tuple([key(job) for _, key in RULES])
        known = self._by_keys.get(keys)
        if known is None:
            known = np.ones(len(self._lanes), dtype=np.bool_)
            for index, key in enumerate(keys):
                known = known & self._mask(index, key, job)
            self._by_keys[keys] = known
        return known

    def table(self, jobs: Sequence[QueuedJob]) -> BoolArray:
        """`admitted` of some jobs, shape (jobs, lanes)."""
        masks: dict[int, tuple[int, BoolArray]] = {}
        rows = []
        for job in jobs:
            mask = self.admitted(job)
            rows.append(masks.setdefault(id(mask), (len(masks), mask))[0])
        table = np.array([mask for _, mask in masks.values()], dtype=np.bool_).reshape(len(masks), len(self._lanes))
        return table[np.array(rows, dtype=np.int64)]

    def refusals(self, job: QueuedJob, lane: Lane) -> Iterator[Refusal]:
        """What the rules object to on a lane, in their order."""
        return (r for rule, _ in RULES if (r := rule(job, lane, self._policies)) is not None)

    def _mask(self, index: int, key: Hashable, job: QueuedJob) -> BoolArray:
        known = self._by_rule.get((index, key))
        if known is None:
            rule = RULES[index][0]
            answers = (rule(job, lane, self._policies) is None for lane in self._lanes.lanes)
            known = self._by_rule[index, key] = np.fromiter(answers, np.bool_, len(self._lanes))
        return known
