"""CarbonTrainingSchedule: jobs that are made again and again, each ahead of the time at which it is due."""

import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from carbonfleet.api.condition import Condition
from carbonfleet.api.job import JobSpec, cel_seconds
from carbonfleet.api.schedule.times import CronExpression, CronTimes, TimeZoneName
from carbonfleet.api.wire import (
    LABEL_PATTERN,
    LONGEST_LABEL,
    Foreign,
    Metadata,
    Name,
    PositiveDuration,
    Text,
    Time,
    Wire,
    cel,
    format_duration,
    keyed_by,
)

MOST_HISTORY: Final = 100
"""Jobs of either end that may be kept, and active ones that a status names."""
LONGEST_SCHEDULE: Final = LONGEST_LABEL - len("-202601310700")
"""So that a name with a run's time behind it is a job's."""


class ConcurrencyPolicy(StrEnum):
    """What is done when a run's job is to be made and that of an earlier one is still active."""

    ALLOW = "Allow"
    FORBID = "Forbid"
    REPLACE = "Replace"


_TIMES_ARE_ITS_OWN: Final = (
    "jobTemplate.spec.schedule must name neither deadline nor earliestStart: each run has its own by schedule and "
    "leadTime"
)


class RunTemplate(
    Wire,
    json_schema_extra=cel(
        ("!has(self.spec.schedule.deadline) && !has(self.spec.schedule.earliestStart)", _TIMES_ARE_ITS_OWN)
    ),
):
    """What each run's job is made of; the job has the schedule's labels."""

    spec: JobSpec
    """A CarbonTrainingJob's spec, without deadline and earliestStart."""

    @model_validator(mode="after")
    def _times_are_the_schedules(self) -> "RunTemplate":
        if self.spec.schedule.deadline or self.spec.schedule.earliest_start:
            raise ValueError(_TIMES_ARE_ITS_OWN)
        return self


_NO_TIME_TO_RUN: Final = "leadTime must not be shorter than jobTemplate.spec.resources.duration"


class TrainingScheduleSpec(
    Wire,
    json_schema_extra=cel(
        (
            f"!has(self.leadTime) || {cel_seconds('self.leadTime')}"
            f" >= {cel_seconds('self.jobTemplate.spec.resources.duration')}",
            _NO_TIME_TO_RUN,
        )
    ),
):
    """When which jobs are made."""

    schedule: CronExpression
    """When runs are due: minute, hour, day of month, month and day of week, as cron has them."""
    time_zone: TimeZoneName = "Etc/UTC"
    """The zone of these times, such as Europe/Oslo."""
    lead_time: PositiveDuration | None = None
    """Each job is made so long before its run is due, and must have finished by then. Left out, a job is made when its
    run is due, and has no deadline."""
    starting_deadline: PositiveDuration | None = None
    """A job that could not be made for so long is not made any more. Left out, as long as it can meet its deadline."""
    concurrency_policy: ConcurrencyPolicy = ConcurrencyPolicy.ALLOW
    """Where an earlier run's job is still active: make the new one beside it, not before it has ended, or in its
    place."""
    suspend: bool = False
    """Make no jobs; those that are there go on."""
    successful_jobs_history_limit: Annotated[int, Field(ge=0, le=MOST_HISTORY)] = 3
    """So many jobs that succeeded are kept, the newest."""
    failed_jobs_history_limit: Annotated[int, Field(ge=0, le=MOST_HISTORY)] = 1
    """So many jobs that failed, or never ran, are kept, the newest."""
    job_template: RunTemplate
    """What each run's job is made of."""

    @model_validator(mode="after")
    def _a_run_fits(self) -> "TrainingScheduleSpec":
        if self.lead_time is not None and self.lead_time < self.job_template.spec.resources.duration:
            raise ValueError(_NO_TIME_TO_RUN)
        return self

    @property
    def times(self) -> CronTimes:
        """When runs are due."""
        return CronTimes(self.schedule, ZoneInfo(self.time_zone))

    @property
    def lead(self) -> timedelta:
        """How long before its run is due a job is made."""
        return self.lead_time or timedelta(0)

    @property
    def shortest_run(self) -> timedelta:
        """What a job needs at least before its deadline; nothing where it has none."""
        wanted = self.job_template.spec.resources
        return min([wanted.duration, *(o.duration for o in wanted.options)]) if self.lead_time else timedelta(0)

    @property
    def told_times(self) -> str:
        """The fields that say when runs are, as one text: `0 7 * * * Europe/Oslo 12h`."""
        lead = (format_duration(self.lead_time),) if self.lead_time else ()
        return " ".join((self.schedule, self.time_zone, *lead))

    def local(self, moment: datetime) -> str:
        """A moment as people of the zone write it: `2026-01-31 07:00 CET`."""
        return moment.astimezone(ZoneInfo(self.time_zone)).strftime("%Y-%m-%d %H:%M %Z")


