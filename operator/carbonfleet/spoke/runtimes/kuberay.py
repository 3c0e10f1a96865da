"""Runs attempts as RayJobs through this cluster's Kubernetes API, or only watches those that GitOps applies."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from carbonfleet.api.rayjob import rayjob_state
from carbonfleet.api.report import AttemptPhase, JobRef, ReportSpec
from carbonfleet.api.wire import ANNOTATION, LABEL, Metadata, Time
from carbonfleet.clock import Clock
from carbonfleet.faults import only
from carbonfleet.kube import Kube, KubeError, Object, path
from carbonfleet.spoke.errors import RuntimeAwayError, RuntimeRefusedError
from carbonfleet.spoke.runtimes.output import Findings, failure_in, findings_in_log
from carbonfleet.spoke.runtimes.runtime import ObservationScope, Observed, Run
from carbonfleet.spoke.wanted import Wanted

RAY_API: Final = "apis/ray.io/v1"
_MANAGER: Final = "carbonfleet-agent"
_LOG_LINES: Final = 200
_STUCK: Final = timedelta(minutes=10)
"""A RayJob that is being deleted for longer hangs: KubeRay's finalizer waits for a broken cluster."""
_PODS: Final = "ray.io/node-type"
_CLUSTER: Final = "ray.io/cluster"


