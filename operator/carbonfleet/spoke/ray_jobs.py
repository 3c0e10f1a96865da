"""Runs attempts on a Ray head of this machine through its Jobs REST API; no Ray on the agent's side."""

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Self

import requests
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from carbonfleet.api.report import AttemptPhase, JobRef
from carbonfleet.clock import Clock
from carbonfleet.spoke.errors import RuntimeAwayError
from carbonfleet.spoke.output import failure_in
from carbonfleet.spoke.runtime import Run
from carbonfleet.spoke.wanted import Wanted

_TIMEOUT: Final = (5.0, 30.0)
_PHASES: Final = {
    "PENDING": AttemptPhase.PENDING,
    "RUNNING": AttemptPhase.RUNNING,
    "STOPPED": AttemptPhase.STOPPED,
    "SUCCEEDED": AttemptPhase.SUCCEEDED,
    "FAILED": AttemptPhase.FAILED,
}
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
    command: tuple[str, ...] = (sys.executable, "-m", "workloads.lora.train")
    """An absolute interpreter and what it runs."""
    directory: Path
    """Where the command runs: the folder that holds `workloads/`."""


class Submission(BaseModel):
    """What we write into a submission's metadata, so that an agent without memory knows its own."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    cluster: str
    namespace: str
    name: str
    uid: str
    placement_id: str
    attempt: int
    pool: str
    gpus: int

    @classmethod
    def of(cls, wanted: Wanted) -> Self:
        """The identity of an attempt."""
        placement = wanted.placement
        return cls(
            cluster=placement.cluster,
            namespace=placement.namespace,
            name=placement.name,
            uid=placement.uid,
            placement_id=placement.placement_id,
            attempt=placement.attempt,
            pool=placement.pool,
            gpus=placement.gpus,
        )


@dataclass(slots=True)
class RayJobs:
    """The Jobs API of one Ray head, for one spoke."""

    cluster: str
    settings: RaySettings
    clock: Clock
    _session: requests.Session = field(default_factory=requests.Session)
    _pending_at: dict[str, datetime] = field(default_factory=dict)
    """When a submission was last seen waiting: Ray keeps only the time of submission."""

    def version(self) -> str:
        """See `Runtime`."""
        return f"ray {self._call('GET', '/api/version').get('ray_version', '')}"

    def observe(self) -> dict[str, Run]:
        """See `Runtime`."""
        session = str(self._call("GET", "/api/version").get("session_name", ""))
        listed = self._call("GET", "/api/jobs/")
        runs = (self._run(details, session) for details in listed if isinstance(details, dict))
        return {run.name: run for run in runs if run is not None}

    def start(self, wanted: Wanted, output: str) -> None:
        """See `Runtime`. Ray keeps one record for each id, so a stopped run's goes before it runs again."""
        found = self._find(wanted.name)
        if found is not None:
            if found.get("status") != "STOPPED":
                return
            self._call("DELETE", f"/api/jobs/{wanted.name}")
        self._call("POST", "/api/jobs/", self._submission(wanted, output))

    def suspend(self, wanted: Wanted) -> None:
        """See `Runtime`. Ray can't suspend: the run ends, and `start` takes it up from its checkpoint."""
        self._stop(wanted.name)

    def stop(self, run: Run) -> None:
        """See `Runtime`."""
        self._stop(run.name)

    def prune(self, run: Run) -> None:
        """See `Runtime`: a record of Ray's costs nothing, and its log may be asked for."""

    def free_gpus(self, pools: Mapping[str, int], held: Mapping[str, int]) -> Mapping[str, int]:
        """See `Runtime`: this head serves nobody else's jobs from our pools."""
        return {pool: max(0, gpus - held.get(pool, 0)) for pool, gpus in pools.items()}

    def _submission(self, wanted: Wanted, output: str) -> dict[str, Any]:
        settings = self.settings
        run = shlex.join(settings.command)
        return {
            "submission_id": wanted.name,
            # `exec`, so that SIGTERM reaches the training and not a shell before it.
            "entrypoint": f"cd {shlex.quote(str(settings.directory))} && exec {run}",
            "metadata": {key: str(value) for key, value in Submission.of(wanted).model_dump().items()},
            "runtime_env": {"env_vars": self._environment(wanted, output)},
            **self._gpus(wanted),
        }

    def _environment(self, wanted: Wanted, output: str) -> dict[str, str]:
        return {
            "LORA_CONFIG": _inert(wanted.environment.get("LORA_CONFIG", "{}")),
            "LORA_OUTPUT": output,
            "LORA_ATTEMPT": str(wanted.placement.attempt),
            "RAY_JOB_STOP_WAIT_TIME_S": str(wanted.grace_seconds),
        }

    def _gpus(self, wanted: Wanted) -> dict[str, Any]:
        """Simulated GPUs are a custom resource; real ones go to the driver, or to its workers if many."""
        pool, gpus = wanted.placement.pool, wanted.placement.gpus
        if wanted.is_simulated:
            return {"entrypoint_resources": {gpu_resource(self.cluster, pool): gpus}}
        return {"entrypoint_num_gpus": 1 if gpus == 1 else 0}

    def _stop(self, name: str) -> None:
        found = self._find(name)
        if found is not None and found.get("status") in {"PENDING", "RUNNING"}:
            self._call("POST", f"/api/jobs/{name}/stop")

    def _find(self, name: str) -> dict[str, Any] | None:
        answer = self._request("GET", f"/api/jobs/{name}")
        return None if answer.status_code == 404 else dict(_read(answer))

    def _run(self, details: Mapping[str, Any], session: str) -> Run | None:
        try:
            submission = Submission.model_validate(details.get("metadata"))
        except ValidationError:
            return None
        name = str(details.get("submission_id"))
        if submission.cluster != self.cluster:
            return None
        phase = _PHASES.get(str(details.get("status")), AttemptPhase.UNKNOWN)
        started_at, ended_at = self._times(name, phase, details)
        reason, message = _why(phase, details)
        return Run(
            name=name,
            job=JobRef(namespace=submission.namespace, name=submission.name, uid=submission.uid),
            placement_id=submission.placement_id,
            attempt=submission.attempt,
            pool=submission.pool,
            gpus=submission.gpus,
            phase=AttemptPhase.STOPPED if reason == "Fenced" else phase,
            reason=reason,
            message=message,
            started_at=started_at,
            ended_at=ended_at,
            session=session,
        )

    def _times(
        self, name: str, phase: AttemptPhase, details: Mapping[str, Any]
    ) -> tuple[datetime | None, datetime | None]:
        """When it began to run (not when it was submitted) and when it ended, in the house's time."""
        if phase is AttemptPhase.PENDING:
            self._pending_at[name] = self.clock.now()
            return None, None
        submitted = self._moment(details.get("start_time"))
        waited = self._pending_at.get(name)
        started = max((moment for moment in (submitted, waited) if moment), default=None)
        return started, self._moment(details.get("end_time"))

    def _moment(self, milliseconds: object) -> datetime | None:
        return self.clock.at(milliseconds / 1000) if isinstance(milliseconds, int | float) else None

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401
        return _read(self._request(method, path, body))

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> requests.Response:
        token = self.settings.token
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        url = self.settings.address + path
        try:
            return self._session.request(method, url, json=body, headers=headers, timeout=_TIMEOUT)
        except requests.RequestException as error:
            raise RuntimeAwayError(
                f"the Ray head at {self.settings.address} did not answer: {error}"
            ) from error


def _read(answer: requests.Response) -> Any:  # noqa: ANN401
    if not answer.ok:
        detail = answer.text.strip().splitlines()[-1:] or [""]
        raise RuntimeAwayError(f"Ray answered {answer.status_code}: {detail[0][:300]}")
    try:
        return answer.json() if answer.content else {}
    except ValueError:
        raise RuntimeAwayError("Ray answered something that is not JSON") from None


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
    json.loads(config)
    return config.replace("$", "\\u0024")
