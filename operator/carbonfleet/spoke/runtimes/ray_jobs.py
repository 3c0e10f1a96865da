"""Runs attempts on a Ray head of this machine through its Jobs REST API; no Ray on the agent's side."""

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Self

import requests
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from carbonfleet.api.report import AttemptPhase, JobRef
from carbonfleet.clock import Clock
from carbonfleet.faults import only, said
from carbonfleet.spoke.errors import RuntimeAwayError, RuntimeRefusedError
from carbonfleet.spoke.runtimes.output import (
    Findings,
    OutputReads,
    failure_in,
    findings_in_log,
    output_place,
    read_findings,
    reader_of,
)
from carbonfleet.spoke.runtimes.runtime import ObservationScope, Observed, Run
from carbonfleet.spoke.wanted import Wanted
from carbonfleet.text import without

_TIMEOUT: Final = (5.0, 30.0)
_PHASES: Final = {
    "PENDING": AttemptPhase.PENDING,
    "RUNNING": AttemptPhase.RUNNING,
    "STOPPED": AttemptPhase.STOPPED,
    "SUCCEEDED": AttemptPhase.SUCCEEDED,
    "FAILED": AttemptPhase.FAILED,
}
_LOST: Final = frozenset(
    {
        "JOB_SUPERVISOR_ACTOR_START_TIMEOUT",
        "JOB_SUPERVISOR_ACTOR_START_FAILURE",
        "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE",
        "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE",
        "JOB_SUPERVISOR_ACTOR_DIED",
    }
)
NOWHERE: Final = "none://"
"""The place of an attempt that saves where it may not, which nobody reads."""
_FENCED: Final = 42
"""The training's exit code when a higher attempt has taken its place."""


def gpu_resource(cluster: str, pool: str) -> str:
    """The name of the Ray custom resource that stands for a pool's simulated GPUs."""
    return f"gpu-{cluster}-{pool}"


class RaySettings(BaseModel):
    """How the Ray head is reached, and how training is started there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: Annotated[str, Field(pattern=r"^https?://[^\s/]+$")] = "http://127.0.0.1:8265"
    token: SecretStr | None = None
    command: Annotated[tuple[str, ...], Field(min_length=1)] = (sys.executable, "-m", "workloads.lora.train")
    """An absolute interpreter and what it runs."""
    directory: Path
    """Where the command runs: the folder that holds `workloads/`."""
    store: Path
    """Where attempts save that name no store of their own: one folder for each job."""
    datasets: Path
    """The only folder of the host whose files may be datasets."""
    models: Path
    """The same for models."""
    output_folders: tuple[Path, ...] = ()
    """Folders of the host, beside the store, that attempts may name to save in."""
    private_networks: str = ""
    """Networks, divided by commas, with private addresses that datasets may be fetched from."""


class Submission(BaseModel):
    """What we write into a submission's metadata, so that an agent without memory knows its own."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    cluster: str
    object: str
    """The attempt's name."""
    run: int
    """Its first run, or which resumption: Ray can't take an id a second time, not even a deleted one's."""
    namespace: str
    name: str
    uid: str
    placement_id: str
    attempt: int
    pool: str
    gpus: int

    @property
    def id(self) -> str:
        """The submission's id: the attempt's name, and for a resumption its number."""
        return self.object if self.run == 1 else f"{self.object}-r{self.run}"

    @classmethod
    def of(cls, wanted: Wanted, run: int) -> Self:
        """The identity of an attempt's run."""
        placement = wanted.placement
        return cls(
            cluster=placement.cluster,
            object=placement.object_name,
            run=run,
            namespace=placement.namespace,
            name=placement.name,
            uid=placement.uid,
            placement_id=placement.placement_id,
            attempt=placement.attempt,
            pool=placement.pool,
            gpus=placement.gpus,
        )


@dataclass(frozen=True, slots=True)
class Submitted:
    """One submission as Ray lists it."""

    submission: Submission
    phase: AttemptPhase
    details: Mapping[str, Any]

    @property
    def is_live(self) -> bool:
        """Whether it runs, or may."""
        return not self.phase.is_terminal

    @property
    def is_lost(self) -> bool:
        """Whether Ray lost it, or never got it to start, which says nothing of the training."""
        return self.phase is AttemptPhase.FAILED and self.details.get("error_type") in _LOST


