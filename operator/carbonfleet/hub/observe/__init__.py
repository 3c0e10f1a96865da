"""What the hub sees in one cycle: jobs, Git, spokes and their reports, as frozen values."""

from carbonfleet.hub.observe.heartbeats import MOST_SKEW
from carbonfleet.hub.observe.job_state import (
    FINALIZER,
    IN_GIT,
    MOST_ATTEMPTS,
    JobStage,
    JobState,
    end_note,
    ended_before,
    may_try_again,
)
from carbonfleet.hub.observe.mirror import (
    JOBS,
    KINDS,
    REPORTS,
    SCHEDULES,
    SPOKES,
    Mirror,
    NoDiffs,
    on_watch_event,
)
from carbonfleet.hub.observe.observation import (
    MERGED_LATE,
    NOT_ACCOUNTED,
    AgreedMove,
    Blocker,
    LastSpoke,
    Observation,
    asks_to_replace,
)
from carbonfleet.hub.observe.observer import Observer
from carbonfleet.hub.observe.reports import rough
from carbonfleet.hub.observe.run_state import (
    RunningJob,
    has_same_spec,
    is_paused,
    may_be_replanned,
    pauses_used,
    reserved_until,
    stints_in_git,
)
from carbonfleet.hub.observe.snapshot import snapshot_of

__all__ = [
    "FINALIZER",
    "IN_GIT",
    "JOBS",
    "KINDS",
    "MERGED_LATE",
    "MOST_ATTEMPTS",
    "MOST_SKEW",
    "NOT_ACCOUNTED",
    "REPORTS",
    "SCHEDULES",
    "SPOKES",
    "AgreedMove",
    "Blocker",
    "JobStage",
    "JobState",
    "LastSpoke",
    "Mirror",
    "NoDiffs",
    "Observation",
    "Observer",
    "RunningJob",
    "asks_to_replace",
    "end_note",
    "ended_before",
    "has_same_spec",
    "is_paused",
    "may_be_replanned",
    "may_try_again",
    "on_watch_event",
    "pauses_used",
    "reserved_until",
    "rough",
    "snapshot_of",
    "stints_in_git",
]