class ScheduleStatus(Wire):
    """What was made of it, and what comes next."""

    summary: Text = ""
    """Where it stands, in a sentence."""
    last: Annotated[str, Field(max_length=16)] = ""
    """When the last run that has a job was or is due, for `kubectl get`: UTC."""
    next: Annotated[str, Field(max_length=16)] = ""
    """When the next run is due, for `kubectl get`: UTC."""
    active_count: Annotated[int, Field(ge=0)] = 0
    """Jobs that have not ended."""
    active: Annotated[tuple[Name, ...], Field(max_length=MOST_HISTORY)] = ()
    """Their names, oldest run first."""
    last_run_time: Time | None = None
    """When the last run that has a job was or is due."""
    last_job: Name | None = None
    """That run's job."""
    last_successful_time: Time | None = None
    """When the newest run that succeeded was due."""
    next_run_time: Time | None = None
    """When the next run is due."""
    next_job_time: Time | None = None
    """When its job is made."""
    missed: Annotated[int, Field(ge=0)] = 0
    """Runs, since it was made, that never got a job."""
    last_missed_time: Time | None = None
    """When the newest of them was due."""
    handled_until: Time | None = None
    """Runs due until then have a job, had one or were missed."""
    times: Annotated[str, Field(max_length=256)] = ""
    """The times that handledUntil speaks of; where they change, runs are counted anew."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16, json_schema_extra=keyed_by("type"))] = ()
    """Ready: whether jobs are made, and if not, why."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation of the spec that all this speaks of."""


_NAME_MEANS: Final = (
    f"must be at most {LONGEST_SCHEDULE} lower-case letters, digits and dashes: its jobs are named by it and their time"
)
SCHEDULE_NAME_RULE: Final = (
    f"self.metadata.name.size() <= {LONGEST_SCHEDULE} && self.metadata.name.matches('{LABEL_PATTERN}')",
    f"metadata.name {_NAME_MEANS}",
)


class CarbonTrainingSchedule(Foreign):
    """A `CarbonTrainingSchedule` object (short name `cts`)."""

    api_version: Literal["carbonfleet.dev/v1alpha1"] = "carbonfleet.dev/v1alpha1"
    kind: Literal["CarbonTrainingSchedule"] = "CarbonTrainingSchedule"
    metadata: Metadata
    spec: TrainingScheduleSpec
    status: ScheduleStatus = ScheduleStatus()

    @model_validator(mode="after")
    def _names_of_jobs_are_possible(self) -> "CarbonTrainingSchedule":
        name = self.metadata.name
        if len(name) > LONGEST_SCHEDULE or not re.fullmatch(LABEL_PATTERN, name):
            wrong = InitErrorDetails(
                type=PydanticCustomError("name", _NAME_MEANS), loc=("metadata", "name"), input=name
            )
            raise ValidationError.from_exception_data("CarbonTrainingSchedule", [wrong])
        return self

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"