@dataclass(slots=True)
class RayJobs:
    """The Jobs API of one Ray head, for one spoke."""

    cluster: str
    settings: RaySettings
    clock: Clock
    look_seconds: float = 10.0
    """Real time between two looks at an output that is not on this machine."""
    _session: requests.Session = field(default_factory=requests.Session)
    _looks: dict[str, tuple[datetime, Findings]] = field(default_factory=dict)
    _reads: OutputReads[Findings] = field(default_factory=OutputReads)
    _pending_at: dict[str, datetime] = field(default_factory=dict)
    """When a submission was last seen waiting: Ray keeps only the time of submission."""

    def version(self) -> str:
        """See `Runtime`."""
        return f"ray {self._call('GET', '/api/version').get('ray_version', '')}"

    def observe(self, scope: ObservationScope) -> Observed:
        """See `Runtime`; what is ours is known by its metadata."""
        session = str(self._call("GET", "/api/version").get("session_name", ""))
        newest = {one.submission.object: one for one in self._submissions() if not one.is_lost}
        runs = {}
        for name, one in newest.items():
            with only(f"attempt {name}"):
                try:
                    runs[name] = self._run(one, session)
                except Exception as error:
                    runs[name] = _unreadable(one.submission, said(error), session)
                    raise
        return Observed(runs)

    def place(self, wanted: Wanted) -> str:
        """See `Runtime`: the placement's own place, or the job's folder in this machine's store."""
        try:
            return self._place(wanted)
        except ValueError:
            return NOWHERE

    def _place(self, wanted: Wanted) -> str:
        settings, uri = self.settings, wanted.environment.get("LORA_OUTPUT", "")
        return output_place(settings.store, settings.output_folders, uri, wanted.placement.uid)

    def start(self, wanted: Wanted) -> None:
        """See `Runtime`. Refuses a place to save in that this host does not allow."""
        try:
            self._place(wanted)
        except ValueError as error:
            raise RuntimeRefusedError("StoreNotAllowed", str(error), is_final=True) from error
        before = [one for one in self._submissions() if one.submission.object == wanted.name]
        if any(one.is_live for one in before):
            return
        run = 1 + max((one.submission.run for one in before), default=0)
        self._call("POST", "/api/jobs/", self._body(Submission.of(wanted, run), wanted))

    def suspend(self, wanted: Wanted) -> None:
        """See `Runtime`. Ray can't suspend: the run ends, and `start` takes it up from its checkpoint."""
        self._stop(wanted.name)

    def stop(self, run: Run) -> None:
        """See `Runtime`."""
        self._stop(run.name)

    def prune(self, run: Run) -> None:
        """See `Runtime`: a record of Ray's costs nothing, and its log may be asked for."""

    def look(self, name: str, namespace: str, attempt: int, place: str, *, is_over: bool) -> Findings:
        """See `Runtime`: the output itself, or else the log; both seldom where they are not of this machine."""
        now, is_here = self.clock.now(), "://" not in place
        looked_at, found = self._looks.get(name, (None, Findings()))
        is_fresh = looked_at is not None and self.clock.real_seconds(now - looked_at) < self.look_seconds
        if is_fresh and not is_here and not is_over:
            return found
        seen = self._reads.read(name, partial(read_findings, reader_of(place), attempt, place, self.clock))
        if seen is None:
            return replace(found, warning=f"its output at {place} does not answer: see that the store can be read")
        if not is_here and not (seen.progress or seen.is_done):
            heard = self._heard(name, attempt, place)
            seen = heard if heard.progress is not None else replace(found, log=heard.log or found.log)
        self._looks[name] = now, seen
        return seen

    def _heard(self, name: str, attempt: int, place: str) -> Findings:
        """What the log of its last run says."""
        try:
            runs = [one for one in self._submissions() if one.submission.object == name]
            log = self._call("GET", f"/api/jobs/{runs[-1].submission.id}/logs")["logs"] if runs else ""
        except RuntimeAwayError:
            return Findings()
        return findings_in_log(log, attempt, place, self.clock)

    def free_gpus(self, pools: Mapping[str, int], held: Mapping[str, int]) -> Mapping[str, int]:
        """See `Runtime`: this head serves nobody else's jobs from our pools."""
        return {pool: max(0, gpus - held.get(pool, 0)) for pool, gpus in pools.items()}

    def _body(self, submission: Submission, wanted: Wanted) -> dict[str, Any]:
        settings = self.settings
        run = shlex.join(settings.command)
        return {
            "submission_id": submission.id,
            # `exec`, so that SIGTERM reaches the training and not a shell before it.
            "entrypoint": f"cd {shlex.quote(str(settings.directory))} && exec {run}",
            "metadata": {key: str(value) for key, value in submission.model_dump().items()},
            "runtime_env": {"env_vars": self._environment(wanted)},
            **self._gpus(wanted),
        }

    def _environment(self, wanted: Wanted) -> dict[str, str]:
        return {
            "LORA_CONFIG": _inert(wanted.environment.get("LORA_CONFIG", "{}")),
            "LORA_PLACEMENT": _inert(wanted.environment.get("LORA_PLACEMENT", "{}")),
            "LORA_OUTPUT": self.place(wanted),
            "LORA_DATASETS": str(self.settings.datasets),
            "LORA_MODELS": str(self.settings.models),
            "LORA_PRIVATE_NETWORKS": self.settings.private_networks,
            "LORA_ATTEMPT": str(wanted.placement.attempt),
            "RAY_JOB_STOP_WAIT_TIME_S": str(wanted.grace_seconds),
        }

    def _gpus(self, wanted: Wanted) -> dict[str, Any]:
        """Simulated GPUs are a custom resource; real ones go to the driver, or to its workers if many."""
        pool, gpus = wanted.placement.pool, wanted.placement.gpus
        if wanted.is_simulated:
            return {"entrypoint_resources": {gpu_resource(self.cluster, pool): gpus}}
        return {"entrypoint_num_gpus": 1 if gpus == 1 else 0}

    def _submissions(self) -> list[Submitted]:
        """All of this spoke's, by attempt and in the order of their runs; what runs comes last."""
        listed = self._call("GET", "/api/jobs/")
        found = [one for one in map(_submitted, listed) if one is not None]
        ours = [one for one in found if one.submission.cluster == self.cluster]
        return sorted(ours, key=lambda one: (one.submission.object, one.is_live, one.submission.run))

    def _stop(self, name: str) -> None:
        for one in self._submissions():
            if one.submission.object == name and one.is_live:
                self._call("POST", f"/api/jobs/{one.submission.id}/stop")

    def _run(self, one: Submitted, session: str) -> Run:
        submission = one.submission
        started_at, ended_at = self._times(submission.id, one)
        reason, message = _why(one.phase, one.details)
        return Run(
            name=submission.object,
            job=JobRef(namespace=submission.namespace, name=submission.name, uid=submission.uid),
            placement_id=submission.placement_id,
            attempt=submission.attempt,
            pool=submission.pool,
            gpus=submission.gpus,
            phase=AttemptPhase.STOPPED if reason == "Fenced" else one.phase,
            reason=reason,
            message=message,
            started_at=started_at,
            ended_at=ended_at,
            session=session,
        )

    def _times(self, submission: str, one: Submitted) -> tuple[datetime | None, datetime | None]:
        """When it began to run (not when it was submitted) and when it ended, in carbonfleet's time."""
        if one.phase is AttemptPhase.PENDING:
            self._pending_at[submission] = self.clock.now()
            return None, None
        submitted = self._moment(one.details.get("start_time"))
        waited = self._pending_at.get(submission)
        started = max((moment for moment in (submitted, waited) if moment), default=None)
        return started, self._moment(one.details.get("end_time"))

    def _moment(self, milliseconds: object) -> datetime | None:
        return self.clock.at(milliseconds / 1000) if isinstance(milliseconds, int | float) else None

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401
        token = self.settings.token
        return _read(self._request(method, path, body), token.get_secret_value() if token else "")

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> requests.Response:
        token = self.settings.token
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        url = self.settings.address + path
        try:
            return self._session.request(method, url, json=body, headers=headers, timeout=_TIMEOUT)
        except requests.RequestException as error:
            raise RuntimeAwayError(f"the Ray head at {self.settings.address} did not answer: {error}") from error