class _Status(BaseModel):
    """The part of a RayJob's status that we read; the format is KubeRay's."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)

    job_status: str = ""
    job_deployment_status: str = ""
    reason: str = ""
    message: str = ""
    start_time: Time | None = None
    end_time: Time | None = None


@dataclass(slots=True)
class KubeRay:
    """RayJobs of one spoke."""

    cluster: str
    kube: Kube
    clock: Clock
    log_seconds: float = 10.0
    """Real time between two looks at a log."""
    _logs: dict[str, tuple[datetime, Findings]] = field(default_factory=dict)

    def version(self) -> str:
        """See `Runtime`."""
        try:
            answer = self.kube.get("/version")
        except KubeError as error:
            raise RuntimeAwayError(str(error)) from error
        return f"kuberay on Kubernetes {answer.get('gitVersion', '')}"

    def observe(self, scope: ObservationScope) -> Observed:
        """See `Runtime`. An attempt whose pods still write is not stopped, whatever its RayJob says."""
        runs: dict[str, Run] = {}
        blind: dict[str, str] = {}
        for namespace in sorted(scope.namespaces):
            try:
                jobs = self._list(f"{RAY_API}", "rayjobs", namespace, f"{LABEL.CLUSTER}={self.cluster}")
                writing = self._writing(namespace)
            except KubeError as error:
                _raise_if_away(error)
                blind[namespace] = f"namespace {namespace}: {error}"
                continue
            with only(f"namespace {namespace}", partial(blind.__setitem__, namespace)):
                found = {run.name: _held_up(run, writing) for run in self._runs(jobs)}
                runs |= found | _lingering(namespace, scope.open, runs | found, writing)
        return Observed(runs, blind)

    def place(self, wanted: Wanted) -> str:
        """See `Runtime`: what the file says, as the pods see it."""
        return wanted.environment.get("LORA_OUTPUT", "")

    def start(self, wanted: Wanted) -> None:
        """See `Runtime`: server-side apply of the file as it is."""
        try:
            self._apply(wanted)
        except KubeError as error:
            _raise_if_away(error)
            denied = "denied request" in str(error) or error.status == 422
            raise RuntimeRefusedError(
                "AdmissionDenied" if denied else "ApplyRefused", str(error), is_final=denied
            ) from error

    def suspend(self, wanted: Wanted) -> None:
        """See `Runtime`: the file says `suspend: true`."""
        self._ask(lambda: self._apply(wanted))

    def stop(self, run: Run) -> None:
        """See `Runtime`: KubeRay stops the job, and its pods get SIGTERM and time for a checkpoint."""
        namespace = run.job.namespace
        self._ask(
            lambda: self.kube.delete(path(RAY_API, "rayjobs", namespace, run.name)),
            lambda: self.kube.delete(path("api/v1", "configmaps", namespace, run.name)),
        )

    def prune(self, run: Run) -> None:
        """See `Runtime`."""
        self.stop(run)

    def look(self, name: str, namespace: str, attempt: int, place: str, *, is_over: bool) -> Findings:
        """See `Runtime`: the last lines of the submitter's log, which follows the training's."""
        now = self.clock.now()
        read_at, found = self._logs.get(name, (None, Findings()))
        if read_at is not None and not is_over and self.clock.real_seconds(now - read_at) < self.log_seconds:
            return found
        try:
            log = self._log(namespace, name)
        except KubeError:
            return found  # pods come and go; the last that was heard still holds
        heard = findings_in_log(log, attempt, place, self.clock)
        self._logs[name] = now, heard if heard.progress is not None else replace(found, log=heard.log or found.log)
        return self._logs[name][1]

    def free_gpus(self, pools: Mapping[str, int], held: Mapping[str, int]) -> Mapping[str, int]:
        """See `Runtime`."""
        return {pool: max(0, gpus - held.get(pool, 0)) for pool, gpus in pools.items()}

    def _apply(self, wanted: Wanted) -> None:
        namespace, name = wanted.placement.namespace, wanted.name
        self.kube.apply(path("api/v1", "configmaps", namespace, name), wanted.config_map, _MANAGER)
        self.kube.apply(path(RAY_API, "rayjobs", namespace, name), wanted.ray_job, _MANAGER)

    def _list(self, api: str, plural: str, namespace: str, selector: str) -> list[Object]:
        return self.kube.list(path(api, plural, namespace), labelSelector=selector)[0]

    def _writing(self, namespace: str) -> frozenset[str]:
        """RayClusters that have pods which may still write."""
        pods = self._list("api/v1", "pods", namespace, _PODS)
        alive = (pod for pod in pods if pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"})
        return frozenset(str(pod["metadata"].get("labels", {}).get(_CLUSTER, "")) for pod in alive)

    def _log(self, namespace: str, name: str) -> str:
        pods = self._list("api/v1", "pods", namespace, f"job-name={name}")
        if not pods:
            return ""
        newest = max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
        where = path("api/v1", "pods", namespace, str(newest["metadata"]["name"]), "log")
        return self.kube.text(f"{where}?tailLines={_LOG_LINES}")

    def _runs(self, jobs: Iterable[Object]) -> Iterator[Run]:
        for job in jobs:
            try:
                yield self._run(
                    Metadata.model_validate(job["metadata"]), _Status.model_validate(job.get("status") or {})
                )
            except Exception:  # noqa: BLE001, S112 - anybody may write one
                continue  # labelled as ours, but no placement of the hub's

    def _run(self, metadata: Metadata, status: _Status) -> Run:
        labels, annotations = metadata.labels, metadata.annotations
        state = rayjob_state(status.job_deployment_status, status.job_status)
        failure = failure_in(status.message)
        run = Run(
            name=metadata.name,
            job=JobRef(namespace=metadata.namespace, name=labels[LABEL.JOB], uid=labels[LABEL.UID]),
            placement_id=annotations[ANNOTATION.PLACEMENT_ID],
            attempt=int(labels[LABEL.ATTEMPT]),
            pool=annotations[ANNOTATION.POOL],
            gpus=int(annotations[ANNOTATION.GPUS]),
            phase=state.phase,
            reason=failure.reason if failure else status.reason or state.reason,
            message=failure.message if failure else status.message[:1024],
            started_at=self._moment(status.start_time),
            ended_at=self._moment(status.end_time),
            session=metadata.uid,
        )
        return self._deleting(run, metadata.deletion_timestamp)

    def _deleting(self, run: Run, since: datetime | None) -> Run:
        """A RayJob that is being deleted has not stopped before it is gone."""
        if since is None or run.phase.is_terminal:
            return run
        waited = self.clock.real_seconds(self.clock.now() - self.clock.at(since.timestamp()))
        if waited < _STUCK.total_seconds():
            return replace(run, phase=AttemptPhase.RUNNING, reason="Stopping")
        message = f"its deletion hangs for {waited / 60:.0f} minutes: see its finalizers and its Ray head"
        return replace(run, phase=AttemptPhase.RUNNING, reason="DeletingStuck", message=message)

    def _moment(self, real: datetime | None) -> datetime | None:
        return self.clock.at(real.timestamp()) if real is not None else None

    def _ask(self, *calls: Callable[[], object]) -> None:
        """Make each call. Raises RuntimeAwayError, or RuntimeRefusedError where the API says no to this one."""
        try:
            for call in calls:
                call()
        except KubeError as error:
            _raise_if_away(error)
            raise RuntimeRefusedError("Refused", str(error), is_final=False) from error


def _held_up(run: Run, writing: frozenset[str]) -> Run:
    """A suspended attempt whose pods still write has not stopped yet."""
    if run.phase is AttemptPhase.SUSPENDED and _has_pods(run.name, writing):
        return replace(run, phase=AttemptPhase.RUNNING, reason="Suspending")
    return run


def _lingering(
    namespace: str, open_ones: Mapping[str, ReportSpec], runs: Mapping[str, Run], writing: frozenset[str]
) -> dict[str, Run]:
    """Attempts whose RayJob is gone and whose pods are not."""
    return {
        name: Run(
            name=name,
            job=report.job,
            placement_id=report.placement_id,
            attempt=report.attempt,
            pool=report.pool,
            gpus=report.gpus,
            phase=AttemptPhase.RUNNING,
            reason="Stopping",
            message="its RayJob is gone; its pods save and stop",
            started_at=report.start_time,
        )
        for name, report in open_ones.items()
        if report.job.namespace == namespace and name not in runs and _has_pods(name, writing)
    }


def _has_pods(name: str, writing: frozenset[str]) -> bool:
    """RayClusters are called after their RayJob, with five characters behind it."""
    return any(re.fullmatch(rf"{re.escape(name)}-(raycluster-)?[a-z0-9]{{5}}", cluster) for cluster in writing)


def _raise_if_away(error: KubeError) -> None:
    """Raise when the API itself is not there, as against one request that it refused."""
    if error.status == 0 or error.status >= 500 or error.status in {401, 429}:
        raise RuntimeAwayError(str(error)) from error
