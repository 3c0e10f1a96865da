"""What became of a job: its phase, conditions, candidates and figures, written by the hub alone."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from carbonfleet.api.condition import Condition
from carbonfleet.api.problems import name_of, problems_of
from carbonfleet.api.report import AttemptNumber, AttemptPhase, Checkpoint, Progress, RunLog
from carbonfleet.api.wire import Duration, Name, Text, Time, Wire, keyed_by

MOST_HOURS: Final = 96
"""Of a decision's course that are kept."""
MOST_LOGS: Final = 8
"""Attempts whose logs a status names."""


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
    STOPPED_EARLY = "StoppedEarly"

    @property
    def is_terminal(self) -> bool:
        """Nothing more will happen to this generation of the job."""
        return self in {self.SUCCEEDED, self.FAILED, self.CANCELLED, self.STOPPED_EARLY}


class CandidateStatus(Wire):
    """One spoke and pool as the planner saw it: why not, or at what score."""

    cluster: Name
    """The spoke's name."""
    pool: Name | None = None
    """The GPU pool of its best window."""
    verdict: Literal["Chosen", "Feasible", "Filtered"]
    """How it fared."""
    reason: Annotated[str, Field(max_length=64)] = ""
    """The rule that filtered it, or why it was (not) chosen."""
    message: Text = ""
    """The same in a sentence."""
    start: Time | None = None
    """When its best window begins."""
    score_usd: float | None = None
    """Of the best window here, what the choice makes small: cost, carbon at its price, or both."""
    cost_usd: float | None = None
    """Expected price of the GPUs and of moving data."""
    grams_co2e: float | None = None
    """Expected emissions, with PUE, data transfer and the hardware's share."""
    energy_kwh: float | None = None
    """Expected energy of the machines, without PUE."""
    grams_per_kwh_now: float | None = None
    """The zone's carbon intensity when this was decided."""
    grams_per_kwh_window: float | None = None
    """Its expected mean over the window."""
    source: Annotated[str, Field(max_length=128)] = ""
    """Where the carbon figures come from."""
    price_source: Annotated[str, Field(max_length=64)] = ""
    """Who named the GPUs' price, where that is not the cluster file."""
    data_age: Duration | None = None
    """How old the newest measured value was."""


class ClusterDecision(Wire):
    """The duck type that Argo CD's cluster-decision generator reads."""

    cluster_name: Name
    """The spoke that the job goes to."""
    reason: Annotated[str, Field(max_length=64)] = ""
    """Why, in one word."""


class PlacementStatus(Wire):
    """The placement in Git."""

    cluster: Name
    """The spoke that it is for."""
    pool: Name
    """The GPU pool there."""
    attempt: Annotated[int, Field(ge=1)]
    """Which run of the job it is."""
    placement_id: Annotated[str, Field(max_length=64)]
    """The same for one job, generation and attempt, so that it is committed once."""
    start: Time
    """When it is to start."""
    path: Annotated[str, Field(max_length=512)]
    """The file in the fleet repository."""
    commit: Annotated[str, Field(max_length=64)] = ""
    """The commit that holds it."""


class Quantiles(Wire):
    """What is as likely to be undercut in one of ten cases, in five, in nine."""

    p10: float
    """Less in one of ten cases."""
    p50: float
    """Less as often as more."""
    p90: float
    """More in one of ten cases."""


class TimeQuantiles(Wire):
    """The same of a time."""

    p10: Time
    """Earlier in one of ten cases."""
    p50: Time
    """Earlier as often as later."""
    p90: Time
    """Later in one of ten cases."""


class RunLengthStatus(Wire):
    """How long a whole run takes on the chosen GPUs, without start-up and pauses."""

    declared_hours: float
    """As the job declares it."""
    measured_hours: float | None = None
    """As runs of the same model, samples and length took on the same GPUs: their median, of three runs or more."""
    runs: Annotated[int, Field(ge=0)] = 0
    """How many were looked at."""


class PromiseStatus(Wire):
    """What is expected, with its doubt: from what plans like it got wrong so far, and what such runs took."""

    start: TimeQuantiles
    """When it starts; it may be planned again until then."""
    finish: TimeQuantiles
    """When it has finished: the 90th percentile is what is promised."""
    grams_co2e: Quantiles
    """Emissions."""
    saved_grams_co2e: Quantiles | None = None
    """Baseline less ours."""
    run_length: RunLengthStatus | None = None
    """The whole run's length, as declared and as measured."""


