"""What becomes of a job when its task ends, in the manner of Airflow's Kubernetes operators."""

from enum import StrEnum


class OnFinishAction(StrEnum):
    """Once the job has ended."""

    KEEP_JOB = "keep_job"
    DELETE_JOB = "delete_job"
    DELETE_SUCCEEDED_JOB = "delete_succeeded_job"


class OnKillAction(StrEnum):
    """When the task is killed or times out."""

    DELETE_JOB = "delete_job"
    KEEP_JOB = "keep_job"
