"""CarbonTrainingJob: what to train, within which limits, and what became of it."""

import re
from enum import StrEnum
from math import gcd
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from carbonfleet.api.job_status import (
    CandidateStatus,
    ClusterDecision,
    DecisionRecord,
    Figures,
    JobStatus,
    Phase,
    PlacementStatus,
)
from carbonfleet.api.policy import Aim, DataClass, ReviewMode
from carbonfleet.api.signal import SignalKind
from carbonfleet.api.wire import (
    LABEL_PATTERN,
    LONGEST_LABEL,
    SET,
    Duration,
    Foreign,
    GpuType,
    Jurisdiction,
    Metadata,
    Name,
    PositiveDuration,
    RegionName,
    Wire,
    WrittenTime,
    cel,
    keyed_by,
)
from carbonfleet.api.workload import (
    Checkpoints,
    Dataset,
    Image,
    LearningRateSchedule,
    Lora,
    Reference,
    Training,
    Workload,
)

__all__ = [
    "CandidateStatus",
    "CarbonTrainingJob",
    "Checkpoints",
    "ClusterDecision",
    "Dataset",
    "DecisionRecord",
    "EarlyStopping",
    "Figures",
    "Halving",
    "HardwareOption",
    "Image",
    "Interruptible",
    "JobSpec",
    "JobStatus",
    "LearningRateSchedule",
    "Lora",
    "Objective",
    "OnSignalLoss",
    "Phase",
    "PlacementStatus",
    "Reference",
    "ResidencyRequest",
    "Resources",
    "Schedule",
    "SignalLossAction",
    "Training",
    "Workload",
]


class HardwareOption(Wire):
    """The same work on another GPU type, when it needs another count or time there."""

    gpu_type: GpuType
    """The GPU model."""
    gpus: Annotated[int, Field(ge=1, le=4096)]
    """How many of it."""
    duration: PositiveDuration
    """The run's length with them."""


class Resources(Wire):
    """GPUs and time. Duration is the run's length with `gpus` GPUs of the reference type."""

    gpus: Annotated[int, Field(ge=1, le=4096)] = 1
    """How many GPUs at the same time."""
    gpu_types: Annotated[tuple[GpuType, ...], Field(max_length=32, json_schema_extra=SET)] = ()
    """The types that will do; empty means any with enough memory."""
    gpu_memory_gib: Annotated[float, Field(ge=0, le=1024)] = 0
    """The least memory of one GPU, in GiB."""
    duration: PositiveDuration
    """The run's length with `gpus` GPUs of the reference type."""
    reference_gpu: GpuType = "A100"
    """The type that `duration` was measured or estimated on."""
    options: Annotated[tuple[HardwareOption, ...], Field(max_length=16, json_schema_extra=keyed_by("gpuType"))] = ()
    """Measured figures for some types; for others the hardware profile's relative speed is used."""
    spot: bool = False
    """May run on GPUs that can be reclaimed."""


class Interruptible(Wire):
    """The run may be cut into segments, with a checkpoint between them."""

    max_pauses: Annotated[int, Field(ge=1, le=100)] = 4
    """At most so many cuts."""
    minimum_run: PositiveDuration = Field(default="1h", validate_default=True)
    """No segment is shorter."""
    overhead: Duration = Field(default="10m", validate_default=True)
    """What each pause costs in run time: checkpoint, restart, warm-up."""


class SignalLossAction(StrEnum):
    """What to do when nothing is known of the grid."""

    WAIT = "wait"
    LOCAL_HOUR = "local-hour"
    LATEST_START = "latest-start"
    NOW = "now"


class OnSignalLoss(Wire):
    """The job's own rule for when every source of carbon data has failed."""

    action: SignalLossAction = SignalLossAction.NOW
    """Start now, as no hour is known to be cleaner; or wait for data, start at a local hour, or as late as allowed."""
    local_hour: Annotated[int, Field(ge=0, le=23)] = 2
    """The hour of the spoke's local day, for local-hour."""


class ThresholdMiss(StrEnum):
    """What a job does for which no window is forecast at or below its threshold."""

    CLEANEST = "cleanest"
    WAIT = "wait"


