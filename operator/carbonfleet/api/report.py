"""TrainingReport: what a spoke says of one attempt, written by that spoke alone."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from carbonfleet.api.wire import Digest, Foreign, Metadata, Name, Text, Time, Uid, Wire


class AttemptPhase(StrEnum):
    """Where an attempt is. Unknown is never Failed."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    STOPPED = "Stopped"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    REFUSED = "Refused"
    UNKNOWN = "Unknown"

    @property
    def is_terminal(self) -> bool:
        """Nothing more will happen in this attempt."""
        return self in {self.STOPPED, self.SUCCEEDED, self.FAILED, self.REFUSED}


class EnergyMethod(StrEnum):
    """How energy was found."""

    NVML = "nvml"
    DCGM = "dcgm"
    RAPL = "rapl"
    ESTIMATE = "estimate"


class JobRef(Wire):
    """The job that an attempt belongs to."""

    namespace: Name
    name: Name
    uid: Uid


class Progress(Wire):
    """How far the training is."""

    step: Annotated[int, Field(ge=0)] = 0
    total_steps: Annotated[int, Field(ge=0)] = 0
    train_loss: float | None = None
    initial_validation_loss: float | None = None
    validation_loss: float | None = None
    tokens_per_second: Annotated[float, Field(ge=0)] | None = None


class Checkpoint(Wire):
    """The last good checkpoint."""

    uri: Text
    step: Annotated[int, Field(ge=0)]
    digest: Digest | None = None
    time: Time | None = None


class PowerSample(Wire):
    """Energy used since the attempt began, at a moment."""

    time: Time
    energy_kwh: Annotated[float, Field(ge=0)]


class Energy(Wire):
    """Energy of the attempt's machines, without the building (no PUE)."""

    method: EnergyMethod
    kwh: Annotated[float, Field(ge=0)] | None = None
    samples: Annotated[tuple[PowerSample, ...], Field(max_length=512)] = ()


class ReportSpec(Wire):
    """The report itself. Of two reports on an attempt, the higher sequence of the same boot holds."""

    spoke: Name
    job: JobRef
    placement_id: Annotated[str, Field(pattern=r"^[a-z0-9]{8,64}$", max_length=64)]
    attempt: Annotated[int, Field(ge=1, le=1_000_000)]
    pool: Name
    gpus: Annotated[int, Field(ge=1)]
    phase: AttemptPhase
    reason: Annotated[str, Field(pattern=r"^[A-Za-z0-9]*$", max_length=64)] = ""
    message: Text = ""
    observed_commit: Annotated[str, Field(pattern=r"^[0-9a-f]{0,64}$", max_length=64)] = ""
    start_time: Time | None = None
    end_time: Time | None = None
    progress: Progress | None = None
    checkpoint: Checkpoint | None = None
    energy: Energy | None = None
    boot_id: Annotated[str, Field(max_length=64)] = ""
    sequence: Annotated[int, Field(ge=0)] = 0
    observed_at: Time


class TrainingReport(Foreign):
    """A `TrainingReport` object in the hub's namespace `spoke-<name>`."""

    api_version: Literal["carbonfleet.dev/v1alpha1"] = "carbonfleet.dev/v1alpha1"
    kind: Literal["TrainingReport"] = "TrainingReport"
    metadata: Metadata
    spec: ReportSpec
