"""What the page shows, as plain frozen values read from objects of the Kubernetes API."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel, ValidationError

from carbonfleet.api import CarbonTrainingJob, SpokeCluster, TrainingReport
from carbonfleet.api.condition import Condition
from carbonfleet.api.job_status import Figures, Phase
from carbonfleet.api.problems import told
from carbonfleet.api.report import ReportSpec, stints_of
from carbonfleet.faults import said
from carbonfleet.kube import Object
from carbonfleet.ledger import Entry
from carbonfleet.sweep import SWEEP, SweepStanding, standing_of

UNREADABLE: Final = "Unreadable"
"""In place of the phase of a job that can't be read."""
_LINK: Final = re.compile(r"https?://[^\s<>\"'`]+[^\s<>\"'`.,;:)]")
Stints = tuple[tuple[datetime, datetime | None], ...]
"""When an attempt held its GPUs; pauses lie between."""
LONGEST_NAME: Final = 253
"""Characters of a name: the API takes no longer ones."""


@dataclass(frozen=True, slots=True)
class ReviewRequest:
    """What a person is asked for: to agree to a placement, or to a move."""

    is_move: bool
    message: str
    link: str
    """Of the pull request; empty where a command merges the proposal."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as lists show it."""

    namespace: str
    name: str
    uid: str
    phase: str
    summary: str
    created: datetime | None = None
    model: str = ""
    sweep: str = ""
    cluster: str = ""
    start: datetime | None = None
    """As planned, or as it happened."""
    first_start: datetime | None = None
    """Of the first attempt."""
    finish: datetime | None = None
    """As expected, or as it happened."""
    duration: timedelta = timedelta()
    """Of the run as it was asked for, by which the baseline is drawn."""
    baseline_region: str = ""
    gpus: int = 0
    attempt: int = 0
    step: int = 0
    total_steps: int = 0
    figures: Figures | None = None
    """As accounted, or else as expected."""
    is_accounted: bool = False
    request: ReviewRequest | None = None
    standing: SweepStanding | None = None
    """Of a job of a sweep."""

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class PoolRow:
    """GPUs of one kind on a spoke."""

    name: str
    gpu_type: str
    free: int | None
    """None while the spoke has not said."""
    gpus: int
    usd_per_gpu_hour: float | None
    spot_usd_per_gpu_hour: float | None


