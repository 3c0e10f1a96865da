"""What people declare: broken policies and cluster files, zones that nobody knows, a dead carbon API."""

from collections.abc import Iterator

import pytest
import yaml

from carbonfleet.api.job_status import Phase
from fixtures.hub_process import House, begin, condition
from fixtures.kubeapi_server import eventually, free_port


@pytest.fixture
def fleet(shared_house) -> Iterator[House]:
    """A house whose declarations are put back after the test."""
    before = shared_house.git.git("rev-parse", "main")
    yield shared_house
    person = shared_house.git.checkout(f"mender-{before[:8]}")
    person.pull()
    person.run("checkout", "--quiet", before, "--", "policies", "clusters/*/cluster.yaml")
    if person.run("status", "--porcelain"):
        person.push("Mend what was broken")


def test_a_broken_policy_denies_with_file_and_line_and_recovers_when_corrected(fleet):
    person = fleet.git.checkout("a-broken-policy-deni")
    person.edit("policies/default.yaml", "residency: {anywhere: true}", "residency: {anywhere: perhaps}")
    person.push("Break the policy")
    fleet.submit("denied")
    job = fleet.wait("denied", Phase.BLOCKED)
    assert "policies/default.yaml:6" in job.status.summary
    assert condition(job, "PolicyAllowed").status.value == "False"
    assert fleet.placements("denied") == []
    person.edit("policies/default.yaml", "perhaps", "true")
    person.push("Mend the policy")
    fleet.submit("nudge")  # any later cycle sees the new tip
    fleet.wait("denied", Phase.SUCCEEDED)
    fleet.assert_run_once("denied")


def test_a_broken_cluster_file_takes_that_spoke_out_and_no_other(fleet):
    person = fleet.git.checkout("a-broken-cluster-fil")
    person.edit("clusters/no-osl-1/cluster.yaml", "gpus: 1024", "gpus: many")
    person.push("Break Norway")
    fleet.submit("second-best", "hold")
    job = fleet.wait("second-best", Phase.RUNNING)
    assert job.status.cluster == "ca-qc-1"
    (norway,) = [c for c in job.status.candidates if c.cluster == "no-osl-1"]
    assert "clusters/no-osl-1/cluster.yaml:" in norway.message
    person.edit("clusters/no-osl-1/cluster.yaml", "gpus: many", "gpus: 1024")
    person.push("Mend Norway")
    fleet.submit("best-again")
    assert fleet.wait("best-again", Phase.SUCCEEDED).status.cluster == "no-osl-1"


def test_a_spoke_whose_file_vanished_still_has_its_attempt_accounted(fleet):
    fleet.submit("homeless", "hold")
    fleet.wait("homeless", Phase.RUNNING)
    person = fleet.git.checkout("a-spoke-whose-file-v")
    person.pull()
    person.run("rm", "--quiet", "clusters/no-osl-1/cluster.yaml")
    person.push("Forget Norway")
    fleet.spokes.finish("homeless")
    fleet.wait("homeless", Phase.SUCCEEDED)
    (line,) = fleet.ledger("homeless")
    assert (line.cluster, line.zone) == ("no-osl-1", "NO-NO1")


def test_a_zone_that_nobody_knows_excludes_its_spoke_with_the_reason(fleet):
    person = fleet.git.checkout("a-zone-that-nobody-k")
    person.edit("clusters/no-osl-1/cluster.yaml", '"NO-NO1"', '"XX-NOPE"')
    person.push("Misspell Norway")
    fleet.submit("elsewhere")
    job = fleet.wait("elsewhere", Phase.SUCCEEDED)
    assert job.status.cluster == "ca-qc-1"
    (norway,) = [c for c in job.status.candidates if c.cluster == "no-osl-1"]
    assert norway.verdict == "Filtered"
    assert "XX-NOPE" in norway.message


def test_a_dead_carbon_api_lets_the_job_s_own_rule_decide_and_says_so(house):
    dead = {"type": "electricitymaps", "endpoint": {"url": f"http://127.0.0.1:{free_port()}", "tries": 1}}
    settings = {"sources": [dead], "patienceSeconds": 1}
    house.signals.write_text(yaml.safe_dump(settings))
    begin(house)
    house.submit("patient", schedule={"maxDelay": "1h", "onSignalLoss": {"action": "wait"}})
    house.submit("prompt", schedule={"maxDelay": "1h", "onSignalLoss": {"action": "now"}})
    patient = house.wait("patient", Phase.WAITING, Phase.BLOCKED)
    assert "No source knows the grid" in patient.status.summary
    job = house.wait("prompt", Phase.SUCCEEDED)
    assert "No source knows the grid" in condition(job, "Scheduled").message
    assert house.placements("patient") == []


@pytest.mark.soak
def test_a_silent_spoke_gets_nothing_new_and_keeps_what_it_has(house):
    begin(house)
    house.submit("kept", "hold")
    house.wait("kept", Phase.RUNNING)
    house.spokes.silent.add("no-osl-1")

    def is_out() -> bool:
        house.submit(f"probe-{len(house.spokes.plays)}")
        name = list(house.spokes.plays)[-1]
        job = house.wait(name, Phase.SUCCEEDED, Phase.COMMITTED, Phase.RUNNING)
        (norway,) = [c for c in job.status.candidates if c.cluster == "no-osl-1"]
        return norway.reason == "Unreachable"

    eventually(is_out, 60, every=3.0)
    assert house.phase("kept") is Phase.RUNNING
    assert house.changes("kept") == ["place 1"]
