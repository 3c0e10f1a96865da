"""Jobs, reports, placements and observations by hand, for tests of the hub's pure parts."""

from datetime import UTC, datetime, timedelta

import pygit2

from carbonfleet.api.job_status import CandidateStatus, DecisionRecord, Figures
from carbonfleet.api.report import ReportSpec
from carbonfleet.fleet import Placement, Stood, Tip, object_name, placement_id
from carbonfleet.fleet.manifests import NO_PLACEMENTS
from carbonfleet.hub.observe import Observation
from carbonfleet.hub.observe.job_state import JobStates
from carbonfleet.hub.observe.placed import PlacedInGit
from carbonfleet.placement.snapshot import PolicySet

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
UID = "0f5d6c1e-0000-4000-8000-000000000001"


def body(status=None, generation=1, uid=UID, name="train", **metadata):
    """A valid job's object."""
    return {
        "apiVersion": "carbonfleet.dev/v1alpha1",
        "kind": "CarbonTrainingJob",
        "metadata": {
            "name": name,
            "namespace": "ml",
            "uid": uid,
            "generation": generation,
            "resourceVersion": "7",
            "creationTimestamp": "2026-01-31T11:00:00Z",
        }
        | metadata,
        "spec": {
            "workload": {"model": "acme/base", "dataset": {"name": "acme/data"}},
            "resources": {"duration": "2h"},
            "residency": {"dataClass": "public"},
        },
        "status": status or {},
    }


def report(phase="Running", attempt=1, uid=UID, spoke="no-osl-1", **more):
    """What a spoke says of an attempt."""
    said = {
        "spoke": spoke,
        "job": {"namespace": "ml", "name": "train", "uid": uid},
        "placement_id": placement_id(uid, 1, attempt),
        "attempt": attempt,
        "pool": "a100",
        "gpus": 1,
        "phase": phase,
        "start_time": NOON,
        "observed_at": NOON + timedelta(hours=1),
    }
    return ReportSpec.model_validate(said | more)


def report_body(spec, namespace=None, name=None, version="1"):
    """A TrainingReport's object."""
    name = name or object_name("train", spec.job.uid, spec.attempt)
    where = {"name": name, "namespace": namespace or f"spoke-{spec.spoke}"}
    return {
        "apiVersion": "carbonfleet.dev/v1alpha1",
        "kind": "TrainingReport",
        "metadata": where | {"uid": f"{where['namespace']}/{name}", "resourceVersion": version},
        "spec": spec.to_wire(),
    }


def stood(placed, committed_at=NOON):
    """What the branch's history says of a placement."""
    return Stood(placed.placement_id, placed.attempt, placed.cluster, placed.path, "c" * 40, committed_at)


def in_git(*standing, jobs=(), left=()):
    """The branch with some placements on it, and others that have left it."""
    history = {}
    for placed in (*left, *standing):
        history.setdefault(placed.uid, []).append(stood(placed))
    files = {placed.path: placed for placed in (*left, *standing)}
    return PlacedInGit(
        tip(*standing),
        {job["metadata"]["uid"]: job for job in jobs},
        lambda uid: tuple(history.get(uid, ())),
        lambda _, path: files.get(path),
    )


def placement(attempt=1, generation=1, cluster="no-osl-1", uid=UID, name="train"):
    """A placement in Git."""
    return Placement(
        path=f"clusters/{cluster}/jobs/ml/{name}.yaml",
        uid=uid,
        namespace="ml",
        name=name,
        generation=generation,
        attempt=attempt,
        placement_id=placement_id(uid, generation, attempt),
        cluster=cluster,
        pool="a100",
        gpus=1,
        start=NOON,
        duration=timedelta(hours=2),
        suspended=False,
        object_name=object_name(name, uid, attempt),
        data_class="public",
        decision_digest="",
        spec_digest="",
        content_digest="",
    )


def state(status=None, placed=None, said=None, **given):
    """A job as the hub sees it."""
    placements = {placed.uid: placed} if placed else {}
    reports = {said.job.uid: said} if said else {}
    return JobStates().of([body(status, **given)], placements, reports)[0]


def tip(*placements, **more):
    """The branch with some placements on it."""
    fields = {"commit": "c" * 40, "time": NOON, "index": NO_PLACEMENTS.changed((), placements), "problems": {}}
    fields |= {"clusters": {}, "cluster_problems": {}, "policies": PolicySet(), "_odb": pygit2.Odb()}
    return Tip(**fields | more)


def observation(*states, **more):
    """One moment."""
    placed = [state.placement for state in states if state.placement]
    fields = {"now": NOON, "jobs": states, "spokes": (), "tip": tip(*placed), "tip_is_fresh": True}
    return Observation(**fields | more)


def record(outcome="Start", reason="Placed", message="no-osl-1 is cleanest.", **more):
    """A decision as it is kept."""
    figures = Figures(
        energy_kwh=1,
        grams_co2e=40,
        grams_per_kwh=36,
        baseline_grams_co2e=500,
        saved_grams_co2e=460,
        saved_percent=92,
        method="expected",
    )
    fields = {
        "outcome": outcome,
        "reason": reason,
        "message": message,
        "cluster": "no-osl-1",
        "start": NOON,
        "recheck_at": NOON + timedelta(hours=1),
        "expected": figures,
        "grams_per_kwh": 36.0,
        "candidates": (CandidateStatus(cluster="no-osl-1", verdict="Chosen", reason="Chosen"),),
        "candidates_total": 1,
        "decided_at": NOON,
    }
    return DecisionRecord(**fields | more)
