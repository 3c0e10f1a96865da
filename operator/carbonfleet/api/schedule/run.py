"""A run of a schedule: the name of its job, and what the job is."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from carbonfleet.api.schedule.schedule import CarbonTrainingSchedule
from carbonfleet.api.wire import API_VERSION, LABEL, format_duration, format_time

_TIME: Final = "%Y%m%d%H%M"
_CLAIMS: Final = ("app.kubernetes.io/", "argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/", "helm.sh/")
"""Labels by which a tool knows what it has applied: the schedule, and not its jobs."""


def job_name(schedule: str, due: datetime) -> str:
    """The one name of a run's job: `nightly-202601310600`, in UTC."""
    return f"{schedule}-{due.astimezone(UTC).strftime(_TIME)}"


def due_of(schedule: str, job: str) -> datetime | None:
    """When the run of a job is due, by the job's name; None where that is no name of a run."""
    try:
        due = datetime.strptime(job.removeprefix(f"{schedule}-"), _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    return due if job_name(schedule, due) == job else None


def job_of_run(schedule: CarbonTrainingSchedule, written: Mapping[str, Any], due: datetime) -> dict[str, Any]:
    """The job of a run: the template as it is `written` in the schedule, with the run's deadline and its owner."""
    metadata, spec = schedule.metadata, dict(written["spec"]["jobTemplate"]["spec"])
    if (lead := schedule.spec.lead_time) is not None:
        # A tier's delay may be shorter than the time that the job has; its deadline ends the wait.
        when = {"maxDelay": format_duration(lead), **(spec.get("schedule") or {}), "deadline": format_time(due)}
        spec["schedule"] = when
    labels = {key: value for key, value in metadata.labels.items() if not key.startswith(_CLAIMS)}
    owner = {"apiVersion": API_VERSION, "kind": "CarbonTrainingSchedule", "name": metadata.name, "uid": metadata.uid}
    return {
        "apiVersion": API_VERSION,
        "kind": "CarbonTrainingJob",
        "metadata": {
            "name": job_name(metadata.name, due),
            "namespace": metadata.namespace,
            "labels": {**labels, LABEL.SCHEDULE.value: metadata.name},
            "ownerReferences": [{**owner, "controller": True}],
        },
        "spec": spec,
    }
