"""One table from the states of a RayJob to the phase of an attempt; every reader of RayJobs follows it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from carbonfleet.api.report import AttemptPhase

ANY: Final = "*"
DEPLOYMENT_STATES: Final = (
    "",
    "Initializing",
    "Running",
    "Complete",
    "Failed",
    "ValidationFailed",
    "Suspending",
    "Suspended",
    "Retrying",
    "Waiting",
)
"""`status.jobDeploymentStatus` of ray.io/v1 RayJob, as of KubeRay 1.7.0."""
JOB_STATES: Final = ("", "PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED")
"""`status.jobStatus`."""


class Health(StrEnum):
    """What Flux and Argo CD should make of a state; Argo CD's words."""

    PROGRESSING = "Progressing"
    HEALTHY = "Healthy"
    SUSPENDED = "Suspended"
    DEGRADED = "Degraded"


@dataclass(frozen=True, slots=True)
class RayJobState:
    """One row: the two states (`*` is any), and what they mean."""

    deployment: str
    job: str
    phase: AttemptPhase
    reason: str
    """CamelCase, where KubeRay gives none of its own."""
    health: Health

    def matches(self, deployment: str, job: str) -> bool:
        """Whether the row speaks of these states."""
        return self.deployment in (ANY, deployment) and self.job in (ANY, job)


RAYJOB_STATES: Final = (
    # Terminal even when the spec is repaired: KubeRay never looks at such a job again.
    RayJobState("ValidationFailed", ANY, AttemptPhase.FAILED, "ValidationFailed", Health.DEGRADED),
    RayJobState("Failed", ANY, AttemptPhase.FAILED, "RayJobFailed", Health.DEGRADED),
    RayJobState("Complete", "SUCCEEDED", AttemptPhase.SUCCEEDED, "", Health.HEALTHY),
    RayJobState("Complete", "FAILED", AttemptPhase.FAILED, "AppFailed", Health.DEGRADED),
    RayJobState("Complete", "STOPPED", AttemptPhase.STOPPED, "StoppedOnSpoke", Health.DEGRADED),
    RayJobState("Suspended", ANY, AttemptPhase.SUSPENDED, "Suspended", Health.SUSPENDED),
    # Its pods may still write a checkpoint: not yet a confirmed stop.
    RayJobState("Suspending", ANY, AttemptPhase.RUNNING, "Suspending", Health.PROGRESSING),
    RayJobState("Retrying", ANY, AttemptPhase.PENDING, "Retrying", Health.PROGRESSING),
    RayJobState("Waiting", ANY, AttemptPhase.PENDING, "Waiting", Health.PROGRESSING),
    RayJobState("Initializing", ANY, AttemptPhase.PENDING, "Initializing", Health.PROGRESSING),
    RayJobState("Running", "RUNNING", AttemptPhase.RUNNING, "", Health.HEALTHY),
    RayJobState("Running", "", AttemptPhase.PENDING, "Submitting", Health.HEALTHY),
    RayJobState("Running", "PENDING", AttemptPhase.PENDING, "Submitting", Health.HEALTHY),
    # The application has ended; KubeRay will say so when it has seen its submitter end.
    RayJobState("Running", "SUCCEEDED", AttemptPhase.RUNNING, "Finishing", Health.HEALTHY),
    RayJobState("Running", "FAILED", AttemptPhase.RUNNING, "Finishing", Health.DEGRADED),
    RayJobState("Running", "STOPPED", AttemptPhase.RUNNING, "Finishing", Health.DEGRADED),
    RayJobState("", ANY, AttemptPhase.PENDING, "New", Health.PROGRESSING),
)
"""Read from the top; the first row that matches holds."""

UNKNOWN_STATE: Final = RayJobState(ANY, ANY, AttemptPhase.UNKNOWN, "UnknownRayJobState", Health.PROGRESSING)
"""For states that a later KubeRay may add: unknown is never failed."""


def rayjob_state(deployment: str, job: str) -> RayJobState:
    """The row for a RayJob's `jobDeploymentStatus` and `jobStatus`."""
    return next((row for row in RAYJOB_STATES if row.matches(deployment, job)), UNKNOWN_STATE)