class Schedule(
    Wire,
    json_schema_extra=cel(
        (
            "!has(self.deadline) || !has(self.earliestStart)"
            " || timestamp(self.deadline) > timestamp(self.earliestStart)",
            "deadline must be after earliestStart",
        ),
        (
            "!(has(self.maxIntensityGramsPerKwh) && has(self.maxIntensityPercentile))",
            "give maxIntensityGramsPerKwh or maxIntensityPercentile, not both",
        ),
    ),
):
    """When the job may run. What is written here stands over the tier's figures."""

    tier: Name = "standard"
    """A tier of the fleet's policies: how long, and above which intensity, the job waits."""
    max_delay: Duration | None = None
    """The longest wait for a cleaner hour, counted from submission."""
    max_intensity_grams_per_kwh: Annotated[float, Field(gt=0, le=2000)] | None = None
    """The highest mean intensity over the run, while the delay has such a window."""
    max_intensity_percentile: Annotated[float, Field(gt=0, lt=100)] | None = None
    """The same as a percentile of the zone's history."""
    on_threshold_miss: ThresholdMiss = ThresholdMiss.CLEANEST
    """Where no window within the delay is at or below the threshold: take the cleanest, or wait until its end."""
    earliest_start: WrittenTime | None = None
    """Not before."""
    deadline: WrittenTime | None = None
    """The job must have finished by then."""
    interruptible: Interruptible | None = None
    """Given, even as {}: the run may be cut into segments, with a checkpoint between them."""
    on_signal_loss: OnSignalLoss = OnSignalLoss()
    """The job's own rule for when every source of carbon data has failed."""

    @model_validator(mode="after")
    def _limits_agree(self) -> "Schedule":
        if self.deadline and self.earliest_start and self.deadline <= self.earliest_start:
            raise ValueError("deadline must be after earliestStart")
        if self.max_intensity_grams_per_kwh is not None and self.max_intensity_percentile is not None:
            raise ValueError("give maxIntensityGramsPerKwh or maxIntensityPercentile, not both")
        return self


class ResidencyRequest(
    Wire,
    json_schema_extra=cel(
        (
            "self == oldSelf",
            "residency can't be changed; delete the job and create it again",
        )
    ),
):
    """What the data is, and any narrower limits than the policy's. It can't be changed later."""

    data_class: DataClass
    """A class that the fleet's policies know, such as public or eu-personal."""
    allowed_regions: Annotated[tuple[RegionName, ...], Field(max_length=64, json_schema_extra=SET)] = ()
    """Only these provider regions; empty leaves it to the policies."""
    allowed_jurisdictions: Annotated[tuple[Jurisdiction, ...], Field(max_length=16, json_schema_extra=SET)] = ()
    """Only these legal areas; empty leaves it to the policies."""


class Objective(Aim):
    """The least carbon, the least cost, or the least of both by a carbon price; within limits.

    What is left out is as the policies say; of two cost tolerances the smaller holds.
    """

    max_cost_usd: Annotated[float, Field(gt=0, le=1_000_000_000)] | None = None
    """The job is blocked where it would cost more."""
    carbon_budget_kg: Annotated[float, Field(gt=0, le=1_000_000_000)] | None = None
    """The job is blocked where it would emit more, in kg CO2e."""


class Halving(Wire):
    """Successive halving of a sweep's jobs, in which nobody waits for others (ASHA)."""

    rungs_percent: Annotated[
        tuple[Annotated[int, Field(ge=1, le=99)], ...], Field(min_length=1, max_length=16, json_schema_extra=SET)
    ]
    """Where losses are compared, in percent of the steps; a validation must fall on each."""
    eta: Annotated[int, Field(ge=2, le=16)] = 3
    """At a rung one in so many goes on, rounded up: the best by loss of those that have reached it so far."""
    minimum: Annotated[int, Field(ge=1, le=1000)] = 2
    """Of the first so many at a rung nobody is stopped."""

    @property
    def fewest_validations(self) -> int:
        """As few, evenly over the run, as fall on each rung."""
        return 100 // gcd(100, *self.rungs_percent)


class EarlyStopping(Halving):
    """Stops the job where it falls behind others of its sweep."""

    sweep: Name
    """Jobs of one namespace, sweep and rule are compared."""


