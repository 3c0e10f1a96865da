"""A task's job on the hub's API: made once, looked at, asked to run again, taken away."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

from carbonfleet.api.job_status import JobStatus, Phase, read_status
from carbonfleet.api.wire import ANNOTATION, GROUP
from carbonfleet.kube import Kube, KubeError, Object, ours

TASK: Final = f"{GROUP}/task"
"""The annotation that names the task instance whose job it is."""
TRY: Final = f"{GROUP}/task-try"
"""The annotation that numbers the try that waits for the job; an older one may not delete it any more."""
_MOST_TURNS: Final = 5
"""How often a write that somebody else was faster than is tried anew."""
_WELL: Final = frozenset({Phase.SUCCEEDED, Phase.STOPPED_EARLY})
_ILL: Final = frozenset({Phase.FAILED, Phase.CANCELLED, Phase.REJECTED})


class NotOurs(Exception):  # noqa: N818  named like its reason
    """The name is taken by a job that is not the task's."""


class TaskJobState(StrEnum):
    """Where a job is, as far as who waits for it minds."""

    GOES_ON = "goes on"
    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"
    LEAVING = "leaving"
    """Deleted, and not gone yet: its run is being stopped."""
    GONE = "gone"

    @property
    def is_end(self) -> bool:
        """Nothing more comes by itself."""
        return self not in (TaskJobState.GOES_ON, TaskJobState.LEAVING)


@dataclass(frozen=True)
class RemoteJob:
    """The job as the API had it."""

    body: Mapping[str, Any]
    """Empty where it is gone."""

    @cached_property
    def status(self) -> JobStatus:
        """As far as it can be read."""
        return read_status(self.body.get("status"))[0]

    @cached_property
    def state(self) -> TaskJobState:
        """What became of it.

        A phase from before the last change of its spec, or before the last wish for a new run, is no end.
        """
        if not self.body:
            return TaskJobState.GONE
        if "deletionTimestamp" in self.metadata:
            return TaskJobState.LEAVING
        phase = self.status.phase
        if phase is Phase.SUCCEEDED or (phase in _WELL and not self._is_asked_again):
            return TaskJobState.DONE
        if phase not in _ILL or self._is_asked_again:
            return TaskJobState.GOES_ON
        return TaskJobState.REJECTED if phase is Phase.REJECTED else TaskJobState.FAILED

    @property
    def told(self) -> str:
        """Where it is or how it ended, in the job's own words."""
        if not self.body:
            return "is gone"
        ready = [one.reason for one in self.status.conditions if one.type == "Ready" and one.status != "True"]
        reason = f" ({ready[0]})" if ready else ""
        return f"{self.status.phase}{reason}: {self.status.summary or 'the hub has not seen it yet'}"

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Of the object."""
        return self.body.get("metadata") or {}

    @property
    def annotations(self) -> Mapping[str, str]:
        """Of the object."""
        return self.metadata.get("annotations") or {}

    @property
    def _is_asked_again(self) -> bool:
        asked = self.annotations.get(ANNOTATION.REPLACE, "")[:256]
        is_changed = self.status.observed_generation != self.metadata.get("generation", 0)
        return is_changed or asked not in ("", self.status.replaced)


@dataclass(frozen=True)
class TaskJob:
    """The place of a task's job, for one try of the task."""

    kube: Kube
    namespace: str
    name: str
    task: str
    """The task instance: a job that does not name it is another's."""
    try_number: int
    """From 1. A job that a later try waits for is no more this one's to delete."""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    def look(self) -> RemoteJob:
        """The task's job as it is now. Raises KubeError."""
        found = self._look()
        return found if found.annotations.get(TASK) == self.task else RemoteJob({})

    def submit(self, wanted: Object) -> RemoteJob:
        """Make the job, or find the one that an earlier try has made; never a second one.

        One that goes on or is done is only taken over. One that has ended otherwise is asked to run again, by the
        spec that is wanted now. One that is being deleted is left: come back when it is gone.

        Raises:
            KubeError: the API refuses it or does not answer.
            NotOurs: the name is taken.
        """
        for _ in range(_MOST_TURNS):
            try:
                found = self._look()
                if found.state is TaskJobState.GONE:
                    return RemoteJob(self.kube.create(ours("carbontrainingjobs", self.namespace), wanted))
                if found.annotations.get(TASK) != self.task:
                    raise NotOurs(f"there is a job {self} that is not of the task {self.task}: give it another name")
                return found if found.state is TaskJobState.LEAVING else self._taken_over(found, wanted)
            except KubeError as error:
                if not error.is_conflict:
                    raise
        raise self._contended()

    def withdraw(self) -> bool:
        """Delete the job, unless it is another's or a later try waits for it; whether it was. Raises KubeError."""
        for _ in range(_MOST_TURNS):
            found = self.look()
            is_later_s = found.annotations.get(TRY) != str(self.try_number)
            if found.state in (TaskJobState.GONE, TaskJobState.LEAVING) or is_later_s:
                return False
            try:
                self.kube.delete(self._where, found.metadata["resourceVersion"])
            except KubeError as error:
                if not error.is_conflict:
                    raise
                continue
            return True
        raise self._contended()

    def _taken_over(self, found: RemoteJob, wanted: Object) -> RemoteJob:
        """Written as this try's, and asked to run again where it has failed. Raises KubeError."""
        if found.annotations.get(TRY) == (number := str(self.try_number)):
            return found
        changed: Object = {
            **found.body,
            "metadata": {**found.metadata, "annotations": {**found.annotations, TRY: number}},
        }
        if found.state in (TaskJobState.FAILED, TaskJobState.REJECTED):
            changed["metadata"]["annotations"][ANNOTATION.REPLACE] = f"task-try-{number}"
            changed["spec"] = wanted["spec"]
        return RemoteJob(self.kube.replace(self._where, changed))

    def _look(self) -> RemoteJob:
        try:
            return RemoteJob(self.kube.get(self._where))
        except KubeError as error:
            if error.is_gone and error.reason == "NotFound" and f'"{self.name}"' in error.said:
                return RemoteJob({})
            raise

    @property
    def _where(self) -> str:
        return ours("carbontrainingjobs", self.namespace, self.name)

    def _contended(self) -> KubeError:
        return KubeError(409, "Conflict", f"job {self} changes all the time", f"job {self} changes all the time")


