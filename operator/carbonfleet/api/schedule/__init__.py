"""Recurring jobs: the CarbonTrainingSchedule and the times of its runs."""

from carbonfleet.api.schedule.schedule import (
    MOST_HISTORY,
    SCHEDULE_NAME_RULE,
    CarbonTrainingSchedule,
    ConcurrencyPolicy,
    ScheduleStatus,
    TrainingScheduleSpec,
    due_of,
    job_name,
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
]
