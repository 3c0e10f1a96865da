"""Where a job may not go, whatever the hour: each rule is a function, and a line in `RULES`."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from carbonfleet.api.job import HardwareOption
from carbonfleet.api.policy import Goal
from carbonfleet.placement.hardware import canonical
from carbonfleet.placement.inputs import BoolArray, Option, Options
from carbonfleet.placement.rules.policy import residency_verdict
from carbonfleet.placement.snapshot import PolicySet, QueuedJob


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an option is out for a job: a reason for machines, a sentence for people."""

    reason: str
    message: str
    least: float = 0.0
    """Of what goes beyond a limit, how much it is at least: of several places the nearest is named."""


Rule = Callable[[QueuedJob, Option, PolicySet], Refusal | None]
Key = Callable[[QueuedJob], Hashable]


def residency(job: QueuedJob, option: Option, policies: PolicySet) -> Refusal | None:
    """The data may be there: policies and the job's own limits agree."""
    request, places = job.spec.residency, job.spec.workload.data_places
    ruling = residency_verdict(policies, request.data_class, job.namespace, request, option.spoke.facts, places)
    return None if ruling.allowed else Refusal(ruling.reason, ruling.message)


def health(job: QueuedJob, option: Option, policies: PolicySet) -> Refusal | None:
    """The spoke is there and takes new work."""
    spoke = option.spoke
    if not spoke.healthy:
        message = spoke.message or f"{spoke.name} is not healthy; look at its SpokeCluster."
        return Refusal(spoke.reason or "Unhealthy", message)
    if spoke.facts.maintenance:
        return Refusal("Maintenance", f"{spoke.name} is under maintenance and takes nothing new.")
    return None


def recently_left(job: QueuedJob, option: Option, policies: PolicySet) -> Refusal | None:
    """The job has not just failed there or been moved away."""
    if option.cluster not in job.excluded_clusters:
        return None
    return Refusal("RecentlyLeft", f"An attempt on {option.cluster} just failed or was moved away; it rests a while.")


def stays_in_place(job: QueuedJob, option: Option, policies: PolicySet) -> Refusal | None:
    """A job that may not be moved goes on where it is, or where people agreed that it goes."""
    if not job.stays_because or job.incumbent is None or option.cluster == job.incumbent.cluster:
        return None
    return Refusal("StaysInPlace", job.stays_because)


def gpu_type(job: QueuedJob, option: Option, policies: PolicySet) -> Refusal | None:
    """The pool's GPU model is one that the job accepts."""
    wanted = job.spec.resources.gpu_types
    if not wanted or canonical(option.pool.gpu_type) in map(canonical, wanted):
        return None
    return Refusal(
        "GpuType", f"Pool {option.pool.name} has {option.pool.gpu_type}; the job accepts {', '.join(wanted)}."
    )


def gpu_memory(job: QueuedJob, option: Option, policies: PolicySet) -> Refusal | None:
    """One GPU has enough memory."""
    needed = job.spec.resources.gpu_memory_gib
    if option.pool.memory_gib >= needed:
        return None
    message = f"Pool {option.pool.name} has GPUs of {option.pool.memory_gib:g} GiB; the job needs {needed:g} GiB."
    return Refusal("GpuMemory", message)


def gpu_count(job: QueuedJob, option: Option, policies: PolicySet) -> Refusal | None:
    """The pool is large enough: a job's workers never straddle pools."""
    needed = gpus_needed(job, option.pool.gpu_type)
    if option.pool.gpus >= needed:
        return None
    return Refusal("GpuCount", f"Pool {option.pool.name} has {option.pool.gpus} GPUs in all; the job needs {needed}.")


def spot(job: QueuedJob, option: Option, policies: PolicySet) -> Refusal | None:
    """GPUs that can be reclaimed are only for jobs that say so."""
    if not option.spot or job.spec.resources.spot:
        return None
    return Refusal("SpotNotAllowed", f"Pool {option.pool.name} as spot can be reclaimed; the job does not allow that.")


def price(job: QueuedJob, option: Option, policies: PolicySet) -> Refusal | None:
    """A job that minds cost goes nowhere without a price."""
    if option.is_priced or not minds_cost(job):
        return None
    return Refusal(
        "NoPrice",
        f"Pool {option.pool.name} of {option.cluster} declares no price, and the job minds cost. Declare one.",
    )


_asked = "spec.residency."
_residency_key = attrgetter(
    *("namespace", f"{_asked}data_class", f"{_asked}allowed_regions", f"{_asked}allowed_jurisdictions"),
    "spec.workload.data_places",
)


RULES: tuple[tuple[Rule, Key], ...] = (
    (residency, _residency_key),
    (health, lambda job: None),
    (recently_left, attrgetter("excluded_clusters")),
    (
        stays_in_place,
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
    return next((o for o in job.spec.resources.options if canonical(o.gpu_type) == canonical(gpu_type)), None)


def gpus_needed(job: QueuedJob, gpu_type: str) -> int:
    """GPUs that the job takes on a GPU model."""
    option = option_for(job, gpu_type)
    return option.gpus if option else job.spec.resources.gpus


def minds_cost(job: QueuedJob) -> bool:
    """Whether money plays a part in where the job goes."""
    objective = job.spec.objective
    limits = objective.max_cost_usd, objective.cost_tolerance_percent
    return objective.goal is not Goal.CARBON or limits != (None, None)


class Admission:
    """Which options the rules leave to a job, and why not the others; equal questions are answered once."""

    def __init__(self, options: Options, policies: PolicySet) -> None:
        self._options, self._policies = options, policies
        self._by_rule: dict[tuple[int, Hashable], tuple[BoolArray, list[Refusal | None]]] = {}
        self._by_keys: dict[tuple[Hashable, ...], BoolArray] = {}

    def admitted(self, job: QueuedJob) -> BoolArray:
        """Shape (options,): True where no rule objects."""
        keys = tuple([key(job) for _, key in RULES])
        if (known := self._by_keys.get(keys)) is None:
            masks = [self._answers(index, key, job)[0] for index, key in enumerate(keys)]
            known = self._by_keys[keys] = np.logical_and.reduce(masks)
        return known

    def table(self, jobs: Sequence[QueuedJob]) -> BoolArray:
        """`admitted` of some jobs, shape (jobs, options)."""
        masks: dict[int, tuple[int, BoolArray]] = {}
        rows = []
        for job in jobs:
            mask = self.admitted(job)
            rows.append(masks.setdefault(id(mask), (len(masks), mask))[0])
        table = np.array([mask for _, mask in masks.values()], dtype=np.bool_).reshape(len(masks), len(self._options))
        return table[np.array(rows, dtype=np.int64)]

    def refusals(self, job: QueuedJob, option: int) -> Iterator[Refusal]:
        """What the rules object to on an option, in their order."""
        answers = (self._answers(index, key(job), job)[1][option] for index, (_, key) in enumerate(RULES))
        return filter(None, answers)

    def _answers(self, index: int, key: Hashable, job: QueuedJob) -> tuple[BoolArray, list[Refusal | None]]:
        """Of one rule for all options: whether it leaves them, and what it objects to."""
        if (known := self._by_rule.get((index, key))) is None:
            rule = RULES[index][0]
            refusals = [rule(job, option, self._policies) for option in self._options.entries]
            mask = np.array([refusal is None for refusal in refusals], dtype=np.bool_)
            known = self._by_rule[index, key] = mask, refusals
        return known
