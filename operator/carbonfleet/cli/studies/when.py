"""`carbonfleet when`: the clean start of any work, for cron and scripts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from carbonfleet.cli.answers import Form, Output, write
from carbonfleet.cli.console import ExitCode, fail, say

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from carbonfleet.clock import Clock
    from carbonfleet.signals import Signals
    from carbonfleet.simulator.suggested_start import SuggestedStart

_PLANNED_AGAIN_MINUTES: Final = 15
"""While `--exec` waits: forecasts change."""


def when(
    zone: Annotated[str, typer.Option(help="The electricity zone, such as NO-NO1.")],
    hours: Annotated[float, typer.Option(min=0.02, max=240, help="How long the work takes.")] = 1,
    slack: Annotated[str, typer.Option(help="How long it may wait, such as 12h or 1d.")] = "12h",
    signals: Annotated[
        Path | None,
        typer.Option(
            envvar="CARBONFLEET_SIGNALS", help="Signal settings; without, Electricity Maps, and what costs nothing."
        ),
    ] = None,
    execute: Annotated[
        bool, typer.Option("--exec", help="Wait until then and run the COMMAND behind --, whose exit code this has.")
    ] = False,
    command: Annotated[list[str] | None, typer.Argument(help="For --exec; run as it stands, by no shell.")] = None,
    output: Output = Form.TEXT,
) -> None:
    """Say when work should start so that its electricity is clean, as the hub would plan it.

    The start is printed; exit code 0 when it is now, and 75 when it is later.
    """
    from datetime import timedelta

    from carbonfleet.api.wire import parse_duration
    from carbonfleet.clock import Clock
    from carbonfleet.signals import SettingsError, SignalSettings, SourceError, load_settings, open_signals
    from carbonfleet.simulator.grid import ReplayError

    if execute != bool(command):
        fail("write --exec -- COMMAND ARGUMENTS, or leave both away")
    try:
        clock, latest = Clock.from_environment(), parse_duration(slack)
        service = open_signals(load_settings(signals) if signals else SignalSettings(), clock)
        try:
            found = _suggested(service, zone, timedelta(hours=hours), clock.now() + latest, clock, waits=execute)
        finally:
            service.close()
    except (ReplayError, SettingsError, SourceError, ValueError) as error:
        fail(error)
    if execute and command:
        _run(command)
    _show(found, output)
    raise typer.Exit(ExitCode.DONE if found.is_now else ExitCode.LATER)


def _suggested(
    service: "Signals", zone: str, length: "timedelta", latest: "datetime", clock: "Clock", *, waits: bool
) -> "SuggestedStart":
    """The start; with `waits`, once it has come, planned again by newer forecasts meanwhile."""
    from datetime import timedelta

    from carbonfleet.simulator.suggested_start import suggested_start

    found = suggested_start(service, zone, length, latest, clock.now())
    while waits and not found.is_now:
        say(f"waits until {found.start:%Y-%m-%d %H:%M} UTC{_saves(found)}", err=True)
        clock.sleep(min(found.start - clock.now(), timedelta(minutes=_PLANNED_AGAIN_MINUTES)))
        found = suggested_start(service, zone, length, latest, clock.now())
    return found


def _show(found: "SuggestedStart", output: Form) -> None:
    from carbonfleet.api.wire import format_time

    if output.is_data:
        write(found, output, "when")
        return
    say(format_time(found.start))
    if output is not Form.NAME:
        say(f"{found.grams_per_kwh:.0f} gCO2e/kWh in {found.zone} by {found.source}{_saves(found)}", err=True)


def _saves(found: "SuggestedStart") -> str:
    return f": {found.saving_percent:.0f} % less than at once" if not found.is_now else ""


def _run(command: list[str]) -> None:
    """Become the command. Ends with an error where there is none."""
    import os
    import sys

    sys.stdout.flush()
    try:
        os.execvp(command[0], command)  # noqa: S606 - the caller's own command, as words
    except OSError as error:
        fail(f"{command[0]} can't be run: {error.strerror}")
