"""Commands that ask a hub: `status` and `explain namespace/name`."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from carbonfleet.cli import app
from carbonfleet.kube import Kube, ours, path
from fixtures.hub_process import install_crds

NOON = "2026-01-31T12:00:00Z"


def condition(type_: str, status: str, reason: str, message: str) -> dict[str, Any]:
    """As the hub writes it."""
    return {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": NOON}


JOB: dict[str, Any] = {
    "apiVersion": "carbonfleet.dev/v1alpha1",
    "kind": "CarbonTrainingJob",
    "metadata": {"name": "train", "namespace": "cli"},
    "spec": {
        "workload": {"model": "acme/base", "dataset": {"name": "acme/data"}},
        "resources": {"duration": "2h"},
        "residency": {"dataClass": "public"},
    },
}
STATUS = {
    "phase": "Running",
    "summary": "Trains on no-osl-1 since noon.",
    "cluster": "no-osl-1",
    "conditions": [condition("Scheduled", "True", "Placed", "Starts now. Next best is ca-qc-1.")],
}
SPOKE: dict[str, Any] = {
    "apiVersion": "carbonfleet.dev/v1alpha1",
    "kind": "SpokeCluster",
    "metadata": {"name": "no-osl-1"},
    "spec": {
        "name": "no-osl-1",
        "region": "norwayeast",
        "zone": "NO-NO1",
        "jurisdictions": ["NO"],
        "pools": [{"name": "a100", "gpuType": "A100", "gpus": 4, "memoryGib": 80}],
    },
}


@pytest.fixture
def hub(make_kube_api):
    """An API with a job and a spoke whose cluster file is broken."""
    api = make_kube_api()
    install_crds(api)
    kube = Kube.connect(api.kubeconfig)
    kube.create(path("api/v1", "namespaces"), {"metadata": {"name": "cli"}})
    kube.create(ours("carbontrainingjobs", "cli"), JOB)
    kube.patch(f"{ours('carbontrainingjobs', 'cli', 'train')}/status", {"status": STATUS})
    kube.create(ours("spokeclusters"), SPOKE)
    broken = condition("Ready", "False", "Invalid", "clusters/no-osl-1/cluster.yaml:8: zone: must be text")
    seen = {"free": "3/4 a100", "conditions": [broken]}
    kube.patch(f"{ours('spokeclusters', name='no-osl-1')}/status", {"status": seen})
    return api


def test_the_hub_s_jobs_and_spokes_are_shown_with_what_is_wrong(hub):
    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, [*arguments, "--kubeconfig", str(hub.kubeconfig)])
        assert done.exit_code == code, done.output
        return " ".join(done.output.split())

    shown = run("status")
    assert "no-osl-1 NO-NO1 no 3/4 a100 never" in shown
    assert "Invalid: clusters/no-osl-1/cluster.yaml:8: zone: must be text" in shown
    assert "cli/train Running no-osl-1 - - Trains on no-osl-1 since noon." in shown
    Kube.connect(hub.kubeconfig).patch(
        f"{ours('spokeclusters', name='no-osl-1')}/status", {"status": {"heartbeatTime": "9999-12-31T00:00:00Z"}}
    )
    shown = run("status", code=1)
    assert "SpokeCluster no-osl-1 can't be read: status.heartbeatTime: must lie in the years 1970 to 2999" in shown
    assert "cli/train Running no-osl-1 - -" in shown
    assert "Trains on no-osl-1 since noon. Decided: Starts now. Next best is ca-qc-1." in run("explain", "cli/train")


@pytest.mark.parametrize(
    ("name", "spec", "code", "says"),
    [
        ("train", {}, 0, "1 file checked: nothing is wrong"),
        ("new", {}, 0, "1 file checked: nothing is wrong"),
        ("new", {"baselineRegion": "norwayest"}, 0, "warning: no grid is known of region norwayest"),
        (
            "new",
            {"resources": {"duration": "2h", "gpuTypes": ["a100", "B900"]}},
            0,
            "warning: no pool of the fleet has GPU type B900; known are A100",
        ),
        (
            "train",
            {"residency": {"dataClass": "secret"}},
            1,
            "residency can't be changed; delete the job and create it",
        ),
    ],
)
def test_validate_asks_the_hub_without_applying_anything(hub, name, spec, code, says):
    before = Kube.connect(hub.kubeconfig).list(ours("carbontrainingjobs"))[0]
    job = JOB | {"metadata": {"name": name, "namespace": "cli"}, "spec": JOB["spec"] | spec}
    ask = ["validate", "-", "--hub", "--kubeconfig", str(hub.kubeconfig)]
    done = CliRunner().invoke(app, ask, input=json.dumps(job))
    assert (done.exit_code, says in done.output) == (code, True), done.output
    assert Kube.connect(hub.kubeconfig).list(ours("carbontrainingjobs"))[0] == before


def test_validate_says_how_a_namespace_that_is_missing_is_made(hub):
    job = JOB | {"metadata": {"name": "first", "namespace": "new-team"}}
    ask = ["validate", "-", "--hub", "--kubeconfig", str(hub.kubeconfig)]
    done = CliRunner().invoke(app, ask, input=json.dumps(job))
    advice = 'namespaces "new-team" not found: kubectl create namespace new-team, or name another'
    assert (done.exit_code, advice in done.output, "PATCH" in done.output) == (1, True, False), done.output


def test_validate_ends_with_one_line_where_the_hub_does_not_answer(hub):
    hub.stop()
    done = CliRunner().invoke(
        app, ["validate", "-", "--hub", "--kubeconfig", str(hub.kubeconfig)], input=json.dumps(JOB)
    )
    assert (done.exit_code, len(done.output.splitlines())) == (2, 1)
    assert "did not answer" in done.output
