"""The jobs of a schedule's runs in the Kubernetes API: read, made and deleted."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from carbonfleet.api.job_status import Phase
from carbonfleet.api.schedule import CarbonTrainingSchedule, due_of, job_name, job_of_run
from carbonfleet.faults import only
from carbonfleet.hub.observe import JOBS, Mirror
from carbonfleet.hub.schedules.runs import RunJob
from carbonfleet.kube import Kube, KubeError, Object, name_of, ours


@dataclass(frozen=True, slots=True)
class NotMade:
    """Why a run's job could not be made."""

    reason: str
    message: str


def jobs_by_schedule(jobs: Iterable[Object]) -> dict[str, list[Object]]:
    """Jobs by the UID of the schedule that owns them; others are left out."""
    found = defaultdict(list)
    for body in jobs:
        with only(f"whose job {name_of(body)} is can't be told"):
            if uid := _owner(body):
                found[uid].append(body)
    return found


def run_jobs(schedule: str, bodies: Iterable[Object]) -> tuple[RunJob, ...]:
    """The jobs of a schedule as it looks at them; a job whose name is none of a run's is left out."""
    found = []
    for body in bodies:
        metadata = body["metadata"]
        if (due := due_of(schedule, str(metadata["name"]))) is not None:
            found.append(
                RunJob(str(metadata["name"]), due, _phase(body), metadata["uid"], "deletionTimestamp" in metadata)
            )
    return tuple(found)


def make_job(
    kube: Kube, mirror: Mirror, schedule: CarbonTrainingSchedule, body: Object, due: datetime
) -> NotMade | None:
    """Make the job of a run, or find that it was made before; None where it is there.

    Raises KubeError when the API is away.
    """
    metadata = schedule.metadata
    name = job_name(metadata.name, due)
    try:
        mirror.put(JOBS, kube.create(ours(JOBS, metadata.namespace), job_of_run(schedule, body, due)))
    except KubeError as error:
        if error.is_away:
            raise
        if not error.is_conflict:
            return NotMade("JobRefused", f"the API refuses job {name}: {error.said or error}; it is tried again")
        there = kube.get(ours(JOBS, metadata.namespace, name))
        if _owner(there) != metadata.uid:
            advice = "is not of this schedule: delete or rename it, or rename the schedule"
            return NotMade("NameTaken", f"job {name} is there and {advice}")
        mirror.put(JOBS, there)
    return None


def delete_job(kube: Kube, namespace: str, job: RunJob) -> None:
    """Delete a job, which stops where it runs; another one that has its name by now stays. Raises KubeError."""
    try:
        kube.delete(ours(JOBS, namespace, job.name), uid=job.uid)
    except KubeError as error:
        if not error.is_conflict:
            raise


def _owner(body: Object) -> str:
    """The UID of the schedule that owns a job; empty where none does."""
    owners = body["metadata"].get("ownerReferences") or ()
    return next((str(each["uid"]) for each in owners if each.get("kind") == "CarbonTrainingSchedule"), "")


def _phase(body: Object) -> Phase:
    """A job's phase; one that this release doesn't know has not ended."""
    try:
        return Phase((body.get("status") or {}).get("phase", Phase.PENDING))
    except (ValueError, AttributeError):
        return Phase.RUNNING
