"""Recurring jobs: the CarbonTrainingSchedule and the times of its runs."""

from carbonfleet.api.schedule.run import due_of, job_name, job_of_run
from carbonfleet.api.schedule.schedule import (
    MOST_HISTORY,
    SCHEDULE_NAME_RULE,
    CarbonTrainingSchedule,
    ConcurrencyPolicy,
    ScheduleStatus,
    TrainingScheduleSpec,
)
from carbonfleet.api.schedule.times import MOST_COUNTED, CronTimes

__all__ = [
    "MOST_COUNTED",
    "MOST_HISTORY",
    "SCHEDULE_NAME_RULE",
    "CarbonTrainingSchedule",
    "ConcurrencyPolicy",
    "CronTimes",
    "ScheduleStatus",
    "TrainingScheduleSpec",
    "due_of",
    "job_name",
    "job_of_run",
]
