"""`carbonfleet status`: jobs and spokes at a glance."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from carbonfleet.cli.console import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from carbonfleet.api import CarbonTrainingJob, SpokeCluster
    from carbonfleet.kube import Object

Read = TypeVar("Read", "SpokeCluster", "CarbonTrainingJob")


def status(
    kubeconfig: Annotated[Path | None, typer.Option(envvar="KUBECONFIG", help="The hub's API.")] = None,
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Jobs of one namespace only.")] = "",
) -> None:
    """Show every spoke and every job, with what each waits for.

    Exit code 1 when one of them can't be read: it is named, and the others are shown.
    """
    from rich.table import Table

    from carbonfleet.api import CarbonTrainingJob, SpokeCluster
    from carbonfleet.cli.console import console, fail, say
    from carbonfleet.kube import Kube, KubeError, ours

    try:
        kube = Kube.connect(kubeconfig)
        spokes, unread = _readable(SpokeCluster, kube.list(ours("spokeclusters"))[0])
        jobs, unread_too = _readable(CarbonTrainingJob, kube.list(ours("carbontrainingjobs", namespace))[0])
    except KubeError as error:
        fail(error)
    screen = console()
    table = Table("spoke", "zone", "ready", "free GPUs", "last heard", "synced", "problems", box=None)
    for spoke in spokes:
        state = spoke.status
        ready = next((c for c in state.conditions if c.type == "Ready"), None)
        heard = state.heartbeat_time.strftime("%m-%d %H:%M") if state.heartbeat_time else "never"
        unfit = (f"{ready.reason}: {ready.message}",) if ready and ready.status != "True" else ()
        problems = "; ".join((*unfit, *state.problems)) or "-"
        word = "-" if ready is None else "no" if unfit else "yes"
        commit = state.synced_commit[:10] or "-"
        table.add_row(spoke.metadata.name, spoke.spec.zone, word, state.free or "-", heard, commit, problems)
    screen.print(table)
    screen.print()
    table = Table("job", "phase", "spoke", "what", box=None)
    for job in jobs:
        said = job.status.summary or "not seen yet"
        table.add_row(job.key, job.status.phase.value, job.status.cluster or "-", said)
    screen.print(table)
    for line in (*unread, *unread_too):
        say(line, err=True)
    raise typer.Exit(ExitCode.WRONG if unread or unread_too else ExitCode.DONE)


def _readable(model: type[Read], bodies: "Iterable[Object]") -> tuple[list[Read], list[str]]:
    """The objects, and a line on each that can't be read: one party's hides no other's."""
    from pydantic import ValidationError

    from carbonfleet.api.problems import told
    from carbonfleet.faults import said

    found, unread = [], []
    for body in bodies:
        try:
            found.append(model.model_validate(body))
        except Exception as error:  # noqa: BLE001 - one object may hold anything
            why = told(error, model) if isinstance(error, ValidationError) else said(error)
            unread.append(f"{model.__name__} {_name(body)} can't be read: {why}")
    return found, unread


def _name(body: "Object") -> str:
    """An object's name, whatever it is."""
    metadata = body.get("metadata") if isinstance(body, dict) else None
    return str(metadata.get("name", "without a name")) if isinstance(metadata, dict) else "without a name"
