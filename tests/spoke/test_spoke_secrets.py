"""What a server refuses, quoting the secret that it was sent, is told without it by an agent too."""

import base64
import json

import pytest
from pydantic import SecretStr
from simulated_runtime import SimulatedRuntime
from spoke_stack import SPOKE, intent

from carbonfleet.kube import Kube, ours, path
from carbonfleet.spoke import Agent, FleetFolder, HubLink, RayJobs, RaySettings
from fixtures.echo_server import echo
from fixtures.fleet_values import quick_settings

__all__ = ["echo"]
MARKER = "s3cr3tMARKER"
WRITTEN = (MARKER, base64.b64encode(MARKER.encode()).decode()[:12])


def everything(stack, agent, caplog) -> str:
    """All that people can read of a spoke."""
    listed = [stack.kube.list(ours(kind)) for kind in ("spokeclusters", "trainingreports")]
    listed.append(stack.kube.list(path("api/v1", "events")))
    return json.dumps(listed, default=str) + caplog.text + agent.probe().message


@pytest.mark.parametrize("quotes", ["ray", "git"])
def test_a_server_that_quotes_our_token_in_a_refusal_is_quoted_without_it(bare_stack, caplog, echo, quotes):
    stack, runtime, folder = bare_stack, SimulatedRuntime(SPOKE), bare_stack.root
    if quotes == "ray":
        given = {"directory": folder, "store": folder, "datasets": folder, "models": folder}
        runtime = RayJobs(SPOKE, RaySettings(address=echo.url, token=SecretStr(MARKER), **given), stack.clock)
    settings = quick_settings(stack.git.url, folder / "clone.git")
    if quotes == "git":
        (folder / "token").write_text(f"{MARKER}\n")
        settings = quick_settings(f"{echo.url}/fleet.git", folder / "clone.git", token_file=folder / "token")
    source, hub = FleetFolder(SPOKE, settings, stack.clock), HubLink(Kube.connect(stack.hub_kubeconfig), SPOKE)
    stack.publish(intent(stack.job))
    agent = Agent(stack.agent_settings(), source, runtime, hub, stack.clock)
    stack.agents.append(agent)
    stack.cycle_until(agent, lambda: MARKER in echo.sent and stack.spoke().status.problems)
    for _ in range(10):
        agent.cycle()
    text = everything(stack, agent, caplog)
    assert [secret for secret in WRITTEN if secret in text] == []
