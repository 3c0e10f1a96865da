"""`carbonfleet spoke up` and `down`, and what they run on the host."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from carbonfleet.cli.console import fail, say, stop_event

if TYPE_CHECKING:
    from carbonfleet.install.ssh_host import DownSettings, HostStep, SshAddress, UpSettings
    from carbonfleet.spoke.settings import AgentSettings

Host = Annotated[str, typer.Argument(metavar="ssh://[USER@]HOST[:PORT]", help="As `ssh` knows it.")]
_RAY_SECONDS: Final = 600.0
_OF_THE_FOLDER: Final = ("CARBONFLEET_SPOKE_FOLDER", "XDG_")
"""Variables that tell trainings where the spoke's folder is, and that their caches belong there."""


def up(settings: "UpSettings", target: Host) -> None:
    """Make a host without Kubernetes a spoke, over SSH.

    It checks Python, the GPUs' driver, disk, clock and network there, installs this very carbonfleet into a venv, and
    starts Ray and the agent, which go on without the connection. A second time it brings up to date what has changed.
    Nothing listens there but on loopback.
    """
    from carbonfleet.install import InstallError, ssh_host

    try:
        say((ssh_host.check if settings.check else ssh_host.up)(_address(target), settings, _tell))
    except (InstallError, OSError, ValueError) as error:
        fail(error)


def down(settings: "DownSettings", target: Host) -> None:
    """Take away from a host all that `spoke up` has made there.

    It refuses while a run is live, and while files of trainings lie there.
    """
    from carbonfleet.install import InstallError, ssh_host

    try:
        say(ssh_host.down(_address(target), settings, _tell))
    except (InstallError, OSError, ValueError) as error:
        fail(error)
    name = settings.spoke
    say(
        f"elsewhere it still stands: take clusters/{name} out of the fleet repository, and its rights off the hub: "
        f"kubectl delete clusterrole/carbonfleet-spoke-{name} clusterrolebinding/carbonfleet-spoke-{name} "
        f"namespace/spoke-{name}"
    )


def leave(settings: "AgentSettings") -> None:
    """Give the spoke's name up, where this machine's agent held it last and has ended, with all that it ran."""
    from carbonfleet.kube import Kube, KubeError
    from carbonfleet.spoke import HubLink, SpokeError
    from carbonfleet.spoke.memory import Memory
    from carbonfleet.spoke.report.name_lease import Identity

    try:
        Memory(settings.state)  # which no agent holds
        hub = HubLink(Kube.connect(settings.hub_kubeconfig).within(20), settings.spoke)
        stands = hub.standing()
        if not stands.holder:
            say("nobody holds the name")
        elif Identity(settings.state / "identity").owns(stands.holder):
            hub.release(stands)
            say("the name is free")
        else:
            say(f"{stands.holder} holds the name, and keeps it")
    except (KubeError, SpokeError, OSError) as error:
        fail(error)


def ray(
    spoke: Annotated[str, typer.Option(help="The spoke's name.")],
    directory: Annotated[Path, typer.Option(help="Ray's own folder.")],
    port: Annotated[int, typer.Option(help="Of the Jobs API.")],
    simulated: Annotated[list[str] | None, typer.Option(help="POOL=GPUS, in place of the GPUs that are there.")] = None,
) -> None:
    """Run a Ray head on loopback until SIGTERM."""
    import os

    from carbonfleet.local.ray_head import HeadSettings, RayHead, RayHeadError
    from carbonfleet.spoke import gpu_resource

    pools = dict(each.split("=") for each in simulated or ())
    resources = {gpu_resource(spoke, pool): float(gpus) for pool, gpus in pools.items()}
    settings = HeadSettings(
        directory,
        resources,
        cpus=os.cpu_count() or 2,
        gpus=0 if simulated else None,
        dashboard_port=port,
        environment={name: value for name, value in os.environ.items() if name.startswith(_OF_THE_FOLDER)},
    )
    stop = stop_event()
    try:
        head = RayHead.start(settings, _RAY_SECONDS)
    except (RayHeadError, OSError) as error:
        fail(error)
    say(f"Ray takes jobs at {head.address}")
    while head.runs() and not stop.wait(1.0):
        continue
    head.stop()
    if not stop.is_set():
        fail("the Ray head has ended by itself")


def _address(target: str) -> "SshAddress":
    from carbonfleet.install.ssh_host import SshAddress

    return SshAddress.parse(target)


def _tell(progress: "HostStep") -> None:
    say(f"{'ok' if progress.is_met else 'missing':<8} {progress.subject:<12} {progress.text}")
