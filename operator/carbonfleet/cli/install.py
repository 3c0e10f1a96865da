"""`carbonfleet install`: the manifests of a hub or a spoke, from the overlays that came with carbonfleet."""

from pathlib import Path
from typing import Annotated, Any

import typer

from carbonfleet.cli.console import fail, say
from carbonfleet.install.overlays import HubOverlay, InstallError, SpokeOverlay, SyncTool, render, write
from carbonfleet.shipped import OPERATOR_IMAGE, TRAINING_IMAGE

app = typer.Typer(no_args_is_help=True, help="Print what is applied to a hub's or a spoke's cluster.")
FleetUrl = Annotated[str, typer.Option(help="The fleet repository's address; a placeholder if left out.")]
FleetBranch = Annotated[str, typer.Option(help="The branch that the hub writes, and the spokes follow.")]
StorageClass = Annotated[str, typer.Option(help="Of its own volume; the cluster's default if left out.")]
OperatorImage = Annotated[str, typer.Option(help="Of hub and agent: NAME:TAG or NAME@DIGEST.")]
To = Annotated[
    Path | None, typer.Option(help="Write the overlay into this folder, to edit and keep, rather than print it.")
]


@app.callback()
def install() -> None:
    """What is applied to a cluster."""


@app.command()
def hub(
    fleet_url: FleetUrl = "",
    fleet_branch: FleetBranch = "main",
    baseline_region: Annotated[str, typer.Option(help="Where jobs would have run that name no baseline.")] = "",
    sign: Annotated[bool, typer.Option(help="Sign commits with the key in the Secret carbonfleet-signing.")] = True,
    trusting: Annotated[
        bool, typer.Option("--trusting", help="Trust the keys in the Secret carbonfleet-signers.")
    ] = False,
    reviewing: Annotated[bool, typer.Option("--reviewing", help="Answer the forge's webhooks.")] = False,
    carbon: Annotated[bool, typer.Option("--carbon", help="Answer who asks for a zone's intensity.")] = False,
    admitting: Annotated[
        bool, typer.Option("--admitting", help="Let the API ask the hub; needs cert-manager.")
    ] = False,
    storage_class: StorageClass = "",
    operator_image: OperatorImage = OPERATOR_IMAGE,
    training_image: Annotated[
        str, typer.Option(help="Of jobs that name none: NAME:TAG or NAME@DIGEST.")
    ] = TRAINING_IMAGE,
    to: To = None,
) -> None:
    """Print the hub's manifests: definitions, rights, operator.

    carbonfleet install hub --fleet-url URL | kubectl apply --server-side -f -
    """
    given = {"fleet_url": fleet_url, "fleet_branch": fleet_branch, "storage_class": storage_class}
    given |= {"baseline_region": baseline_region, "operator_image": operator_image, "training_image": training_image}
    parts = {"trusting": trusting, "reviewing": reviewing, "carbon": carbon, "admitting": admitting}
    _install(HubOverlay, given | {"sign": sign} | parts, to)


@app.command()
def spoke(
    name: Annotated[str, typer.Argument(help="The cluster's name in the fleet repository.")] = "no-osl-1",
    applier: Annotated[SyncTool, typer.Option(help="Who applies its folder of the fleet repository.")] = SyncTool.AGENT,
    fleet_url: FleetUrl = "",
    fleet_branch: FleetBranch = "main",
    tenant: Annotated[list[str] | None, typer.Option(help="A namespace where placements run; team-a if none.")] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="A data class that may be there; the example's if none.")
    ] = None,
    verify: Annotated[bool, typer.Option(help="Have the agent follow signed commits only.")] = True,
    storage_class: StorageClass = "",
    shared_storage_class: Annotated[
        str, typer.Option(help="Of the tenants' volumes: one that many pods may write (ReadWriteMany).")
    ] = "",
    operator_image: OperatorImage = OPERATOR_IMAGE,
    to: To = None,
) -> None:
    """Print a spoke's manifests: agent, rights, allow list, tenants.

    `carbonfleet spoke join` prints the command for this, and all else that a new spoke needs.
    """
    given: dict[str, Any] = {"name": name, "applier": applier, "fleet_url": fleet_url, "fleet_branch": fleet_branch}
    given |= {"storage_class": storage_class, "shared_storage_class": shared_storage_class, "verify": verify}
    given["operator_image"] = operator_image
    given |= {"tenants": tenant} if tenant else {}
    _install(SpokeOverlay, given | {"allow": allow or ()}, to)


def _install(kind: "type[HubOverlay | SpokeOverlay]", given: dict[str, Any], to: Path | None) -> None:
    try:
        overlay = kind(**given)
        if to is not None:
            say(f"kubectl apply --server-side -k {write(overlay, to)}")
            return
        text = render(overlay)
    except (InstallError, OSError, ValueError) as error:
        fail(error)
    if not overlay.fleet_url:
        say("note: without --fleet-url a placeholder stands for the fleet repository's address", err=True)
    say(text, nl=False)
