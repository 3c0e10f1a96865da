"""`carbonfleet assess`: what waiting and moving would save at a place, before anything is installed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carbonfleet.cli.answers import AsJson, Form, Output, write
from carbonfleet.cli.console import console, fail, say

if TYPE_CHECKING:
    from datetime import tzinfo

    from carbonfleet.simulator.assessment import Assessment, Row
    from carbonfleet.simulator.grid import Grid

Traces = Annotated[
    list[Path] | None,
    typer.Option(help="Recorded series (CSV or .gz) in place of the sources; repeatable."),
]


def assess(
    zones: Annotated[str, typer.Option(help="Zones that jobs may run in, with commas between.")],
    home: Annotated[str, typer.Option(help="Where they run now; the first zone by default.")] = "",
    hours: Annotated[float, typer.Option(min=0.1, max=336, help="Length of each job.")] = 4,
    slack: Annotated[float, typer.Option(min=0, max=336, help="How many hours each may wait.")] = 24,
    days: Annotated[int, typer.Option(min=4, max=400, help="How far back to look; the first half teaches.")] = 60,
    trace: Traces = None,
    signals: Annotated[
        Path | None,
        typer.Option(
            envvar="CARBONFLEET_SIGNALS", help="Signal settings; without, Electricity Maps, and what costs nothing."
        ),
    ] = None,
    time_zone: Annotated[str, typer.Option(help="Of morning, noon and night; this machine's by default.")] = "",
    picture: Annotated[Path | None, typer.Option(help="Draw it into this file (.png, .svg); needs matplotlib.")] = None,
    output: Output = Form.TEXT,
    as_json: AsJson = False,
) -> None:
    """Say whether waiting and moving are worth it at your place, by the grid's last months.

    One job an hour is replayed as the hub would plan it, with forecasts from the past alone, waiting at home, moving
    to the cleanest zone, and both. Needs no installation, cluster or GPU.
    """
    from carbonfleet.simulator.assessment import assess as assessed
    from carbonfleet.simulator.assessment import write_picture
    from carbonfleet.simulator.grid import ReplayError
    from carbonfleet.simulator.replay.workers import cores

    names = [name.strip() for name in zones.split(",") if name.strip()]
    if home and home not in names:
        names.insert(0, home)
    try:
        grid = _recorded(trace, names, days) if trace else _fetched(signals, names, days)
        found = assessed(grid, home or names[0], hours, slack, _local(time_zone), cores())
        form = Form.JSON if as_json else output
        write(found, form, "assess") if form.is_data else _show(found)
        if picture is not None:
            write_picture(picture, found)
            say(f"wrote {picture}", err=True)
    except (ReplayError, ValueError, OSError) as error:
        fail(error)


def _local(name: str) -> "tzinfo":
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    if not name:
        return datetime.now().astimezone().tzinfo or UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}: give one such as Europe/Berlin") from None


def _recorded(traces: Sequence[Path], zones: Sequence[str], days: int) -> "Grid":
    """The last days of the files."""
    from datetime import timedelta

    from carbonfleet.simulator.grid import open_grid

    whole = open_grid(traces, zones, fill=True)
    since = whole.end - timedelta(days=days)
    return whole if since <= whole.start else open_grid(traces, zones, start=since, fill=True)


def _fetched(settings: Path | None, zones: Sequence[str], days: int) -> "Grid":
    from datetime import timedelta

    from carbonfleet.clock import Clock
    from carbonfleet.signals import SignalSettings, SourceError, StoreError, load_settings, open_signals
    from carbonfleet.simulator.assessment import fetched_grid

    if not zones or len(set(zones)) < len(zones):
        raise ValueError("give --zones A,B,C, each once")
    clock = Clock.from_environment()
    try:
        service = open_signals(load_settings(settings) if settings else SignalSettings(), clock)
    except (SourceError, StoreError) as error:
        fail(error)
    try:
        now = clock.now()
        return fetched_grid(service, zones, now - timedelta(days=days), now, lambda text: say(text, err=True))
    finally:
        service.close()


def _show(found: "Assessment") -> None:
    """In 80 columns."""
    from textwrap import fill

    from rich.table import Table

    from carbonfleet.cli.shown_console import ShownConsole

    say(
        f"{found.hours:g} h of work in {found.home}, up to {found.slack_hours:g} h of waiting, "
        f"{found.first:%Y-%m-%d} to {found.last:%Y-%m-%d}"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, head in enumerate(("submitted", "at once", *found.rows[-1].ways)):
        table.add_column(head, justify="right" if number else "left", no_wrap=True)
    for row in found.rows:
        table.add_row(*_cells(row))
    screen = console()
    (screen if screen.width >= 80 else ShownConsole(width=80)).print(table)
    best = ", ".join(f"{way} {saving.best_percent:z.0f} %" for way, saving in found.rows[-1].ways.items())
    say(fill(f"Saved, and the mean delay; hours are of {found.time_zone}. With perfect forecasts: {best}.", 80))
    for sentence in found.verdict:
        say(fill(sentence, 80, subsequent_indent="  "))


def _cells(row: "Row") -> list[str]:
    saved = [f"{saving.percent:z.1f} % {saving.mean_delay_hours:5.1f} h" for saving in row.ways.values()]
    return [row.submitted, f"{row.at_once_grams_per_kwh:.0f} g/kWh", *saved]
