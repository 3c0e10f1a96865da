"""A spoke that reports what is not its own, with exactly the rights that `spoke join` gives it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from carbonfleet.api.job_status import Phase
from carbonfleet.api.wire import format_time
from carbonfleet.kube import Kube, ours, path
from carbonfleet.spoke.join import hub_rights
from fixtures.hub_process import HubStack, RealApi, condition
from fixtures.kubeapi_server import eventually
from kubeapi import write_kubeconfig

LIAR = "ca-qc-1"
ON_LIAR = {"dataClass": "public", "allowedRegions": ["ca-central-1"]}


@dataclass
class Liar:
    """The account of one spoke's agent, in other hands."""

    stack: HubStack
    kube: Kube

    def report(self, job: str, name: str, /, **claims: Any) -> None:
        """A report in the liar's own namespace."""
        now = self.stack.clock.now()
        spec = {
            "spoke": LIAR,
            "job": {"namespace": self.stack.namespace, "name": job, "uid": self.stack.body(job)["metadata"]["uid"]},
            "placementId": "aaaaaaaaaaaaaaaa",
            "attempt": 1,
            "pool": "h100",
            "gpus": 1,
            "phase": "Running",
            "startTime": format_time(now - timedelta(minutes=5)),
            "observedAt": "2999-01-01T00:00:00Z",
        }
        head = {"apiVersion": "carbonfleet.dev/v1alpha1", "kind": "TrainingReport"}
        named = {"name": name, "namespace": f"spoke-{LIAR}"}
        self.kube.create(ours("trainingreports", f"spoke-{LIAR}"), head | {"metadata": named, "spec": spec | claims})

    def placed(self, job: str) -> str:
        """The placement id of a job that stands in Git."""
        placed = self.stack.job(job).status.placement
        assert placed is not None
        return placed.placement_id

    def is_caught(self, name: str) -> bool:
        """The hub has seen the report, and named it in its log."""
        return f"trainingreport {name} in spoke-{LIAR}" in self.stack.log()


@pytest.fixture(scope="module")
def liar(shared_stack) -> Liar:
    """One spoke's account in a stack that runs."""
    api = shared_stack.api
    if isinstance(api, RealApi):
        pytest.skip("takes an account's token by the embedded API's address")
    granted = api.kubectl("apply", "-f", "-", stdin=hub_rights(LIAR))
    assert granted.returncode == 0, granted.stderr
    where = path("api/v1", "serviceaccounts", f"spoke-{LIAR}", "agent", "token")
    token = shared_stack.kube.create(where, {"spec": {"expirationSeconds": 86_400 * 3650}})["status"]["token"]
    config = shared_stack.root / "liar.kubeconfig"
    write_kubeconfig(config, api.url, token, certificate=api.certificate)
    return Liar(shared_stack, Kube.connect(config))


@pytest.mark.parametrize(
    ("phase", "attempt"), [("Succeeded", 1), ("Stopped", 1), ("Refused", 1), ("Running", 99), ("Stopped", 1_000_000)]
)
def test_a_report_on_a_job_of_another_spoke_neither_ends_nor_doubles_nor_hides_it(liar, phase, attempt):
    stack, theirs = liar.stack, f"theirs-{phase}-{attempt}".lower()
    stack.submit(theirs, "hold")
    stack.wait(theirs, Phase.RUNNING)
    liar.report(theirs, f"lie-{theirs}", phase=phase, attempt=attempt, placementId=liar.placed(theirs))
    eventually(lambda: liar.is_caught(f"lie-{theirs}"))
    assert stack.phase(theirs) is Phase.RUNNING
    stack.spokes.finish(theirs)
    job = stack.wait(theirs, Phase.SUCCEEDED)
    assert (job.status.attempt, job.status.cluster) == (1, "no-osl-1")
    stack.assert_run_once(theirs)
    assert [line.cluster for line in stack.accounts(theirs)] == ["no-osl-1"]


