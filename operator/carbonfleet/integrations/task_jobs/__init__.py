"""A training as the task of a workflow engine: one job however often the task is tried. Knows no engine."""

from carbonfleet.integrations.task_jobs.manifest import ManifestError, job_body
from carbonfleet.integrations.task_jobs.remote_job import (
    TASK,
    TRY,
    Course,
    NotOurs,
    RemoteJob,
    TaskJob,
    passes_by,
    result,
)

__all__ = [
    "TASK",
    "TRY",
    "Course",
    "ManifestError",
    "NotOurs",
    "RemoteJob",
    "TaskJob",
    "job_body",
    "passes_by",
    "result",
]
