"""`carbonfleet doctor`: what a hub needs, whether it is there, and what to do where it is not."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn

import typer

from carbonfleet.cli.answers import Form, Output, write, write_names
from carbonfleet.cli.console import ExitCode, console, say
from carbonfleet.cli.settings import command
from carbonfleet.hub.settings import HubSettings

if TYPE_CHECKING:
    from carbonfleet.cli.shown_console import ShownConsole
    from carbonfleet.doctor import CheckResult

app = typer.Typer()
_COLOURS: Final = {"ok": "green", "missing": "red", "unknown": "yellow"}
_NAME_WIDTH: Final = 22


def doctor(settings: HubSettings, output: Output = Form.TEXT) -> None:
    """Check what the hub needs, by the settings of `hub run`, and say what to do where something is missing.

    Kubernetes, Git, forge, signals, storage and clocks are really asked, and nothing is changed: a branch is made and
    removed again. In a cluster: kubectl -n carbonfleet-system exec deploy/carbonfleet-hub -- carbonfleet doctor.
    Exit code 1 when something is missing.
    """
    from carbonfleet.clock import Clock
    from carbonfleet.doctor import HUB_CHECKS, HubContext, examine, scratch_folder

    with scratch_folder() as folder:
        show(examine(HUB_CHECKS, HubContext.of(settings, Clock.from_environment(), folder)), output, "doctor")


def show(results: "Iterable[CheckResult]", output: Form, command: str) -> NoReturn:
    """Show each result as it comes; ends with 1 where something is missing."""
    from carbonfleet.doctor import CheckState

    found, screen = [], console()
    with _silent_log():
        for result in results:
            found.append(result)
            if output in (Form.TEXT, Form.WIDE):
                _show(screen, result)
    states = [result.state for result in found]
    if output.is_data:
        write(found, output, command)
    elif output is Form.NAME:
        write_names(result.name for result in found)
    else:
        say(f"{len(states)} checks: " + ", ".join(f"{states.count(state)} {state}" for state in CheckState))
    raise typer.Exit(ExitCode.WRONG if CheckState.MISSING in states else ExitCode.DONE)


@contextmanager
def _silent_log() -> Iterator[None]:
    """What is wrong stands in the results."""
    log = logging.getLogger("carbonfleet")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def _show(screen: "ShownConsole", result: "CheckResult") -> None:
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


command(app, "doctor", HubSettings, doctor)
