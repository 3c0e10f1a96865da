"""`carbonfleet status`: jobs and spokes at a glance."""

from pathlib import Path
from typing import Annotated

import typer


def status(
    kubeconfig: Annotated[Path | None, typer.Option(envvar="KUBECONFIG", help="The hub's API.")] = None,
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Jobs of one namespace only.")] = "",
) -> None:
    """Show every spoke and every job, with what each waits for."""
    from pydantic import ValidationError
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from carbonfleet.api import CarbonTrainingJob, SpokeCluster
    from carbonfleet.cli.console import fail
    from carbonfleet.kube import Kube, KubeError, ours

    try:
        kube = Kube.connect(kubeconfig)
        spokes = [SpokeCluster.model_validate(body) for body in kube.list(ours("spokeclusters"))[0]]
        jobs = [CarbonTrainingJob.model_validate(body) for body in kube.list(ours("carbontrainingjobs", namespace))[0]]
    except (KubeError, ValidationError) as error:
        fail(error)
    console = Console() if Console().is_terminal else Console(width=160)
    table = Table("spoke", "zone", "ready", "free GPUs", "last heard", "synced", "problems", box=None)
    for spoke in spokes:
        state = spoke.status
        ready = next((c for c in state.conditions if c.type == "Ready"), None)
        heard = state.heartbeat_time.strftime("%m-%d %H:%M") if state.heartbeat_time else "never"
        unfit = (f"{ready.reason}: {ready.message}",) if ready and ready.status != "True" else ()
        problems = escape("; ".join((*unfit, *state.problems)) or "-")
        word = "-" if ready is None else "no" if unfit else "yes"
        commit = state.synced_commit[:10] or "-"
        table.add_row(spoke.metadata.name, spoke.spec.zone, word, state.free or "-", heard, commit, problems)
    console.print(table)
    console.print()
    table = Table("job", "phase", "spoke", "what", box=None)
    for job in jobs:
        said = escape(job.status.summary or "not seen yet")
        table.add_row(job.key, job.status.phase.value, job.status.cluster or "-", said)
    console.print(table)
