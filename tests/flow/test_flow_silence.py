"""A carbon API that is dead and an agent that is silent, each seen by a hub of its own."""

import pytest
import yaml

from carbonfleet.api.job_status import Phase
from carbonfleet.local.ports import free_port
from fixtures.hub_process import begin, condition
from fixtures.kubeapi_server import eventually


def test_a_dead_carbon_api_lets_the_job_s_own_rule_decide_and_says_so(stack):
    dead = {"type": "electricitymaps", "endpoint": {"url": f"http://127.0.0.1:{free_port()}", "tries": 1}}
    settings = {"sources": [dead], "patienceSeconds": 1}
    stack.signals.write_text(yaml.safe_dump(settings))
    begin(stack)
    stack.submit("patient", schedule={"maxDelay": "1h", "onSignalLoss": {"action": "wait"}})
    stack.submit("prompt", schedule={"maxDelay": "1h", "onSignalLoss": {"action": "now"}})
    patient = stack.wait("patient", Phase.WAITING, Phase.BLOCKED)
    assert "the carbon intensity is known nowhere" in patient.status.summary
    job = stack.wait("prompt", Phase.SUCCEEDED)
    assert "No source knows the grid" in condition(job, "Scheduled").message
    assert stack.placements("patient") == []


@pytest.mark.soak
def test_a_silent_spoke_gets_nothing_new_and_keeps_what_it_has(stack):
    begin(stack)
    stack.submit("kept", "hold")
    stack.wait("kept", Phase.RUNNING)
    stack.spokes.silent.add("no-osl-1")

    def is_out() -> bool:
        stack.submit(f"probe-{len(stack.spokes.behaviours)}")
        name = list(stack.spokes.behaviours)[-1]
        job = stack.wait(name, Phase.SUCCEEDED, Phase.COMMITTED, Phase.RUNNING)
        (norway,) = [c for c in job.status.candidates if c.cluster == "no-osl-1"]
        return norway.reason == "Unreachable"

    eventually(is_out, every=3.0)
    assert stack.phase("kept") is Phase.RUNNING
    assert stack.changes("kept") == ["place 1"]
