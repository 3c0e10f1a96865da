"""`carbonfleet spoke`: run a spoke's agent, and print what a new spoke needs."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carbonfleet.cli.console import fail, git, say
from carbonfleet.cli.settings import command
from carbonfleet.private_files import make_folder
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


@app.command()
def join(
    name: Annotated[str, typer.Argument(help="The new cluster's name.")],
    runtime: Annotated[RuntimeKind, typer.Option(help="How attempts will run there.")] = RuntimeKind.KUBERAY,
    region: Annotated[str, typer.Option(help="Its provider's region, which tells the electricity zone and PUE.")] = "",
    city: Annotated[str, typer.Option(help="Of a rented host: its city, which suggests the zone.")] = "",
    at: Annotated[str, typer.Option(help="LATITUDE,LONGITUDE: the nearest city that is known suggests the zone.")] = "",
    fleet: Annotated[
        Path | None, typer.Option(help="A checkout of the fleet repository: commit the cluster's file to a branch.")
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option(help="What `carbonfleet install spoke NAME --to FOLDER` wrote, or any overlay.")
    ] = None,
) -> None:
    """Print what a new spoke needs, in order.

    That is what must be there before, its file in the fleet repository, its rights on the hub, and how its agent is
    started.
    """
    from carbonfleet.spoke.join import cluster_file, join_text, site_at, site_of_city, site_of_region

    given = [(make, value) for make, value in ((site_of_region, region), (site_of_city, city), (site_at, at)) if value]
    if len(given) > 1:
        fail("give one of --region, --city and --at")
    try:
        site = given[0][0](given[0][1]) if given else None
    except ValueError as error:
        fail(error)
    name = _checked(name)
    if fleet is not None:
        _commit_file(fleet, name, cluster_file(name, runtime.value, site))
    say(join_text(name, runtime.value, site, shlex.quote(str(overlay)) if overlay else ""), nl=False)


def _commit_file(checkout: Path, name: str, text: str) -> None:
    """A commit of the cluster's file on a branch of its own, for a person to fill in, and to be reviewed."""
    file, branch = checkout / "clusters" / name / "cluster.yaml", f"join/{name}"
    if file.exists():
        fail(f"{file} is there already: edit it, or choose another name")
    if not (checkout / ".git").exists() or not (checkout / "policies").is_dir():
        fail(f"{checkout} is no checkout of the fleet repository: carbonfleet fleet init makes one")
    try:
        git(checkout, "switch", "--quiet", "--create", branch)
        make_folder(file.parent)
        file.write_text(text)
        git(checkout, "add", "--", str(file.relative_to(checkout)))
        git(checkout, "commit", "--quiet", "-m", f"Join {name}")
    except OSError as error:
        fail(error)
    said = f"committed {file} to the branch {branch}: fill in what is in <angle brackets>, check it with"
    say(f"{said} `carbonfleet validate {file}`, commit, push the branch, and have it reviewed", err=True)


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
        hub = HubLink(Kube.connect(kubeconfig), _checked(name))
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


def _checked(name: str) -> str:
    from pydantic import ValidationError

    from carbonfleet.spoke.join import checked_name

    try:
        return checked_name(name)
    except ValidationError:
        fail(f"{name!r} is not a cluster's name: lower-case letters, digits and dashes, at most 57")


def _serve(agent: "Agent", liveness: str) -> None:
    """Run until SIGTERM or SIGINT."""
    import logging
    import signal
    import threading

    from carbonfleet.probes import answer_probes

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
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
