"""`carbonfleet spoke`: run a spoke's agent, and print what a new spoke needs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carbonfleet.cli.console import fail, say, stop_event
from carbonfleet.cli.settings import command
from carbonfleet.cli.spokes.drain import drain
from carbonfleet.cli.spokes.host import down, leave, ray, up
from carbonfleet.cli.spokes.join import checked, join, renew
from carbonfleet.install.ssh_host.settings import HIDDEN, DownSettings, UpSettings
from carbonfleet.spoke.settings import AgentSettings, RuntimeKind

if TYPE_CHECKING:
    from carbonfleet.spoke import Agent, RaySettings

app = typer.Typer(no_args_is_help=True, help="Run the agent of a cluster that trains.")


@app.callback()
def spoke() -> None:
    """The agent of a cluster that trains."""


def run(settings: AgentSettings) -> None:
    """Run the agent until SIGTERM; what trains goes on without it."""
    from carbonfleet.clock import Clock
    from carbonfleet.fleet import FleetError
    from carbonfleet.kube import Kube, KubeError
    from carbonfleet.private_files import keep_private
    from carbonfleet.spoke import Agent, FleetFolder, HubLink, KubeRay, RayJobs, SpokeError

    keep_private()
    try:
        clock = Clock.from_environment()
        source = FleetFolder(settings.spoke, settings.repository, clock)
        attempts = (
            RayJobs(settings.spoke, _ray(settings), clock)
            if settings.runtime is RuntimeKind.RAY
            else KubeRay(settings.spoke, Kube.connect(settings.spoke_kubeconfig), clock)
        )
        hub = HubLink(Kube.connect(settings.hub_kubeconfig), settings.spoke)
        _serve(Agent(settings, source, attempts, hub, clock), settings.liveness)
    except (KubeError, FleetError, SpokeError, OSError, ValueError) as error:
        fail(error)


command(app, "run", AgentSettings, run)
command(app, "up", UpSettings, up, HIDDEN)
command(app, "down", DownSettings, down)
command(app, "leave", AgentSettings, leave)
app.command("ray", hidden=True)(ray)


app.command()(join)
app.command()(renew)
app.command()(drain)


@app.command("take-over")
def take_over(
    name: Annotated[str, typer.Argument(help="The spoke's name.")],
    kubeconfig: Annotated[
        Path | None, typer.Option(envvar="KUBECONFIG", help="The hub's; where kubectl looks by itself when left out.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="What the first agent ran has ended: ask nothing.")] = False,
) -> None:
    """Give a spoke's name to its next agent.

    For a machine that is gone for good. What still trains there would be run a second time.
    """
    from carbonfleet.kube import Kube, KubeError
    from carbonfleet.spoke import HubLink, release

    try:
        hub = HubLink(Kube.connect(kubeconfig), checked(name))
        stands = hub.standing()
        if not stands.holder:
            fail(f"no agent holds the name {name}: the next one takes it by itself")
        say(f"{stands.holder} holds the name {name}; it was heard last at {stands.heard or 'no time'}")
        if not yes and not typer.confirm("Has it ended, with all that it ran?"):
            fail("the name stays as it is")
        say(f"looking on for {stands.lease_seconds} s, to see that it is silent")
        if not release(hub):
            fail(f"{stands.holder} was heard meanwhile: stop it first")
    except KubeError as error:
        fail(error)
    say(f"the name {name} is free: the next agent that asks takes it, within half a minute if it waits already")


def _serve(agent: "Agent", liveness: str) -> None:
    """Run until SIGTERM or SIGINT."""
    import logging

    from carbonfleet.probes import answer_probes

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = stop_event()
    if liveness:
        answer_probes(liveness, agent.probe)
    agent.run(stop)


def _ray(settings: AgentSettings) -> "RaySettings":
    from pydantic import SecretStr

    from carbonfleet.shipped import SHIPPED
    from carbonfleet.spoke import RaySettings

    token = settings.ray_token_file
    return RaySettings(
        address=settings.ray_address,
        token=SecretStr(token.read_text().strip()) if token else None,
        command=settings.training_command,
        directory=(settings.workload or SHIPPED).resolve(),
        store=settings.store.resolve(),
        datasets=settings.datasets.resolve(),
        models=settings.models.resolve(),
        output_folders=tuple(
            Path(each.strip()).resolve() for each in settings.output_folders.split(",") if each.strip()
        ),
        private_networks=settings.private_networks,
    )
