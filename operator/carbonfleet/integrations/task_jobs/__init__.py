"""A training as the task of a workflow engine: one job however often the task is tried. Knows no engine."""

from carbonfleet.integrations.task_jobs.manifest import ManifestError, job_body
from carbonfleet.integrations.task_jobs.remote_job import (
    TASK,
    TRY,
    NotOurs,
    RemoteJob,
    TaskJob,
    TaskJobState,
    passes_by,
    result,
)

__all__ = [
    "TASK",
    "TRY",
    "ManifestError",
    "NotOurs",
    "RemoteJob",
    "TaskJob",
    "TaskJobState",
    "job_body",
    "passes_by",
    "result",
]
