"""What `status` answers as data."""

from datetime import datetime
from enum import StrEnum

from carbonfleet.cli.about.schemas import Answer


class WaitsFor(StrEnum):
    """Whom or what a job waits for."""

    PEOPLE = "people"
    """To agree, or to change a policy or the job."""
    CLEAN_HOURS = "clean hours"
    FREE_GPUS = "free GPUs"
    EARLIEST_START = "its earliest start"
    GRID_DATA = "grid data"
    SPOKE = "its spoke"
    HUB = "the hub"


class SpokeLine(Answer):
    """A spoke as `status` shows it."""

    name: str
    zone: str
    ready: bool | None
    """Null: the hub has not said yet."""
    free: str
    """GPUs of each pool, as `3/4 a100`."""
    heartbeat_time: datetime | None
    synced_commit: str
    problems: tuple[str, ...]


class JobLine(Answer):
    """A job as `status` shows it."""

    namespace: str
    name: str
    phase: str
    cluster: str | None
    waits_for: WaitsFor | None
    """Null: it waits for nothing."""
    waits_until: datetime | None
    """When it is to start, as planned now."""
    deadline: datetime | None
    """By when it must have finished."""
    what: str
    """Its summary."""


class ScheduleLine(Answer):
    """A schedule as `status` shows it."""

    namespace: str
    name: str
    schedule: str
    """Its cron expression."""
    time_zone: str
    next_run_time: datetime | None
    """When the next run is due."""
    next_job_time: datetime | None
    """When its job is made."""
    last_job: str | None
    """That of the last run that has one."""
    active: int
    """Jobs that have not ended."""
    missed: int
    """Runs that never got a job."""
    ready: bool | None
    """Whether jobs are made; null: the hub has not said yet."""
    what: str
    """Its summary."""


class StatusAnswer(Answer):
    """Of `status`."""

    spokes: tuple[SpokeLine, ...]
    jobs: tuple[JobLine, ...]
    schedules: tuple[ScheduleLine, ...]
    unread: tuple[str, ...]
    """What can't be read, and why."""