def _unreadable(submission: Submission, why: str, session: str) -> Run:
    """An attempt of which what Ray says can't be read: it may well run, so nothing is begun in its place."""
    return Run(
        name=submission.object,
        job=JobRef(namespace=submission.namespace, name=submission.name, uid=submission.uid),
        placement_id=submission.placement_id,
        attempt=submission.attempt,
        pool=submission.pool,
        gpus=submission.gpus,
        phase=AttemptPhase.UNKNOWN,
        reason="RuntimeUnreadable",
        message=f"what Ray says of it can't be read: {why}"[:1024],
        session=session,
    )


def _read(answer: requests.Response, token: str) -> Any:  # noqa: ANN401
    if not answer.ok:
        detail = without(answer.text, token).strip().splitlines()[-1:] or [""]
        raise RuntimeAwayError(f"Ray answered {answer.status_code}: {detail[0][:300]}")
    try:
        return answer.json() if answer.content else {}
    except ValueError:
        raise RuntimeAwayError("Ray answered something that is not JSON") from None


def _submitted(details: object) -> Submitted | None:
    """A submission of an agent's; None for anybody else's."""
    if not isinstance(details, dict):
        return None
    try:
        submission = Submission.model_validate(details.get("metadata"))
    except ValidationError:
        return None
    phase = _PHASES.get(str(details.get("status")), AttemptPhase.UNKNOWN)
    return Submitted(submission, phase, details)


def _why(phase: AttemptPhase, details: Mapping[str, Any]) -> tuple[str, str]:
    """Reason and sentence of a failure; the training says it best, in its own last words."""
    if phase is not AttemptPhase.FAILED:
        return "", ""
    text = str(details.get("message") or "")
    failure = failure_in(text)
    if details.get("driver_exit_code") == _FENCED:
        return "Fenced", failure.message if failure else "a higher attempt of this job holds the output"
    if failure is not None:
        return failure.reason, failure.message
    words = str(details.get("error_type") or "JOB_FAILED").removeprefix("JOB_").split("_")
    return "".join(word.capitalize() for word in words)[:64], _last_line(text)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1][:1024]


def _inert(config: str) -> str:
    """The same JSON without a `$`: Ray replaces `$NAME` in the environment by its own variables."""
    try:
        json.loads(config)
    except ValueError as error:
        raise RuntimeRefusedError(
            "BadConfig", f"config.json or placement.json is not JSON: {error}", is_final=True
        ) from error
    return config.replace("$", "\\u0024")
