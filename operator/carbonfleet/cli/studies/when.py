"""`carbonfleet when`: the clean start of any work, for cron and scripts."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from carbonfleet.cli.answers import Form, Output, write
from carbonfleet.cli.console import ExitCode, fail, say

if TYPE_CHECKING:
    from datetime import datetime

    from carbonfleet.clock import Clock
    from carbonfleet.simulator.suggested_start import StartSuggestions, SuggestedStart

_PLANNED_AGAIN_MINUTES: Final = 15
"""While `--exec` waits: forecasts change."""


class UnknownZone(StrEnum):
    """What a start is where nothing is known of the zone."""

    FAIL = "fail"
    NOW = "now"


def when(
    zone: Annotated[str, typer.Option(help="The electricity zone, such as NO-NO1.")],
    hours: Annotated[float, typer.Option(min=0.02, max=240, help="How long the work takes.")] = 1,
    slack: Annotated[str, typer.Option(help="How long it may wait from now on, such as 12h or 1d.")] = "12h",
    latest_start: Annotated[
        str, typer.Option(help="Instead of a slack, for who asks again and again: 2026-12-02T06:00Z.", metavar="TIME")
    ] = "",
    signals: Annotated[
        Path | None,
        typer.Option(
            envvar="CARBONFLEET_SIGNALS", help="Signal settings; without, Electricity Maps, and what costs nothing."
        ),
    ] = None,
    on_signal_loss: Annotated[
        UnknownZone, typer.Option(help="Where nothing is known of the zone: fail, or start now.")
    ] = UnknownZone.FAIL,
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

    from carbonfleet.clock import Clock
    from carbonfleet.signals import SettingsError, SignalSettings, SourceError, load_settings, open_signals
    from carbonfleet.simulator.grid import ReplayError
    from carbonfleet.simulator.suggested_start import StartSuggestions

    if execute != bool(command):
        fail("write --exec -- COMMAND ARGUMENTS, or leave both away")
    try:
        clock = Clock.from_environment()
        latest = _latest(clock.now(), slack, latest_start)
        service = open_signals(load_settings(signals) if signals else SignalSettings(), clock)
        try:
            plans = StartSuggestions(service, zone, timedelta(hours=hours), latest)
            found = _awaited(plans, clock, on_signal_loss) if execute else _next(plans, clock, on_signal_loss)
        finally:
            service.close()
    except (ReplayError, SettingsError, SourceError, ValueError) as error:
        fail(error)
    if execute and command:
        _run(command)
    _show(found, output)
    raise typer.Exit(ExitCode.DONE if found.is_now else ExitCode.LATER)


def _latest(now: "datetime", slack: str, latest_start: str) -> "datetime":
    """The last moment to start. Raises ValueError."""
    from carbonfleet.api.wire import parse_duration
    from carbonfleet.signals.validation import parse_time

    if not latest_start:
        return now + parse_duration(slack)
    if (moment := parse_time(latest_start)) is None:
        raise ValueError("--latest-start must be a time with an offset, such as 2026-12-02T06:00Z")
    return moment


def _next(plans: "StartSuggestions", clock: "Clock", on_signal_loss: UnknownZone) -> "SuggestedStart":
    """The start as planned now. Raises ReplayError where nothing is known and nothing was."""
    found = plans.next(clock.now(), now_if_unknown=on_signal_loss is UnknownZone.NOW)
    if found.problem:
        say(f"{found.problem}: the start is {found.start:%Y-%m-%d %H:%M} UTC all the same", err=True)
    return found


def _awaited(plans: "StartSuggestions", clock: "Clock", on_signal_loss: UnknownZone) -> "SuggestedStart":
    """The start once it has come, planned again by newer forecasts meanwhile."""
    from datetime import timedelta

    while not (found := _next(plans, clock, on_signal_loss)).is_now:
        say(f"waits until {found.start:%Y-%m-%d %H:%M} UTC{_saves(found)}", err=True)
        clock.sleep(min(found.start - clock.now(), timedelta(minutes=_PLANNED_AGAIN_MINUTES)))
    return found


def _show(found: "SuggestedStart", output: Form) -> None:
    from carbonfleet.api.wire import format_time

    if output.is_data:
        write(found, output, "when")
        return
    say(format_time(found.start))
    if output is not Form.NAME and found.grams_per_kwh is not None:
        say(f"{found.grams_per_kwh:.0f} gCO2e/kWh in {found.zone} by {found.source}{_saves(found)}", err=True)


def _saves(found: "SuggestedStart") -> str:
    return f": {found.saving_percent:.0f} % less than at once" if not found.is_now and found.saving_percent else ""


def _run(command: list[str]) -> None:
    """Become the command. Ends with an error where there is none."""
    import os
    import sys

    sys.stdout.flush()
    try:
        os.execvp(command[0], command)  # noqa: S606 - the caller's own command, as words
    except OSError as error:
        fail(f"{command[0]} can't be run: {error.strerror}")
