"""`carbonfleet spoke drain`: take a spoke out of use, and see when nothing is left there."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carbonfleet.cli.console import ExitCode, fail, say
from carbonfleet.cli.fleet.hub_job import API_SECONDS, LONG_PAUSE_SECONDS
from carbonfleet.cli.spokes.join import Name, checked, cluster_file_in, commit_file

if TYPE_CHECKING:
    from carbonfleet.kube import Kube


def drain(
    name: Name,
    fleet: Annotated[
        Path | None, typer.Option(help="A checkout of the fleet repository: commit the change to a branch.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="With --fleet: put the spoke into use again.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the hub has nothing left there.")] = False,
    hours: Annotated[float, typer.Option(min=0, max=8760, help="With --wait: so long at most.")] = 168.0,
    kubeconfig: Annotated[Path | None, typer.Option(envvar="KUBECONFIG", help="With --wait: the hub's.")] = None,
) -> None:
    """Take a spoke out of use: what waits goes elsewhere, and what runs there ends, or moves with its checkpoint.

    With --fleet `maintenance: true` is committed to a branch, for review. With --wait, once that is merged, the jobs
    that are still there are named; exit code 0 when there are none, 1 when the time is over before.
    """
    name = checked(name)
    if fleet is None and not wait:
        fail("give --fleet CHECKOUT to commit that it takes nothing new, or --wait once that is merged")
    if undo and (fleet is None or wait):
        fail("--undo commits to a --fleet CHECKOUT, and waits for nothing")
    if fleet is not None:
        _commit(fleet, name, is_drained=not undo)
    if wait:
        raise typer.Exit(ExitCode.DONE if _wait(name, hours, kubeconfig) else ExitCode.WRONG)


def _commit(checkout: Path, name: str, *, is_drained: bool) -> None:
    file, branch = cluster_file_in(checkout, name), f"{'drain' if is_drained else 'use'}/{name}"
    try:
        before = file.read_text()
        text = with_maintenance(f"clusters/{name}/cluster.yaml", before, is_drained=is_drained)
    except (OSError, ValueError) as error:
        fail(error)
    if text == before:
        fail(f"{file} says so already: nothing was committed")
    commit_file(checkout, file, text, branch, f"{'Drain' if is_drained else 'Use'} {name}")
    say(f"committed to the branch {branch}: push it, and have it reviewed", err=True)


def with_maintenance(path: str, text: str, *, is_drained: bool) -> str:
    """A cluster's file that says, or no longer says, `maintenance: true`; all else stays as people wrote it.

    Raises ValueError where it can't be read, or is not written as usual.
    """
    from carbonfleet.fleet.git import read_cluster

    facts = read_cluster(path, text.encode())
    if facts.maintenance == is_drained:
        return text
    bare = re.sub(r"^ +maintenance:.*\n", "", text, flags=re.MULTILINE)
    said = rf'^( +)name: ["\']?{re.escape(facts.name)}["\']?(?: *#.*)?\n'
    changed = re.sub(said, r"\g<0>\g<1>maintenance: true\n", bare, flags=re.MULTILINE) if is_drained else bare
    if read_cluster(path, changed.encode()) == facts.model_copy(update={"maintenance": is_drained}):
        return changed
    raise ValueError(f"{path} is not written as usual: set maintenance: {str(is_drained).lower()} by hand")


def _wait(name: str, hours: float, kubeconfig: Path | None) -> bool:
    """Whether everything was gone in time; says what is left when that changes."""
    import time

    from carbonfleet.kube import Kube, KubeError

    kube, deadline = Kube.connect(kubeconfig).within(API_SECONDS), time.monotonic() + hours * 3600
    said: str | None = None
    while True:
        try:
            left = _left(kube, name)
        except KubeError as error:
            if not (error.status in (0, 429) or error.status >= 500):
                fail(error)
            left = f"{error.for_people}; asking again"
        if left != said:
            say(left or f"nothing is left on {name}")
        said = left
        if not left or time.monotonic() + LONG_PAUSE_SECONDS > deadline:
            return not left
        time.sleep(LONG_PAUSE_SECONDS)


def _left(kube: "Kube", name: str) -> str:
    """What is still to come or to end on a spoke, in a sentence. Raises KubeError."""
    from carbonfleet.kube import KubeError, ours

    try:
        conditions = (kube.get(ours("spokeclusters", name=name)).get("status") or {}).get("conditions") or ()
    except KubeError as error:
        if error.is_gone:
            fail(f"the hub knows no spoke {name}")
        raise
    if not any(each.get("reason") == "Maintenance" for each in conditions):
        return f"the hub has not read `maintenance: true` of {name} yet: merge it"
    jobs, _ = kube.list(ours("carbontrainingjobs"))
    there = sorted(
        f"{job['metadata']['namespace']}/{job['metadata']['name']}"
        for job in jobs
        if (job.get("status") or {}).get("cluster") == name and job["status"].get("phase") in _THERE
    )
    more = f" and {len(there) - 5} more" if len(there) > 5 else ""
    return f"{len(there)} on {name}: {', '.join(there[:5])}{more}" if there else ""


_THERE = ("Committed", "Running", "Paused", "Moving")
"""Phases of a job whose attempt stands, or has not stopped yet, where its status says."""
