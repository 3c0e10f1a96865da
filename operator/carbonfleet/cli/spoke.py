"""`carbonfleet spoke`: run a spoke's agent, and print what a new spoke needs."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from carbonfleet.clock import Clock
    from carbonfleet.spoke import Runtime

app = typer.Typer(no_args_is_help=True, help="The agent of a cluster that trains.")


class Kind(StrEnum):
    """How attempts run on this spoke."""

    RAY = "ray"
    KUBERAY = "kuberay"


class Apply(StrEnum):
    """Who applies the folder."""

    AGENT = "agent"
    WATCH = "watch"


@app.callback()
def spoke() -> None:
    """The agent of a cluster that trains."""


@app.command()
def run(
    name: Annotated[str, typer.Option(help="The cluster's name.", envvar="CARBONFLEET_SPOKE")],
    fleet_url: Annotated[str, typer.Option(help="The fleet repository.", envvar="CARBONFLEET_FLEET_URL")],
    fleet_branch: Annotated[str, typer.Option(envvar="CARBONFLEET_FLEET_BRANCH")] = "main",
    fleet_token_file: Annotated[
        Path | None, typer.Option(help="For https.", envvar="CARBONFLEET_FLEET_TOKEN_FILE")
    ] = None,
    fleet_ssh_key: Annotated[Path | None, typer.Option(envvar="CARBONFLEET_FLEET_SSH_KEY")] = None,
    fleet_known_hosts: Annotated[Path | None, typer.Option(envvar="CARBONFLEET_FLEET_KNOWN_HOSTS")] = None,
    allowed_signers: Annotated[
        Path | None,
        typer.Option(help="Follow only commits signed by these keys.", envvar="CARBONFLEET_ALLOWED_SIGNERS"),
    ] = None,
    hub_kubeconfig: Annotated[
        Path | None, typer.Option(help="How to reach the hub.", envvar="CARBONFLEET_HUB_KUBECONFIG")
    ] = None,
    runtime: Annotated[Kind, typer.Option(envvar="CARBONFLEET_RUNTIME")] = Kind.KUBERAY,
    apply: Annotated[
        Apply, typer.Option(help="watch: Flux or Argo CD applies the folder.", envvar="CARBONFLEET_APPLY")
    ] = Apply.AGENT,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="This cluster, for kuberay; the pod's account by default.")
    ] = None,
    ray_address: Annotated[
        str, typer.Option(help="Ray's Jobs API, for ray.", envvar="CARBONFLEET_RAY_ADDRESS")
    ] = "http://127.0.0.1:8265",
    ray_token_file: Annotated[Path | None, typer.Option(envvar="CARBONFLEET_RAY_TOKEN_FILE")] = None,
    workload: Annotated[
        Path, typer.Option(help="The folder that holds workloads/, for ray.", envvar="CARBONFLEET_WORKLOAD")
    ] = Path(),
    state: Annotated[Path, typer.Option(help="What the agent must not forget.", envvar="CARBONFLEET_STATE")] = Path(
        ".carbonfleet/spoke"
    ),
    store: Annotated[Path, typer.Option(help="Where attempts save.", envvar="CARBONFLEET_STORE")] = Path(
        ".carbonfleet/store"
    ),
    allow_list: Annotated[
        Path | None, typer.Option(help="The admin's data classes.", envvar="CARBONFLEET_ALLOW_LIST")
    ] = None,
    poll_seconds: Annotated[float, typer.Option(envvar="CARBONFLEET_POLL_SECONDS")] = 2.0,
    sync_seconds: Annotated[float, typer.Option(envvar="CARBONFLEET_SYNC_SECONDS")] = 15.0,
    progress_seconds: Annotated[float, typer.Option(envvar="CARBONFLEET_PROGRESS_SECONDS")] = 5.0,
) -> None:
    """Run the agent until SIGTERM; what trains goes on without it."""
    import logging
    import signal
    import threading

    from pydantic import ValidationError

    from carbonfleet.clock import Clock
    from carbonfleet.fleet.errors import FleetError
    from carbonfleet.fleet.settings import RepositorySettings
    from carbonfleet.kube import Kube, KubeError
    from carbonfleet.spoke import Agent, AgentSettings, FleetFolder, HubLink, SpokeError

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    clock, stop = Clock.from_environment(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = AgentSettings(
            spoke=name,
            state=state.resolve(),
            store=store.resolve(),
            allow_list=allow_list,
            watch_only=apply is Apply.WATCH,
            poll_seconds=poll_seconds,
            sync_seconds=sync_seconds,
            progress_seconds=progress_seconds,
        )
        repository = RepositorySettings(
            url=fleet_url,
            directory=settings.state / "fleet.git",
            branch=fleet_branch,
            token_file=fleet_token_file,
            ssh_key=fleet_ssh_key,
            known_hosts=fleet_known_hosts,
        )
        source = FleetFolder(name, repository, clock, allowed_signers)
        hub = HubLink(Kube.connect(hub_kubeconfig), name)
        if runtime is Kind.RAY:
            attempts = _ray(name, ray_address, ray_token_file, workload, clock)
        else:
            attempts = _kuberay(name, kubeconfig, clock)
        agent = Agent(settings, source, attempts, hub, clock)
    except (ValidationError, KubeError, FleetError, SpokeError, OSError) as error:
        typer.echo(f"carbonfleet spoke run: {_readable(error)}", err=True)
        raise typer.Exit(2) from error
    agent.run(stop)


def _ray(name: str, address: str, token_file: Path | None, workload: Path, clock: "Clock") -> "Runtime":
    from pydantic import SecretStr

    from carbonfleet.spoke import RayJobs, RaySettings

    token = SecretStr(token_file.read_text().strip()) if token_file else None
    return RayJobs(name, RaySettings(address=address, token=token, directory=workload.resolve()), clock)


def _kuberay(name: str, kubeconfig: Path | None, clock: "Clock") -> "Runtime":
    from carbonfleet.kube import Kube
    from carbonfleet.spoke import KubeRay

    return KubeRay(name, Kube.connect(kubeconfig), clock)


def _readable(error: Exception) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    return str(error)
