"""`carbonfleet validate`: are these files what carbonfleet can work with?"""

from pathlib import Path
from typing import Annotated

import typer

from carbonfleet.cli.answers import Form, Output, write, write_names
from carbonfleet.cli.console import ExitCode, fail, say
from carbonfleet.cli.fleet.hub_job import API_SECONDS


def validate(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Jobs, schedules, cluster files, policies; folders of them; a fleet checkout; - for stdin."
        ),
    ],
    fleet: Annotated[
        Path | None, typer.Option(help="A checkout of the fleet repository: jobs are checked against what it declares.")
    ] = None,
    hub: Annotated[bool, typer.Option("--hub", help="Ask the hub too, by a dry run; nothing is applied.")] = False,
    kubeconfig: Annotated[Path | None, typer.Option(envvar="KUBECONFIG", help="For --hub.")] = None,
    output: Output = Form.TEXT,
) -> None:
    """Check manifests of jobs and schedules, cluster files and policies.

    A job is refused for what the Kubernetes API would refuse it for. With --fleet, also where the fleet would block it
    and which of its names the fleet does not know; with --hub, what the hub says of it. Of a schedule its next run's
    job is looked at.

    Exit code 1 where anything is refused, 3 where all could be applied and a job would be Blocked.
    """
    from carbonfleet.cli.files.findings import Severity, has, write_findings
    from carbonfleet.cli.files.fleet_rules import asked_of_hub, judged, read_fleet
    from carbonfleet.cli.files.manifests import STDIN, read_manifests, read_stdin
    from carbonfleet.cli.files.schedule_runs import with_next_runs
    from carbonfleet.clock import Clock
    from carbonfleet.kube import Kube

    found = read_manifests(paths, read_stdin() if STDIN in paths else b"")
    findings, now = list(found.findings), Clock.from_environment().now()
    jobs = with_next_runs(found, now)
    if fleet is not None:
        try:
            declared = read_fleet(fleet)
        except ValueError as error:
            fail(error)
        findings += [*declared.findings, *judged(jobs, declared, now)]
    if hub:
        findings += asked_of_hub(found, jobs, Kube.connect(kubeconfig).within(API_SECONDS))
    if output.is_data:
        write([finding.to_wire() for finding in findings], output, "validate", sparse=True)
    elif output is Form.NAME:
        write_names(dict.fromkeys(finding.problem.path for finding in findings))
    else:
        write_findings(findings)
    if has(findings, Severity.ERROR):
        raise typer.Exit(ExitCode.WRONG)
    if has(findings, Severity.BLOCKED):
        raise typer.Exit(ExitCode.BLOCKED)
    if output in (Form.TEXT, Form.WIDE):
        others = f"; {found.others} hold nothing of carbonfleet's" if found.others else ""
        said = "nothing is refused" if findings else "nothing is wrong"
        say(f"{found.files} {'file' if found.files == 1 else 'files'} checked: {said}{others}")
