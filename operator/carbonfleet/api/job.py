"""CarbonTrainingJob: what to train, within which limits, and what became of it."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from carbonfleet.api.condition import Condition
from carbonfleet.api.policy import DataClass, ReviewMode
from carbonfleet.api.report import Checkpoint, Progress
from carbonfleet.api.signal import SignalKind
from carbonfleet.api.wire import (
    Duration,
    Foreign,
    GpuType,
    Jurisdiction,
    Metadata,
    Name,
    RegionName,
    Text,
    Time,
    Wire,
)

Reference = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/@:+-]*$")]
"""A name, path or URL without spaces, quotes or shell characters."""
Image = Annotated[str, Field(max_length=512, pattern=r"^[a-z0-9][A-Za-z0-9._/:@-]*$")]


class Dataset(Wire):
    """The instruction data: how large it is and where it lives decide what moving it costs."""

    name: Reference
    """A dataset's name, or the path or URL of a JSONL file."""
    samples: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    size_gib: Annotated[float, Field(ge=0, le=1_000_000)] = 0.0
    region: RegionName | None = None
    """The provider region where it is stored; left out, moving it costs nothing."""


class Lora(Wire):
    """The adapter's shape."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    alpha: Annotated[float, Field(gt=0, le=4096)] = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    target_modules: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=64)], ...], Field(max_length=32)
    ] = ()
    """Left empty: all linear projections."""


class LearningRateSchedule(StrEnum):
    """How the learning rate changes over the run."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


class Training(Wire):
    """Hyperparameters. Give steps or epochs."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-4
    schedule: LearningRateSchedule = LearningRateSchedule.COSINE
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.03
    epochs: Annotated[float, Field(gt=0, le=1000)] | None = None
    steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 8
    """Samples of one worker and step."""
    gradient_accumulation: Annotated[int, Field(ge=1, le=4096)] = 1
    sequence_length: Annotated[int, Field(ge=8, le=1_048_576)] = 1024
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0

    @model_validator(mode="after")
    def _one_length(self) -> "Training":
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give epochs or steps, not both")
        return self


class Checkpoints(Wire):
    """How often, and where, the run saves itself."""

    every: Duration = Field(default="30m", validate_default=True)
    every_steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Counted in steps in place of time."""
    uri: Reference | None = None
    """A path or object store URL that all spokes reach; left out, the spoke's own store."""
    size_gib: Annotated[float, Field(ge=0, le=10_000)] = 0.5
    """Size of one checkpoint, for what a move costs."""


class Workload(Wire):
    """What runs."""

    image: Image = "carbonfleet/lora:latest"
    model: Reference
    """A causal language model by name or path."""
    dataset: Dataset
    lora: Lora = Lora()
    training: Training = Training()
    checkpoints: Checkpoints = Checkpoints()


class HardwareOption(Wire):
    """The same work on another GPU type, when it needs another count or time there."""

    gpu_type: GpuType
    gpus: Annotated[int, Field(ge=1, le=4096)]
    duration: Duration


class Resources(Wire):
    """GPUs and time. Duration is the run's length with `gpus` GPUs of the reference type."""

    gpus: Annotated[int, Field(ge=1, le=4096)] = 1
    gpu_types: Annotated[tuple[GpuType, ...], Field(max_length=32)] = ()
    """The types that will do; empty means any with enough memory."""
    gpu_memory_gib: Annotated[float, Field(ge=0, le=1024)] = 0
    duration: Duration
    reference_gpu: GpuType = "A100"
    options: Annotated[tuple[HardwareOption, ...], Field(max_length=16)] = ()
    """Measured figures for some types; for others the hardware profile's relative speed is used."""
    spot: bool = False
    """May run on GPUs that can be reclaimed."""


class Interruptible(Wire):
    """The run may be cut into segments, with a checkpoint between them."""

    max_pauses: Annotated[int, Field(ge=1, le=100)] = 4
    minimum_run: Duration = Field(default="1h", validate_default=True)
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

    action: SignalLossAction = SignalLossAction.LATEST_START
    local_hour: Annotated[int, Field(ge=0, le=23)] = 2
    """The hour of the spoke's local day, for local-hour."""


class Schedule(Wire):
    """When the job may run. What is written here stands over the tier's figures."""

    tier: Name = "standard"
    max_delay: Duration | None = None
    """The longest wait for a cleaner hour, counted from submission."""
    max_intensity_grams_per_kwh: Annotated[float, Field(gt=0, le=2000)] | None = None
    max_intensity_percentile: Annotated[float, Field(gt=0, lt=100)] | None = None
    earliest_start: Time | None = None
    deadline: Time | None = None
    """The job must have finished by then."""
    interruptible: Interruptible | None = None
    on_signal_loss: OnSignalLoss = OnSignalLoss()


class ResidencyRequest(Wire):
    """What the data is, and any narrower limits than the policy's. It can't be changed later."""

    data_class: DataClass
    allowed_regions: Annotated[tuple[RegionName, ...], Field(max_length=64)] = ()
    allowed_jurisdictions: Annotated[tuple[Jurisdiction, ...], Field(max_length=16)] = ()


class Goal(StrEnum):
    """What the choice of place and time makes small."""

    COMPOSITE = "composite"
    CARBON = "carbon"
    COST = "cost"


class Objective(Wire):
    """Cost plus carbon price times carbon, or one of the two alone, within limits."""

    minimize: Goal = Goal.COMPOSITE
    carbon_price_usd_per_tonne: Annotated[float, Field(ge=0, le=100_000)] = 50.0
    max_cost_usd: Annotated[float, Field(gt=0)] | None = None
    carbon_budget_kg: Annotated[float, Field(gt=0)] | None = None


