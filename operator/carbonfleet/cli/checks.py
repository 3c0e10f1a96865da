"""How the results of checks are shown, and how their command ends."""

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NoReturn

import typer

from carbonfleet.cli.console import console, say

if TYPE_CHECKING:
    from carbonfleet.cli.shown_console import ShownConsole
    from carbonfleet.doctor import CheckResult

_COLOURS: Final = {"ok": "green", "missing": "red", "unknown": "yellow"}
_NAME_WIDTH: Final = 20


class CheckOutput(StrEnum):
    """How results are written."""

    TEXT = "text"
    JSON = "json"


def show(results: "Iterable[CheckResult]", output: CheckOutput) -> NoReturn:
    """Show each result as it comes; ends with 1 where something is missing."""
    logging.getLogger("carbonfleet").setLevel(logging.CRITICAL)  # what is wrong stands in the results
    found = []
    screen = console()
    for result in results:
        found.append(result)
        if output is CheckOutput.TEXT:
            _line(screen, result)
    if output is CheckOutput.JSON:
        say(json.dumps([asdict(result) for result in found], indent=2))
    else:
        states = [result.state for result in found]
        say(f"{len(states)} checks: " + ", ".join(f"{states.count(each)} {each}" for each in type(states[0])))
    raise typer.Exit(1 if any(result.state == "missing" for result in found) else 0)


def _line(screen: "ShownConsole", result: "CheckResult") -> None:
    """State, name and message, the advice beneath, in columns of one width."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(width=7)
    table.add_column(width=_NAME_WIDTH)
    table.add_column(overflow="fold")
    table.add_row(Text(result.state, _COLOURS[result.state]), Text(result.name), Text(result.message))
    if result.advice:
        table.add_row("", "", Text(f"do: {result.advice}", "bold"))
    screen.print(table)
