"""A carbon API that is dead and an agent that is silent, each seen by a hub of its own."""

import pytest
import yaml

from carbonfleet.api.job_status import Phase
from carbonfleet.local.ports import free_port
from fixtures.hub_process import begin, condition
from fixtures.kubeapi_server import eventually


def test_a_dead_carbon_api_lets_the_job_s_own_rule_decide_and_says_so(house):
    dead = {"type": "electricitymaps", "endpoint": {"url": f"http://127.0.0.1:{free_port()}", "tries": 1}}
    settings = {"sources": [dead], "patienceSeconds": 1}
    house.signals.write_text(yaml.safe_dump(settings))
    begin(house)
    house.submit("patient", schedule={"maxDelay": "1h", "onSignalLoss": {"action": "wait"}})
    house.submit("prompt", schedule={"maxDelay": "1h", "onSignalLoss": {"action": "now"}})
    patient = house.wait("patient", Phase.WAITING, Phase.BLOCKED)
    assert "the carbon intensity is known nowhere" in patient.status.summary
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

    eventually(is_out, every=3.0)
    assert house.phase("kept") is Phase.RUNNING
    assert house.changes("kept") == ["place 1"]