@pytest.mark.parametrize(("phase", "attempt"), [("Running", 1), ("Stopped", 1_000_000)])
def test_a_report_on_a_job_that_waits_does_not_hold_it(liar, phase, attempt):
    stack, waits = liar.stack, f"waits-{phase}-{attempt}".lower()
    earliest = stack.clock.now() + timedelta(hours=2)
    stack.submit(waits, schedule={"earliestStart": format_time(earliest), "maxDelay": "24h"})
    stack.wait(waits, Phase.WAITING)
    liar.report(waits, f"lie-{waits}", phase=phase, attempt=attempt)
    eventually(lambda: liar.is_caught(f"lie-{waits}"))
    job = stack.wait(waits, Phase.SUCCEEDED)
    assert (job.status.attempt, job.status.cluster) == (1, "no-osl-1")
    stack.assert_run_once(waits)


def test_a_report_on_its_own_job_with_the_placement_of_another_takes_nothing_from_that(liar):
    stack = liar.stack
    stack.submit("theirs-0", "hold")
    stack.submit("own-0", "ignore", residency=ON_LIAR)
    stack.wait("theirs-0", Phase.RUNNING)
    stack.wait("own-0", Phase.COMMITTED)
    liar.report("own-0", "lie-0", phase="Succeeded", placementId=liar.placed("theirs-0"))
    eventually(lambda: liar.is_caught("lie-0"))
    stack.spokes.finish("theirs-0")
    stack.wait("theirs-0", Phase.SUCCEEDED)
    stack.assert_run_once("theirs-0")
    assert stack.phase("own-0") is Phase.COMMITTED


def test_a_spoke_can_charge_no_more_than_git_and_its_hardware_allow(liar):
    stack = liar.stack
    stack.submit("own-1", "ignore", residency=ON_LIAR)
    job = stack.wait("own-1", Phase.COMMITTED)
    liar.report(
        "own-1",
        "lie-1",
        phase="Succeeded",
        placementId=liar.placed("own-1"),
        gpus=1_000_000_000,
        job={"namespace": "victims", "name": "innocent", "uid": job.metadata.uid},
        startTime="1970-01-01T00:00:00Z",
        observedAt=format_time(stack.clock.now()),
        energy={"method": "nvml", "kwh": 1e300, "samples": [{"time": "2999-01-01T00:00:00Z", "energyKwh": 1e300}]},
    )
    stack.wait("own-1", Phase.SUCCEEDED)
    eventually(lambda: liar.is_caught("lie-1"))
    (line,) = stack.accounts("own-1")
    assert (line.namespace, line.gpus, line.pool) == (stack.namespace, 1, job.status.placement.pool)
    assert line.start >= job.metadata.creation_timestamp
    assert line.energy_method == "estimate"
    assert line.energy_kwh <= 0.7 * line.gpu_hours


def test_what_a_spoke_reports_of_its_own_goes_on_to_count_beside_its_lies(liar):
    stack = liar.stack
    stack.submit("theirs-2", "hold")
    stack.submit("own-2", residency=ON_LIAR)
    stack.wait("theirs-2", Phase.RUNNING)
    liar.report("theirs-2", "lie-2", phase="Failed", placementId=liar.placed("theirs-2"))
    assert stack.wait("own-2", Phase.SUCCEEDED).status.cluster == LIAR
    eventually(lambda: liar.is_caught("lie-2"))
    assert condition(stack.job("theirs-2"), "Running").status.value == "True"
    items, _ = stack.kube.list(path("api/v1", "events", "default"))
    told = [each for each in items if each["involvedObject"]["name"] == LIAR and each["reason"] == "NotAsInGit"]
    assert [each["type"] for each in told] == ["Warning"]


def test_a_heartbeat_from_the_future_keeps_no_dead_spoke_ready(liar):
    stack, where = liar.stack, ours("spokeclusters", name=LIAR)

    def says(kind: str) -> tuple[str, str]:
        found = stack.kube.get(where)["status"]["conditions"]
        return next(((each["status"], each["reason"]) for each in found if each["type"] == kind), ("", ""))

    stack.spokes.silent.add(LIAR)
    try:
        liar.kube.patch(f"{where}/status", {"status": {"heartbeatTime": "2999-01-01T00:00:00Z"}})
        stack.submit("wakes-the-hub")  # a heartbeat alone does not
        eventually(lambda: says("ClockInSync") == ("False", "ClockSkewed"))
        eventually(lambda: says("Ready") == ("False", "Unreachable"))
    finally:
        stack.spokes.silent.discard(LIAR)
    eventually(lambda: says("Ready") == ("True", "Ready"))
    eventually(lambda: says("ClockInSync") == ("True", "InSync"))