@dataclass(frozen=True, slots=True)
class SpokeRow:
    """A spoke as it is declared and as it last reported."""

    name: str
    uid: str
    zone: str
    region: str
    is_ready: bool | None
    """None while nobody has said."""
    reason: str
    message: str
    heartbeat: datetime | None
    pools: tuple[PoolRow, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """An attempt as its spoke reports it."""

    uid: str
    job_uid: str
    attempt: int
    cluster: str
    phase: str
    stints: Stints
    energy_kwh: float | None
    energy_method: str
    message: str


def job_row(body: Object) -> JobRow:
    """A job; one that can't be read says why."""
    try:
        job = CarbonTrainingJob.model_validate(body)
    except Exception as error:  # noqa: BLE001 - one object may hold anything
        return JobRow(*_address(body), UNREADABLE, f"This job can't be read: {_why(error, CarbonTrainingJob)}")
    status, spec = job.status, job.spec
    is_accounted = status.phase.is_terminal and status.actual is not None
    figures = status.actual if is_accounted else status.expected
    promise = status.expected.promise if status.expected else None
    conditions = {each.type: each for each in status.conditions}
    ended = conditions["Ready"].last_transition_time if status.phase.is_terminal and "Ready" in conditions else None
    sweep = job.metadata.labels.get(SWEEP, "")
    return JobRow(
        namespace=job.metadata.namespace,
        name=job.metadata.name,
        uid=job.metadata.uid,
        phase=status.phase.value,
        summary=status.summary or "The hub has not looked at it yet.",
        created=job.metadata.creation_timestamp,
        model=spec.workload.model,
        sweep=sweep,
        cluster=status.cluster,
        start=status.start,
        first_start=status.first_start,
        finish=ended or (promise.finish.p50 if promise else _after(status.start, spec.resources.duration)),
        duration=spec.resources.duration,
        baseline_region=status.expected.baseline_region if status.expected else "",
        gpus=spec.resources.gpus,
        attempt=status.attempt,
        step=status.progress.step if status.progress else 0,
        total_steps=status.progress.total_steps if status.progress else 0,
        figures=figures,
        is_accounted=is_accounted,
        request=request_in(conditions),
        standing=standing_of(job) if sweep else None,
    )


def _after(start: datetime | None, duration: timedelta) -> datetime | None:
    return start + duration if start else None


def request_in(conditions: Mapping[str, Condition]) -> ReviewRequest | None:
    """What a person is asked for, as a job's conditions say."""
    for kind, reason in (("Approved", "AwaitingReview"), ("Running", "MoveProposed")):
        found = conditions.get(kind)
        if found is not None and found.reason == reason:
            return ReviewRequest(kind == "Running", found.message, link_in(found.message))
    return None


def link_in(text: str) -> str:
    """The first web address in a text; empty where there is none."""
    found = _LINK.search(text)
    return found[0] if found else ""


def spoke_row(body: Object) -> SpokeRow:
    """A spoke; one that can't be read says why."""
    try:
        spoke = SpokeCluster.model_validate(body)
    except Exception as error:  # noqa: BLE001 - one object may hold anything
        _, name, uid = _address(body)
        why = f"This spoke can't be read: {_why(error, SpokeCluster)}"
        return SpokeRow(name, uid, "", "", False, UNREADABLE, why, None, (), ())
    status, spec = spoke.status, spoke.spec
    ready = next((each for each in status.conditions if each.type == "Ready"), None)
    free = {pool.name: pool.free_gpus for pool in status.pools}
    pools = (
        PoolRow(p.name, p.gpu_type, free.get(p.name), p.gpus, p.usd_per_gpu_hour, p.spot_usd_per_gpu_hour)
        for p in spec.pools
    )
    return SpokeRow(
        name=spoke.metadata.name,
        uid=spoke.metadata.uid,
        zone=spec.zone,
        region=spec.region,
        is_ready=None if ready is None else ready.status == "True",
        reason=ready.reason if ready else "",
        message=ready.message if ready else "",
        heartbeat=status.heartbeat_time,
        pools=tuple(pools),
        problems=tuple(each for each in dict.fromkeys(status.problems) if each not in (ready.message if ready else "")),
    )


def attempt_row(body: Object) -> AttemptRow:
    """An attempt; of one that can't be read, only that it is there."""
    try:
        report = TrainingReport.model_validate(body)
    except Exception as error:  # noqa: BLE001 - one object may hold anything
        *_, uid = _address(body)
        return AttemptRow(uid, "", 0, "", UNREADABLE, (), None, "", _why(error, TrainingReport))
    spec, stints = report.spec, _stints(report.spec)
    energy = spec.energy
    kwh, method = (energy.kwh, energy.method.value) if energy else (None, "")
    uid, job = report.metadata.uid, spec.job.uid
    return AttemptRow(uid, job, spec.attempt, spec.spoke, spec.phase.value, stints, kwh, method, spec.message)


def _stints(report: ReportSpec) -> Stints:
    return tuple((stint.start, stint.end) for stint in stints_of(report))


def archived_stints(report: str) -> Stints:
    """When an attempt held its GPUs, by the report that the ledger archived; nothing where that can't be read."""
    try:
        return _stints(ReportSpec.model_validate_json(report))
    except ValueError:
        return ()


def accounted_attempt(entry: Entry, told: Stints = ()) -> AttemptRow:
    """An attempt as the ledger has it; `told`: when it held its GPUs, by its report."""
    stints = told or ((entry.start, entry.end),)
    uid, kwh, method = entry.job_uid, entry.energy_kwh, entry.energy_method
    return AttemptRow(entry.id, uid, entry.attempt, entry.cluster, entry.phase, stints, kwh, method, "")


def _address(body: Object) -> tuple[str, str, str]:
    """Namespace, name and UID of whatever it is."""
    metadata = body.get("metadata") if isinstance(body, dict) else None
    found = metadata if isinstance(metadata, dict) else {}
    namespace, name, uid = (str(found.get(key, ""))[:LONGEST_NAME] for key in ("namespace", "name", "uid"))
    return namespace, name or "without a name", uid


def _why(error: Exception, model: type[BaseModel]) -> str:
    return told(error, model) if isinstance(error, ValidationError) else said(error)


PHASES: Final = (*(phase.value for phase in Phase), UNREADABLE)
