"""What people declare: broken policies and cluster files, zones that nobody knows, a dead carbon API."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import requests

from carbonfleet.api.job_status import Phase
from carbonfleet.api.wire import format_time
from carbonfleet.kube import ours
from carbonfleet.signals import ZoneCarbon
from fixtures.hub_process import GRAMS, HubStack, condition
from fixtures.kubeapi_server import eventually


@pytest.fixture
def fleet(shared_stack) -> Iterator[HubStack]:
    """A stack whose declarations are put back after the test."""
    kept = declared(shared_stack)
    yield shared_stack

    def mend(work: Path) -> None:
        for file, text in kept.items():
            (work / file).parent.mkdir(parents=True, exist_ok=True)
            (work / file).write_text(text + "\n")

    if declared(shared_stack) != kept:
        shared_stack.change("Mend what was broken", mend)


def declared(stack: HubStack) -> dict[str, str]:
    """What people wrote on the branch, by path."""
    return {file: stack.git.git("show", f"main:{file}") for file in stack.git.files() if "/jobs/" not in file}


def ready_of(stack: HubStack, spoke: str) -> dict[str, str]:
    """The condition that the hub writes on a SpokeCluster."""
    (ready,) = stack.kube.get(ours("spokeclusters", name=spoke))["status"]["conditions"]
    return ready


def spoke_events(stack: HubStack, spoke: str, reason: str) -> str:
    """What kubectl describe shows of one reason."""
    shown = stack.api.kubectl("describe", "spokecluster", spoke).stdout.partition("Events:")[2]
    return "".join(line for line in shown.splitlines() if reason in line)


def test_a_broken_policy_denies_with_file_and_line_and_recovers_when_corrected(fleet):
    fleet.edit(
        "Break the policy", "policies/default.yaml", "residency: {anywhere: true}", "residency: {anywhere: perhaps}"
    )
    fleet.submit("denied")
    job = fleet.wait("denied", Phase.BLOCKED)
    assert "policies/default.yaml:6" in job.status.summary
    assert condition(job, "PolicyAllowed").status.value == "False"
    assert fleet.placements("denied") == []
    fleet.edit("Mend the policy", "policies/default.yaml", "perhaps", "true")
    fleet.submit("nudge")  # any later cycle sees the new tip
    fleet.wait("denied", Phase.SUCCEEDED)
    fleet.assert_run_once("denied")


def test_a_broken_cluster_file_takes_that_spoke_out_and_no_other(fleet):
    fleet.edit("Break Norway", "clusters/no-osl-1/cluster.yaml", "gpus: 1024", "gpus: many")
    fleet.submit("second-best", "hold")
    job = fleet.wait("second-best", Phase.RUNNING)
    assert job.status.cluster == "ca-qc-1"
    (norway,) = [c for c in job.status.candidates if c.cluster == "no-osl-1"]
    assert "clusters/no-osl-1/cluster.yaml:" in norway.message
    ready = ready_of(fleet, "no-osl-1")
    assert (ready["status"], ready["reason"]) == ("False", "Invalid")
    assert "clusters/no-osl-1/cluster.yaml:" in ready["message"]
    assert ready_of(fleet, "ca-qc-1")["status"] == "True"
    eventually(lambda: "clusters/no-osl-1/cluster.yaml:" in spoke_events(fleet, "no-osl-1", "Invalid"))
    fleet.edit("Mend Norway", "clusters/no-osl-1/cluster.yaml", "gpus: many", "gpus: 1024")
    fleet.submit("best-again")
    assert fleet.wait("best-again", Phase.SUCCEEDED).status.cluster == "no-osl-1"
    assert ready_of(fleet, "no-osl-1")["status"] == "True"


def test_a_spoke_whose_file_vanished_still_has_its_attempt_accounted(fleet):
    fleet.submit("homeless", "hold")
    fleet.wait("homeless", Phase.RUNNING)
    fleet.remove("Forget Norway", "clusters/no-osl-1/cluster.yaml")
    fleet.spokes.finish("homeless")
    fleet.wait("homeless", Phase.SUCCEEDED)
    (line,) = fleet.accounts("homeless")
    assert (line.cluster, line.zone) == ("no-osl-1", "NO-NO1")


def test_a_zone_that_nobody_knows_excludes_its_spoke_with_the_reason(fleet):
    fleet.edit("Misspell Norway", "clusters/no-osl-1/cluster.yaml", '"NO-NO1"', '"XX-NOPE"')
    fleet.submit("elsewhere")
    job = fleet.wait("elsewhere", Phase.SUCCEEDED)
    assert job.status.cluster == "ca-qc-1"
    (norway,) = [c for c in job.status.candidates if c.cluster == "no-osl-1"]
    assert norway.verdict == "Filtered"
    assert "XX-NOPE" in norway.message


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("clusters/us-oh-1/cluster.yaml", "metadata:", "lastReviewed: 2026-02-30\nmetadata:"),
        ("clusters/us-oh-1/cluster.yaml", "    region:", "    pue: !!float 1k\n    region:"),
        ("clusters/us-oh-1/cluster.yaml", "metadata:", "lastReviewed: !!timestamp abc\nmetadata:"),
    ],
    ids=["a-date-that-is-none", "a-number-that-is-none", "a-time-that-is-none"],
)
def test_an_odd_scalar_in_a_cluster_file_stops_nobody_elsewhere(fleet, request, file, old, new):
    name = request.node.callspec.id
    fleet.submit(f"under-way-{name}", "hold")
    fleet.wait(f"under-way-{name}", Phase.RUNNING)
    fleet.edit("Review Ohio", file, old, new)
    fleet.submit(f"new-{name}")
    assert fleet.wait(f"new-{name}", Phase.SUCCEEDED).status.cluster == "no-osl-1"
    eventually(lambda: f"{file}:" in ready_of(fleet, "us-oh-1")["message"])
    assert (ready_of(fleet, "us-oh-1")["status"], ready_of(fleet, "us-oh-1")["reason"]) == ("False", "Invalid")
    fleet.spokes.finish(f"under-way-{name}")
    fleet.wait(f"under-way-{name}", Phase.SUCCEEDED)


def test_an_odd_scalar_among_the_placements_stops_nobody(fleet):
    def write(work: Path) -> None:
        folder = work / "clusters/us-oh-1/jobs/team-z"
        folder.mkdir(parents=True)
        (folder / "x.yaml").write_text("kind: ConfigMap\ndata: {a: !!bool maybe}\n---\nkind: RayJob\n")
        (work / "moves/team-z").mkdir(parents=True)
        (work / "moves/team-z/x.yaml").write_text("kind: ConfigMap\ndata: {a: !!int 1k}\n---\nkind: RayJob\n")

    fleet.change("Place by hand", write)
    fleet.submit("beside-odd-files")
    fleet.wait("beside-odd-files", Phase.SUCCEEDED)
    for path in ("clusters/us-oh-1/jobs/team-z/x.yaml", "moves/team-z/x.yaml"):
        assert fleet.log().count(f"the fleet repository: {path}:2: tags (tag:yaml.org,2002:") == 1
    fleet.remove("Take it away", "clusters/us-oh-1/jobs/team-z/x.yaml")
    fleet.remove("Take it away", "moves/team-z/x.yaml")


def test_a_policy_that_nobody_reads_denies_and_is_named(fleet):
    fleet.change("Forbid", lambda work: (work / "policies/us-only.YAML").write_text("kind: FleetPolicy\n"))
    fleet.submit("forbidden")
    job = fleet.wait("forbidden", Phase.BLOCKED)
    assert "policies/us-only.YAML:1: nobody reads it: a policy is a file policies/<name>.yaml" in job.status.summary
    fleet.remove("Take it away", "policies/us-only.YAML")
    fleet.submit("third-nudge")
    fleet.wait("forbidden", Phase.SUCCEEDED)


def test_an_odd_scalar_in_a_policy_denies_with_file_and_line(fleet):
    fleet.edit("Review", "policies/default.yaml", "kind: FleetPolicy", "kind: FleetPolicy\nlastReviewed: 2026-02-30")
    fleet.submit("not-reviewed")
    job = fleet.wait("not-reviewed", Phase.BLOCKED)
    assert "policies/default.yaml:3: lastReviewed: no such field" in job.status.summary
    fleet.edit("Unreview", "policies/default.yaml", "\nlastReviewed: 2026-02-30", "")
    fleet.submit("nudge-again")
    fleet.wait("not-reviewed", Phase.SUCCEEDED)


def test_a_zone_of_the_fleet_is_told_to_whoever_has_the_token(shared_stack):
    _, address, _, token_file = shared_stack.options
    sent = {"Authorization": f"Bearer {Path(token_file).read_text().strip()}"}

    def asked(zone: str) -> requests.Response:
        return requests.get(f"http://{address}/carbon/v1/zones/{zone}", headers=sent, timeout=60)

    eventually(lambda: asked("NO-NO1").status_code == 200)
    told = ZoneCarbon.model_validate(asked("NO-NO1").json())
    assert (told.grams_per_kwh, len(told.forecast)) == (GRAMS["NO-NO1"], 24)
    assert asked("FR").status_code == 404
    sent["Authorization"] += "x"
    assert asked("NO-NO1").status_code == 401


def test_a_spoke_whose_hosts_may_sleep_is_told_what_is_planned_there(fleet):
    file = "clusters/us-oh-1/cluster.yaml"
    fleet.edit("Let hosts sleep", file, "gpuType:", "wakeTime: 10m, gpuType:")

    def planned() -> list[dict[str, object]]:
        status = fleet.kube.get(ours("spokeclusters", name="us-oh-1")).get("status") or {}
        return status.get("plannedStarts") or []

    residency = {"dataClass": "public", "allowedRegions": ["us-east-2"]}
    later = format_time(fleet.clock.now() + timedelta(hours=6))
    schedule = {"maxDelay": "24h", "earliestStart": later}
    fleet.submit("sleeper", residency=residency, schedule=schedule)
    told = eventually(planned)
    assert (told[0]["pool"], told[0]["gpus"]) == ("a100", 1)
    fleet.wait("sleeper", Phase.SUCCEEDED)
    eventually(lambda: not planned())
