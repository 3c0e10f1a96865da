"""`carbonfleet policy`: judge a checkout of the fleet repository, and ask where a job may run."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carbonfleet.cli.answers import Form, Output, write, write_names
from carbonfleet.cli.console import ExitCode, console, fail, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carbonfleet.placement.rules import Ruling
    from carbonfleet.yaml_reader import FileProblem

app = typer.Typer(no_args_is_help=True, help="Check the fleet's policies, and ask them where a job may run.")
Folder = Annotated[Path, typer.Argument(help="A checkout of the fleet repository.")]


class Format(StrEnum):
    """How problems are written."""

    TEXT = "text"
    GITHUB = "github"
    JSON = "json"
    YAML = "yaml"


@app.callback()
def policy() -> None:
    """What the fleet's policies say."""


@app.command()
def check(
    folder: Folder = Path(),
    since: Annotated[str, typer.Option(help="Tell only what changed since this commit.")] = "",
    output: Annotated[
        Format, typer.Option("-o", "--output", "--format", help="github: annotations on the change.")
    ] = Format.TEXT,
) -> None:
    """Check policies, clusters and placements.

    Exit code 1 where something is wrong.
    """
    from carbonfleet.cli.files.fleet_rules import doubts_of_fleet
    from carbonfleet.fleet.check import about, changed_since, notes_on, read_checkout, read_files

    try:
        files = read_files(folder)
        checkout = read_checkout(files)
        problems, notes = checkout.problems, (*notes_on(checkout), *doubts_of_fleet(checkout))
        if since:
            changed = changed_since(folder, since, files)
            problems, notes = about(problems, changed), about(notes, changed)
    except (OSError, ValueError) as error:
        fail(error)
    _write(problems, output)
    if output is Format.TEXT:
        for note in notes:
            say(f"note: {note}", err=True)
    if problems:
        raise typer.Exit(ExitCode.WRONG)
    if output is Format.TEXT:
        say(
            f"{len(checkout.policies.policies)} policies, {len(checkout.clusters)} clusters and "
            f"{len(checkout.placements)} placements: nothing is wrong"
        )


@app.command("test")
def ask(
    data_class: Annotated[str, typer.Option(help="The job's data class.")],
    namespace: Annotated[str, typer.Option(help="The namespace it comes from.")],
    folder: Folder = Path(),
    output: Output = Form.TEXT,
) -> None:
    """Say where such a job may run, and why not elsewhere.

    Exit code 1 where it may run nowhere.
    """
    from pydantic import ValidationError

    from carbonfleet.fleet.check import policies_for, read_checkout, read_files, where

    try:
        checkout = read_checkout(read_files(folder))
        verdicts = where(checkout, data_class, namespace)
    except (OSError, ValidationError) as error:
        fail(error)
    for problem in checkout.problems:
        say(problem, err=True)
    may = [cluster for cluster, ruling in verdicts if ruling.allowed]
    if output.is_data:
        told = ({"cluster": one, "may_run": ruling.allowed, "why_not": ruling.message} for one, ruling in verdicts)
        write(list(told), output, "policy test")
    elif output is Form.NAME:
        write_names(may)
    else:
        _show_verdicts(verdicts, f"{data_class} from {namespace}", policies_for(checkout, data_class, namespace))
    if not may:
        raise typer.Exit(ExitCode.WRONG)


def _show_verdicts(verdicts: "Sequence[tuple[str, Ruling]]", asked: str, policies: "Sequence[str]") -> None:
    from rich.table import Table
    from rich.text import Text

    console().print(f"{asked}; policies in scope: {', '.join(policies) or 'none'}", highlight=False)
    table = Table("cluster", "may run", "why not", box=None)
    shared = {ruling.message for _, ruling in verdicts if not ruling.allowed} if len(verdicts) > 1 else set()
    said_once = len(shared) == 1 and not any(ruling.allowed for _, ruling in verdicts)
    for cluster, ruling in verdicts:
        why = "" if ruling.allowed or said_once else ruling.message
        table.add_row(cluster, Text("yes", "green") if ruling.allowed else Text("no", "red"), why)
    console().print(table)
    if said_once:
        console().print(shared.pop(), highlight=False)


def _write(problems: "tuple[FileProblem, ...]", output: Format) -> None:
    from carbonfleet.cli.files.findings import FileFinding, Severity

    if output in (Format.JSON, Format.YAML):
        found = [FileFinding(Severity.ERROR, problem).to_wire() for problem in problems]
        write(found, Form(output.value), "policy check", sparse=True)
        return
    for problem in problems:
        say(_as_command(problem) if output is Format.GITHUB else problem)


def _as_command(problem: "FileProblem") -> str:
    """A workflow command, which ends at the line's end: a message, or a file's name, must not begin another."""
    from carbonfleet.yaml_reader import printable

    message, path = printable(problem.message).replace("%", "%25"), printable(problem.path).replace("%", "%25")
    path = path.replace(":", "%3A").replace(",", "%2C")
    column = f",col={problem.column}" if problem.column is not None else ""
    return f"::error file={path},line={problem.line}{column}::{message}"