class JobSpec(Wire):
    """What the user asks for."""

    workload: Workload
    resources: Resources
    residency: ResidencyRequest
    schedule: Schedule = Schedule()
    objective: Objective = Objective()
    review: ReviewMode = ReviewMode.AUTO
    baseline_region: RegionName | None = None
    """Where the job would have run without carbonfleet; left out, the fleet's default baseline."""
    signal: SignalKind = SignalKind.AVERAGE_LIFECYCLE
    """The kind of carbon figure to decide and account with."""


class Phase(StrEnum):
    """Where a job is, in one word."""

    PENDING = "Pending"
    WAITING = "Waiting"
    BLOCKED = "Blocked"
    PROPOSED = "Proposed"
    COMMITTED = "Committed"
    RUNNING = "Running"
    PAUSED = "Paused"
    MOVING = "Moving"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    REJECTED = "Rejected"
    CANCELLED = "Cancelled"

    @property
    def is_terminal(self) -> bool:
        """Nothing more will happen to this generation of the job."""
        return self in {self.SUCCEEDED, self.FAILED, self.CANCELLED}


class CandidateStatus(Wire):
    """One spoke and pool as the planner saw it: why not, or at what score."""

    cluster: Name
    pool: Name | None = None
    verdict: Literal["Chosen", "Feasible", "Filtered"]
    reason: Annotated[str, Field(max_length=64)] = ""
    message: Text = ""
    start: Time | None = None
    score_usd: float | None = None
    """Cost plus carbon price times carbon, of the best window here."""
    cost_usd: float | None = None
    grams_co2e: float | None = None
    energy_kwh: float | None = None
    grams_per_kwh_now: float | None = None
    grams_per_kwh_window: float | None = None
    source: Annotated[str, Field(max_length=128)] = ""
    data_age: Duration | None = None


class ClusterDecision(Wire):
    """The duck type that Argo CD's cluster-decision generator reads."""

    cluster_name: Name
    reason: Annotated[str, Field(max_length=64)] = ""


class PlacementStatus(Wire):
    """The placement in Git."""

    cluster: Name
    pool: Name
    attempt: Annotated[int, Field(ge=1)]
    placement_id: Annotated[str, Field(max_length=64)]
    start: Time
    path: Annotated[str, Field(max_length=512)]
    commit: Annotated[str, Field(max_length=64)] = ""
    branch: Annotated[str, Field(max_length=128)] = ""
    review_url: Annotated[str, Field(max_length=512)] = ""


class Figures(Wire):
    """Energy, carbon and cost, expected or measured."""

    energy_kwh: float
    grams_co2e: float
    grams_per_kwh: float
    baseline_grams_co2e: float | None = None
    saved_grams_co2e: float | None = None
    """Baseline less ours; negative when we did worse."""
    saved_percent: float | None = None
    cost_usd: float | None = None
    method: Annotated[str, Field(max_length=64)] = ""
    """How the energy was found: measured, or a profile's estimate."""


class DecisionRecord(Wire):
    """A decision as it is kept: in the status, in the placement's file, in a pull request, in `explain`."""

    outcome: Annotated[str, Field(max_length=16)]
    reason: Annotated[str, Field(max_length=64)]
    message: Text
    cluster: Annotated[str, Field(max_length=63)] = ""
    pool: Annotated[str, Field(max_length=63)] = ""
    start: Time | None = None
    end: Time | None = None
    recheck_at: Time | None = None
    expected: Figures | None = None
    grams_per_kwh: float | None = None
    candidates: Annotated[tuple[CandidateStatus, ...], Field(max_length=20)] = ()
    candidates_total: Annotated[int, Field(ge=0)] = 0
    policy_digest: Annotated[str, Field(max_length=71)] = ""
    digest: Annotated[str, Field(max_length=71)] = ""
    decided_at: Time


class JobStatus(Wire):
    """What the hub writes."""

    phase: Phase = Phase.PENDING
    observed_generation: Annotated[int, Field(ge=0)] = 0
    summary: Text = ""
    """One sentence: where, when, why."""
    cluster: Annotated[str, Field(max_length=63)] = ""
    start: Time | None = None
    recheck_at: Time | None = None
    grams_per_kwh: float | None = None
    saved: Annotated[str, Field(max_length=32)] = ""
    """For people: `812 g (94 %)`, with ~ before what is only expected."""
    attempt: Annotated[int, Field(ge=0)] = 0
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16)] = ()
    candidates: Annotated[tuple[CandidateStatus, ...], Field(max_length=20)] = ()
    candidates_total: Annotated[int, Field(ge=0)] = 0
    decisions: Annotated[tuple[ClusterDecision, ...], Field(max_length=1)] = ()
    placement: PlacementStatus | None = None
    expected: Figures | None = None
    actual: Figures | None = None
    progress: Progress | None = None
    last_good_checkpoint: Checkpoint | None = None
    decision_digest: Annotated[str, Field(max_length=71)] = ""


class CarbonTrainingJob(Foreign):
    """A `CarbonTrainingJob` object (short name `ctj`)."""

    api_version: Literal["carbonfleet.dev/v1alpha1"] = "carbonfleet.dev/v1alpha1"
    kind: Literal["CarbonTrainingJob"] = "CarbonTrainingJob"
    metadata: Metadata
    spec: JobSpec
    status: JobStatus = JobStatus()

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"
