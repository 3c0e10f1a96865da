"""Attempts as values: what Git says, what runs, what is known."""

from datetime import UTC, datetime, timedelta

from carbonfleet.api.report import AttemptPhase, JobRef, ReportSpec
from carbonfleet.fleet.manifests import Placement
from carbonfleet.spoke.attempt_state import KnownAttempt
from carbonfleet.spoke.runtimes import Run
from carbonfleet.spoke.wanted import Wanted

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
JOB = JobRef(namespace="ml", name="llama", uid="uid-1")
PATH = "clusters/no-osl-1/jobs/ml/llama.yaml"


def wanted(suspended: bool = False, gpus: int = 2, data_class: str = "public", pool: str = "sim") -> Wanted:
    placement = Placement(
        path=PATH,
        uid=JOB.uid,
        namespace=JOB.namespace,
        name=JOB.name,
        generation=1,
        attempt=1,
        placement_id="abcdefghabcdefgh",
        cluster="no-osl-1",
        pool=pool,
        gpus=gpus,
        start=NOON,
        duration=timedelta(hours=2),
        suspended=suspended,
        object_name="llama-abcd-1",
        data_class=data_class,
        decision_digest="",
        spec_digest="",
        content_digest="",
    )
    return Wanted(placement, {}, {}, {})


def run(phase: AttemptPhase, reason: str = "", **more) -> Run:
    return Run("llama-abcd-1", JOB, "abcdefghabcdefgh", 1, "sim", 2, phase, reason, **more)


def report(phase: AttemptPhase, reason: str = "", **more) -> ReportSpec:
    return ReportSpec(
        spoke="no-osl-1",
        job=JOB,
        placement_id="abcdefghabcdefgh",
        attempt=1,
        pool="sim",
        gpus=2,
        phase=phase,
        reason=reason,
        observed_at=NOON,
        **more,
    )


def known(phase: AttemptPhase, reason: str = "", **more) -> KnownAttempt:
    return KnownAttempt(report(phase, reason), PATH, **{"session": "s1"} | more)
