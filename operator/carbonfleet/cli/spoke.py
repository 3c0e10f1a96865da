"""`carbonfleet spoke`: run a spoke's agent, and print what a new spoke needs."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from carbonfleet.spoke import Agent, RaySettings

app = typer.Typer(no_args_is_help=True, help="The agent of a cluster that trains.")


class Kind(StrEnum):
    """How attempts run on this spoke."""

    RAY = "ray"
    KUBERAY = "kuberay"


class Apply(StrEnum):
    """Who applies the folder."""

    AGENT = "agent"
    WATCH = "watch"


def _option(help_text: str, variable: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(help=help_text, envvar=f"CARBONFLEET_{variable}")
    return option


@app.callback()
def spoke() -> None:
    """The agent of a cluster that trains."""


@app.command()
def run(
    name: Annotated[str, _option("The cluster's name in the fleet repository.", "SPOKE")],
    fleet_url: Annotated[str, _option("The fleet repository: https://, ssh:// or git://.", "FLEET_URL")],
    fleet_branch: Annotated[str, _option("Its branch.", "FLEET_BRANCH")] = "main",
    fleet_token_file: Annotated[Path | None, _option("A read-only token, for https.", "FLEET_TOKEN_FILE")] = None,
    fleet_ssh_key: Annotated[Path | None, _option("A read-only key, for ssh.", "FLEET_SSH_KEY")] = None,
    fleet_known_hosts: Annotated[Path | None, _option("The SSH server's keys.", "FLEET_KNOWN_HOSTS")] = None,
    ca_file: Annotated[Path | None, _option("Trusted for https, in place of the system's.", "CA_FILE")] = None,
    allowed_signers: Annotated[
        Path | None, _option("Follow only commits signed by these keys.", "ALLOWED_SIGNERS")
    ] = None,
    hub_kubeconfig: Annotated[Path | None, _option("How to reach the hub.", "HUB_KUBECONFIG")] = None,
    runtime: Annotated[Kind, _option("How attempts run here.", "RUNTIME")] = Kind.KUBERAY,
    apply: Annotated[Apply, _option("watch: Flux or Argo CD applies the folder.", "APPLY")] = Apply.AGENT,
    kubeconfig: Annotated[Path | None, _option("This cluster; in a pod left out.", "SPOKE_KUBECONFIG")] = None,
    ray_address: Annotated[str, _option("Ray's Jobs API.", "RAY_ADDRESS")] = "http://127.0.0.1:8265",
    ray_token_file: Annotated[Path | None, _option("Its token, where it wants one.", "RAY_TOKEN_FILE")] = None,
    workload: Annotated[Path, _option("The folder that holds workloads/, for ray.", "WORKLOAD")] = Path(),
    python: Annotated[Path | None, _option("The Python that trains, for ray.", "TRAINING_PYTHON")] = None,
    state: Annotated[Path, _option("What must not be forgotten.", "STATE")] = Path(".carbonfleet/spoke"),
    store: Annotated[Path, _option("Where attempts save, for ray.", "STORE")] = Path(".carbonfleet/store"),
    allow_list: Annotated[Path | None, _option("The admin's own data classes.", "ALLOW_LIST")] = None,
    poll_seconds: Annotated[float, _option("Between two looks at the runtime.", "POLL_SECONDS")] = 2.0,
    sync_seconds: Annotated[float, _option("Between two looks at Git.", "SYNC_SECONDS")] = 15.0,
    progress_seconds: Annotated[float, _option("Between two reports of steps.", "PROGRESS_SECONDS")] = 5.0,
    liveness: Annotated[str, _option("Where to answer probes.", "LIVENESS")] = "",
) -> None:
    """Run the agent until SIGTERM; what trains goes on without it."""
    from pydantic import ValidationError

    from carbonfleet.cli.failure import fail
    from carbonfleet.clock import Clock
    from carbonfleet.fleet import FleetError, RepositorySettings
    from carbonfleet.kube import Kube, KubeError
    from carbonfleet.spoke import Agent, AgentSettings, FleetFolder, HubLink, KubeRay, RayJobs, SpokeError

    try:
        clock = Clock.from_environment()
        settings = AgentSettings(
            spoke=name,
            state=state.resolve(),
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
            ca_file=ca_file,
        )
        source = FleetFolder(name, repository, clock, allowed_signers)
        attempts = (
            RayJobs(name, _ray(ray_address, ray_token_file, workload, python, store), clock)
            if runtime is Kind.RAY
            else KubeRay(name, Kube.connect(kubeconfig), clock)
        )
        hub = HubLink(Kube.connect(hub_kubeconfig), name)
        _serve(Agent(settings, source, attempts, hub, clock), liveness)
    except (ValidationError, KubeError, FleetError, SpokeError, OSError, ValueError) as error:
        fail(error)


@app.command()
def join(
    name: Annotated[str, typer.Argument(help="The new cluster's name.")],
    runtime: Annotated[Kind, typer.Option(help="How attempts will run there.")] = Kind.KUBERAY,
) -> None:
    """Print what a new spoke needs.

    That is its file in the fleet repository, its rights on the hub, and how its agent is started.
    """
    from pydantic import ValidationError

    from carbonfleet.cli.failure import fail
    from carbonfleet.spoke.join import join_text

    try:
        typer.echo(join_text(name, runtime.value), nl=False)
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


def _ray(address: str, token_file: Path | None, workload: Path, python: Path | None, store: Path) -> "RaySettings":
    import sys

    from pydantic import SecretStr

    from carbonfleet.spoke import RaySettings

    return RaySettings(
        address=address,
        token=SecretStr(token_file.read_text().strip()) if token_file else None,
        # Not resolved: the interpreter of a venv is a link out of it.
        command=(str((python or Path(sys.executable)).absolute()), "-m", "workloads.lora.train"),
        directory=workload.resolve(),
        store=store.resolve(),
    )
