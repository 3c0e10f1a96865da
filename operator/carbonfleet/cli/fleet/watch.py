"""`carbonfleet watch`: a job from `kubectl apply` to its adapter."""

from pathlib import Path
from typing import Annotated

import typer

from carbonfleet.cli.console import ExitCode, console, say
from carbonfleet.cli.fleet.hub_job import API_SECONDS, PAUSE_SECONDS, find_job, hub_job, job_later


def watch(
    job: Annotated[str, typer.Argument(help="The job: its name, or NAMESPACE/NAME.")],
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Its namespace.")] = "",
    kubeconfig: Annotated[Path | None, typer.Option(envvar="KUBECONFIG", help="The hub's API.")] = None,
) -> None:
    """Follow a job until it has ended, a line for each change.

    Exit code 0 when it has succeeded, or early stopping has ended it; 1 when it has failed or was cancelled.
    """
    from rich.markup import escape

    from carbonfleet.api.job_status import Phase
    from carbonfleet.kube import Kube
    from carbonfleet.local.screen import Screen

    kube, screen = Kube.connect(kubeconfig).within(API_SECONDS), Screen(console(markup=True))
    place = find_job(kube, job, namespace)
    status = hub_job(kube, *place).status
    said = done = None
    while True:
        if said != (said := (status.phase, status.cluster, status.summary)):
            screen.line(status.phase.value, escape(status.summary or "not seen yet"))
        if done != (done := status.progress):
            screen.progress(place[1], status)
        if status.phase.is_terminal:
            break
        status = job_later(kube, *place, PAUSE_SECONDS).status
    if status.last_good_checkpoint is not None:
        say(f"its adapter: {status.last_good_checkpoint.uri}")
    is_well = status.phase in (Phase.SUCCEEDED, Phase.STOPPED_EARLY)
    raise typer.Exit(ExitCode.DONE if is_well else ExitCode.WRONG)