class Figures(Wire):
    """Energy, carbon and cost, expected or measured."""

    energy_kwh: float
    """Energy of the machines, without PUE."""
    grams_co2e: float
    """Emissions, with PUE, data transfer and the hardware's share."""
    doubt_grams_co2e: float | None = None
    """Of what is expected: its standard error."""
    grams_per_kwh: float
    """Mean carbon intensity of the energy used."""
    transfer_grams_co2e: float | None = None
    """The part of it for moving data."""
    baseline_grams_co2e: float | None = None
    """What the baseline region would have emitted."""
    baseline_region: Annotated[str, Field(max_length=63)] = ""
    """Which region that is."""
    saved_grams_co2e: float | None = None
    """Baseline less ours; negative when we did worse."""
    saved_percent: float | None = None
    """The same in percent of the baseline."""
    cost_usd: float | None = None
    """Price of the GPUs and of moving data."""
    promise: PromiseStatus | None = None
    """Of what is expected: its 10th, 50th and 90th percentiles."""
    method: Annotated[str, Field(max_length=64)] = ""
    """How the energy was found: measured, or a profile's estimate."""
    attempts: Annotated[int, Field(ge=1)] | None = None
    """Of figures that were accounted: the attempts that they are the sum of."""

    @property
    def grams_spread(self) -> tuple[float, float, float] | None:
        """P10, P50 and P90 of the emissions, where they are promised."""
        promised = self.promise.grams_co2e if self.promise else None
        return (promised.p10, promised.p50, promised.p90) if promised else None


class Segment(Wire):
    """A time in which a job is to run."""

    start: Time
    """When it begins."""
    end: Time
    """When it ends, or pauses."""


class RungStatus(Wire):
    """How a job stood beside those of its sweep when it reached a rung of `earlyStopping`."""

    percent: int
    """Of its steps: the rung."""
    step: int
    """The step of the validation that counts there."""
    validation_loss: float
    """Its own."""
    time: Time
    """When its spoke saw that."""
    rank: int
    """By loss, from 1, among those that had reached the rung, itself included."""
    reached: int
    """How many had."""
    kept: int
    """How many of them go on."""
    cut_loss: float
    """The highest loss that goes on."""
    goes_on: bool
    """False: it was stopped here."""


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
    segments: Annotated[tuple[Segment, ...], Field(max_length=128)] = ()
    """Of a run with pauses between them; empty for a run in one piece."""
    course: Annotated[tuple[float, ...], Field(max_length=MOST_HOURS)] = ()
    """Expected intensity of the chosen zone hour by hour, in g/kWh, from the UTC hour of the start on."""
    candidates: Annotated[tuple[CandidateStatus, ...], Field(max_length=20)] = ()
    candidates_total: Annotated[int, Field(ge=0)] = 0
    policy_digest: Annotated[str, Field(max_length=71)] = ""
    digest: Annotated[str, Field(max_length=71)] = ""
    hub: Annotated[str, Field(max_length=64)] = ""
    """Which hub cluster decided: the UID of its namespace kube-system."""
    decided_at: Time


class AttemptLog(RunLog):
    """What the training of one attempt printed."""

    attempt: AttemptNumber
    """Which run of the job."""
    cluster: Name
    """The spoke that it was on."""
    phase: AttemptPhase
    """Where it is, as that spoke said last."""