def passes_by(error: KubeError) -> bool:
    """Whether it may be better at the next look."""
    return error.status in (0, 401, 429) or error.status >= 500 or error.reason == "NotKubernetes"


def result(job: RemoteJob) -> dict[str, Any]:
    """What the task hands on: plain JSON, units in the names, None for what is not known."""
    status = job.status
    progress, actual, placement, adapter = status.progress, status.actual, status.placement, status.last_good_checkpoint
    return {
        "job": f"{job.metadata['namespace']}/{job.metadata['name']}",
        "uid": job.metadata["uid"],
        "phase": status.phase.value,
        "summary": status.summary,
        "adapter": adapter.uri if adapter else None,
        "adapter_digest": adapter.digest if adapter else None,
        "validation_loss": progress.validation_loss if progress else None,
        "initial_validation_loss": progress.initial_validation_loss if progress else None,
        "train_loss": progress.train_loss if progress else None,
        "grams_co2e": actual.grams_co2e if actual else None,
        "baseline_grams_co2e": actual.baseline_grams_co2e if actual else None,
        "saved_grams_co2e": actual.saved_grams_co2e if actual else None,
        "energy_kwh": actual.energy_kwh if actual else None,
        "cost_usd": actual.cost_usd if actual else None,
        "decision": {
            "cluster": status.cluster or None,
            "pool": placement.pool if placement else None,
            "start": status.start.isoformat() if status.start else None,
            "attempt": status.attempt,
            "grams_per_kwh": status.grams_per_kwh,
            "digest": status.decision_digest or None,
            "commit": placement.commit or None if placement else None,
        },
    }
