"""`carbonfleet doctor`: what a hub needs, whether it is there, and what to do where it is not."""

from typing import Annotated

import typer

from carbonfleet.cli.checks import CheckOutput, show
from carbonfleet.cli.settings import command
from carbonfleet.hub.settings import HubSettings

app = typer.Typer()


def doctor(
    settings: HubSettings,
    output: Annotated[
        CheckOutput, typer.Option("-o", "--output", help="text, or json for machines.")
    ] = CheckOutput.TEXT,
) -> None:
    """Check what the hub needs, by the settings of `hub run`, and say what to do where something is missing.

    Kubernetes, Git, forge, signals, storage and clocks are really asked, and nothing is changed: a branch is made and
    removed again. In a cluster: kubectl -n carbonfleet-system exec deploy/carbonfleet-hub -- carbonfleet doctor.
    Exit code 1 when something is missing.
    """
    from carbonfleet.clock import Clock
    from carbonfleet.doctor import HUB_CHECKS, HubContext, examine, scratch_folder

    with scratch_folder() as folder:
        context = HubContext.of(settings, Clock.from_environment(), folder)
        show(examine(HUB_CHECKS, context), output)


command(app, "doctor", HubSettings, doctor)