def cel_seconds(duration: str) -> str:
    """In CEL the seconds of a duration of ours; CEL's own durations know no days."""
    units = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
    counts = (f"{duration}.findAll('[0-9]+{unit}').map(n, int(n.replace('{unit}', '')))" for unit, _ in units)
    return " + ".join(f"{count}.sum() * {seconds}" for count, (_, seconds) in zip(counts, units, strict=True))


_NO_VALIDATION_THERE: Final = (
    "earlyStopping.rungsPercent must lie where validations do: 10 and 30 need workload.training.validations of 10, "
    "or of 20"
)


class JobSpec(
    Wire,
    json_schema_extra=cel(
        (
            "!has(self.schedule.interruptible) || !has(self.schedule.interruptible.minimumRun)"
            f" || {cel_seconds('self.schedule.interruptible.minimumRun')} <= {cel_seconds('self.resources.duration')}",
            "schedule.interruptible.minimumRun must not be longer than resources.duration",
        ),
        (
            "!has(self.earlyStopping) || (has(self.workload.training) && has(self.workload.training.validations) && "
            "self.earlyStopping.rungsPercent.all(r, r * self.workload.training.validations % 100 == 0))",
            _NO_VALIDATION_THERE,
        ),
    ),
):
    """What the user asks for."""

    workload: Workload
    """What runs."""
    resources: Resources
    """GPUs and time."""
    residency: ResidencyRequest
    """What the data is, and any narrower limits than the policy's. It can't be changed later."""
    schedule: Schedule = Schedule()
    """When the job may run. What is written here stands over the tier's figures."""
    objective: Objective = Objective()
    """The least carbon, the least cost, or the least of both by a carbon price; within limits."""
    review: ReviewMode = ReviewMode.AUTO
    """Whether people must agree before the placement is committed; a stricter policy wins."""
    baseline_region: RegionName | None = None
    """Where the job would have run without carbonfleet; left out, the fleet's default baseline."""
    signal: SignalKind = SignalKind.AVERAGE_LIFECYCLE
    """The kind of carbon figure to decide and account with."""
    early_stopping: EarlyStopping | None = None
    """Of a job of a sweep: where it is stopped early."""

    @model_validator(mode="after")
    def _a_segment_fits(self) -> "JobSpec":
        cuts = self.schedule.interruptible
        if cuts and cuts.minimum_run > self.resources.duration:
            raise ValueError("schedule.interruptible.minimumRun must not be longer than resources.duration")
        return self

    @model_validator(mode="after")
    def _a_validation_falls_on_each_rung(self) -> "JobSpec":
        rungs = self.early_stopping.rungs_percent if self.early_stopping else ()
        if any(percent * (self.workload.training.validations or 1) % 100 for percent in rungs):
            raise ValueError(_NO_VALIDATION_THERE)
        return self


_NAME_MEANS: Final = (
    f"must be at most {LONGEST_LABEL} lower-case letters, digits and dashes: files and RayJobs are named by it"
)
NAME_RULE: Final = (
    f"self.metadata.name.size() <= {LONGEST_LABEL} && self.metadata.name.matches('{LABEL_PATTERN}')",
    f"metadata.name {_NAME_MEANS}",
)
"""A job of any other name that Kubernetes takes could never be placed."""


class CarbonTrainingJob(Foreign):
    """A `CarbonTrainingJob` object (short name `ctj`)."""

    api_version: Literal["carbonfleet.dev/v1alpha1"] = "carbonfleet.dev/v1alpha1"
    kind: Literal["CarbonTrainingJob"] = "CarbonTrainingJob"
    metadata: Metadata
    spec: JobSpec
    status: JobStatus = JobStatus()

    @model_validator(mode="after")
    def _can_be_placed(self) -> "CarbonTrainingJob":
        name = self.metadata.name
        if len(name) > LONGEST_LABEL or not re.fullmatch(LABEL_PATTERN, name):
            wrong = InitErrorDetails(
                type=PydanticCustomError("name", _NAME_MEANS), loc=("metadata", "name"), input=name
            )
            raise ValidationError.from_exception_data("CarbonTrainingJob", [wrong])
        return self

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"