class JobStatus(Wire):
    """What the hub writes."""

    phase: Phase = Phase.PENDING
    """Where the job is, in one word."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation of the spec that this status speaks of."""
    summary: Text = ""
    """One sentence: where, when, why."""
    cluster: Annotated[str, Field(max_length=63)] = ""
    """The spoke it goes to, waits for, or ran on."""
    start: Time | None = None
    """When it starts, is planned to start, or started."""
    when: Annotated[str, Field(max_length=16)] = ""
    """For people: the same as `12-16 06:45`, in UTC."""
    first_start: Time | None = None
    """When the first attempt began to run: less the job's creation, how long it waited."""
    recheck_at: Time | None = None
    """When it is planned again at the latest."""
    grams_per_kwh: float | None = None
    """Carbon intensity of the chosen window, expected; in the end what really held."""
    saved: Annotated[str, Field(max_length=32)] = ""
    """For people: `812 g (94 %)`, with ~ before what is only expected."""
    attempt: Annotated[int, Field(ge=0)] = 0
    """Which run of the job this is; 0 before the first."""
    pauses: Annotated[int, Field(ge=0)] = 0
    """How often it was paused, moved or interrupted so far."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16, json_schema_extra=keyed_by("type"))] = ()
    """In the order in which they come true; Ready sums them up."""
    candidates: Annotated[tuple[CandidateStatus, ...], Field(max_length=20)] = ()
    """The spokes as the planner saw them: the chosen one first, then by score, then the filtered."""
    candidates_total: Annotated[int, Field(ge=0)] = 0
    """How many there were before the list was cut at 20."""
    decisions: Annotated[tuple[ClusterDecision, ...], Field(max_length=1)] = ()
    """Where the job goes, in the form that Argo CD's cluster-decision generator reads."""
    placement: PlacementStatus | None = None
    """The placement in Git."""
    expected: Figures | None = None
    """Energy, carbon and cost as planned."""
    actual: Figures | None = None
    """Energy, carbon and cost as accounted, of all attempts that have ended."""
    progress: Progress | None = None
    """How far the training is."""
    rungs: Annotated[tuple[RungStatus, ...], Field(max_length=16)] = ()
    """Of a sweep that stops early: how it stood at each rung that it reached."""
    last_good_checkpoint: Checkpoint | None = None
    """From where the next attempt would go on."""
    logs: Annotated[tuple[AttemptLog, ...], Field(max_length=MOST_LOGS)] = ()
    """What the trainings of the last attempts printed, oldest first; `carbonfleet logs` shows it."""
    decision_digest: Annotated[str, Field(max_length=71)] = ""
    """Digest of the decision, as in the commit's trailers."""
    replaced: Annotated[str, Field(max_length=256)] = ""
    """The last value of the `replace` annotation that was acted upon."""

    def to_wire(self) -> dict[str, Any]:
        """The JSON form, without what was left unset or has nothing in it yet."""
        wire: dict[str, Any] = _without_blanks(super().to_wire())
        return wire


DECISIVE: Final = ("phase", "observed_generation", "attempt", "placement", "replaced")
"""Fields of a status without which nobody can tell whether its job has run."""


def read_status(raw: object) -> tuple[JobStatus, Mapping[str, str]]:
    """A status as far as it can be read, and what is wrong with the rest, by field as it is called in Python.

    Another release may have written it, or a bound may have become narrower since. Of a list the items that can be
    read are kept. Where it can't be read at all, nor can anything `DECISIVE`.
    """
    if raw is not None and not isinstance(raw, Mapping):
        return JobStatus(), dict.fromkeys(DECISIVE, "status must hold fields")
    left, wrong = dict(raw or {}), dict[str, str]()
    for _ in range(1 + len(left)):  # each time one field at least is left out, or items of one
        try:
            return JobStatus.model_validate(left), wrong
        except ValidationError as error:
            wrong |= _leave_out(left, error)
        except Exception as error:  # noqa: BLE001 - whatever stands there
            return JobStatus(), dict.fromkeys(DECISIVE, f"status can't be read: {type(error).__name__}")
    return JobStatus(), dict.fromkeys(DECISIVE, "status can't be read")


def _leave_out(left: dict[str, Any], error: ValidationError) -> dict[str, str]:
    """Take out of `left` what an error is about; what is wrong, by field."""
    wrong, items = dict[str, str](), dict[str, set[int]]()
    for location, what in problems_of(error, JobStatus):
        name = str(location[0])
        wrong[_FIELDS.get(name, name)] = f"{name_of(location)}: {what}"
        if len(location) > 1 and isinstance(location[1], int):
            items.setdefault(name, set()).add(location[1])
        else:
            left.pop(name, None)
    for name in items.keys() & left.keys():
        left[name] = [item for number, item in enumerate(left[name]) if number not in items[name]]
    return wrong


_FIELDS: Final = {str(field.alias): name for name, field in JobStatus.model_fields.items()}


def _without_blanks(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return {key: _without_blanks(inner) for key, inner in value.items() if inner != ""}
    return [_without_blanks(item) for item in value] if isinstance(value, list) else value
