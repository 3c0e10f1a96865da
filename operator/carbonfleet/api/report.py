"""TrainingReport: what a spoke says of one attempt, written by that spoke alone."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from carbonfleet.api.wire import Digest, Foreign, Metadata, Name, Text, Time, Uid, Wire, cel
from carbonfleet.api.workload import MOST_VALIDATIONS


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
    PROMETHEUS = "prometheus"
    ESTIMATE = "estimate"


AttemptNumber = Annotated[int, Field(ge=1, le=1_000_000)]
PlacementId = Annotated[str, Field(pattern=r"^[a-z0-9]{8,64}$", max_length=64)]
MOST_STEPS: Final = 10**12
"""Of a training: 300,000 years at ten a second, and far from what a float can't hold."""


class FiniteFigures(Wire):
    """What was read from a meter or a training: figures, never infinities."""

    model_config = ConfigDict(allow_inf_nan=False)


class JobRef(Wire):
    """The job that an attempt belongs to."""

    namespace: Name
    """The job's namespace on the hub."""
    name: Name
    """The job's name."""
    uid: Uid
    """The job's UID, which tells it from an earlier one of the same name."""


class Validation(FiniteFigures):
    """A measurement on the validation split."""

    step: Annotated[int, Field(ge=1, le=MOST_STEPS)]
    """After which step."""
    loss: Annotated[float, Field(ge=0)]
    """In nats per response token."""
    time: Time
    """When the spoke saw it first."""


class Progress(FiniteFigures):
    """How far the training is."""

    step: Annotated[int, Field(ge=0, le=MOST_STEPS)] = 0
    """Optimiser steps done."""
    total_steps: Annotated[int, Field(ge=0, le=MOST_STEPS)] = 0
    """Steps of the whole run; 0 while unknown."""
    train_loss: float | None = None
    """Loss on the training split, lately."""
    initial_validation_loss: float | None = None
    """Loss on the validation split before the first step."""
    validation_loss: float | None = None
    """Loss on the validation split, last measured."""
    validations: Annotated[tuple[Validation, ...], Field(max_length=MOST_VALIDATIONS)] = ()
    """Every loss on the validation split after the first step, by step."""
    tokens_per_second: Annotated[float, Field(ge=0)] | None = None
    """Training speed."""
    first_step_time: Time | None = None
    """When the attempt's first step was done: less its start, what loading cost; less the job's creation, the wait."""


class Checkpoint(FiniteFigures):
    """The last good checkpoint."""

    uri: Text
    """Where it is stored."""
    step: Annotated[int, Field(ge=0, le=MOST_STEPS)]
    """The step that it was taken after."""
    digest: Digest | None = None
    """Of its content."""
    time: Time | None = None
    """When it was written."""


class RunLog(Wire):
    """What the training printed."""

    uri: Text = ""
    """Where the last 256 KiB of it are kept; empty while nothing is."""
    tail: Text = ""
    """The last lines."""


class PowerSample(FiniteFigures):
    """Energy used since the attempt began, at a moment."""

    time: Time
    """The moment."""
    energy_kwh: Annotated[float, Field(ge=0)]
    """Energy since the attempt began."""


class Energy(FiniteFigures):
    """Energy of the attempt's machines, without the building (no PUE)."""

    method: EnergyMethod
    """How it was found."""
    kwh: Annotated[float, Field(ge=0)] | None = None
    """The whole, when known."""
    samples: Annotated[tuple[PowerSample, ...], Field(max_length=512)] = ()
    """The same over time, oldest first."""
    host_kwh: Annotated[float, Field(ge=0)] | None = None
    """Of the machines' CPUs and memory, where they were measured beside `kwh`, which does not hold them."""
    covers_host: bool = False
    """Whether the meter counts whole machines, not GPUs alone; RAPL's always does."""
    estimated_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The part of both that stands for what a meter could not read."""


class Stint(Wire):
    """A time in which the attempt held its GPUs; pauses lie between stints."""

    start: Time
    """When it began to run, or went on after a pause."""
    end: Time | None = None
    """When it paused or ended; left out while it runs."""


class ReportSpec(
    Wire,
    json_schema_extra=cel(
        (
            "self.placementId == oldSelf.placementId && self.attempt == oldSelf.attempt",
            "a report stays with its attempt: write another object for another attempt",
        ),
        (
            "!has(self.bootId) || !has(oldSelf.bootId) || self.bootId != oldSelf.bootId"
            " || self.sequence >= oldSelf.sequence",
            "a newer report of the same boot is already here",
        ),
    ),
):
    """The report itself. Of two reports on an attempt, the higher sequence of the same boot holds."""

    spoke: Name
    """The spoke that writes this."""
    job: JobRef
    """The job that the attempt belongs to."""
    placement_id: PlacementId
    """The placement in Git that it runs."""
    attempt: AttemptNumber
    """Which run of the job it is."""
    pool: Name
    """The GPU pool it runs in."""
    gpus: Annotated[int, Field(ge=1)]
    """How many GPUs it holds while it runs."""
    phase: AttemptPhase
    """Where the attempt is. Unknown is never Failed."""
    reason: Annotated[str, Field(pattern=r"^[A-Za-z0-9]*$", max_length=64)] = ""
    """Why, in one stable word."""
    message: Text = ""
    """Why, in a sentence for people."""
    observed_commit: Annotated[str, Field(pattern=r"^[0-9a-f]{0,64}$", max_length=64)] = ""
    """The fleet repository's commit that the agent saw."""
    start_time: Time | None = None
    """When the attempt began to run."""
    end_time: Time | None = None
    """When it ended."""
    stints: Annotated[tuple[Stint, ...], Field(max_length=128)] = ()
    """When it held its GPUs, oldest first; empty from an agent that does not say."""
    progress: Progress | None = None
    """How far the training is."""
    checkpoint: Checkpoint | None = None
    """The last good checkpoint."""
    energy: Energy | None = None
    """Energy of the attempt's machines, without the building (no PUE)."""
    log: RunLog | None = None
    """What the training printed."""
    boot_id: Annotated[str, Field(max_length=64)] = ""
    """The agent's start that wrote this; within one, the sequence rises."""
    sequence: Annotated[int, Field(ge=0)] = 0
    """Rises with each report of a boot."""
    observed_at: Time
    """When the agent saw this."""


def stints_of(report: ReportSpec) -> tuple[Stint, ...]:
    """When an attempt held its GPUs; all the time from start to end where its agent does not say."""
    if report.stints or report.start_time is None:
        return report.stints
    return (Stint(start=report.start_time, end=report.end_time),)


class TrainingReport(Foreign):
    """A `TrainingReport` object in the hub's namespace `spoke-<name>`."""

    api_version: Literal["carbonfleet.dev/v1alpha1"] = "carbonfleet.dev/v1alpha1"
    kind: Literal["TrainingReport"] = "TrainingReport"
    metadata: Metadata
    spec: ReportSpec
