"""`carbonfleet signals`: what is known of the grid, and whether keys, zones and licences are in order."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carbonfleet.cli.answers import AsJson, Form, Output, write, write_names
from carbonfleet.cli.console import ExitCode, console, fail, say

if TYPE_CHECKING:
    from carbonfleet.api import ClusterFacts
    from carbonfleet.signals import Finding, Signals, ZoneView

Settings = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        envvar="CARBONFLEET_SIGNALS",
        help="Signal settings; without, Electricity Maps, and what costs nothing.",
    ),
]
Zones = Annotated[list[str] | None, typer.Option("--zone", help="A zone, such as NO-NO1; may be repeated.")]
Fleet = Annotated[
    Path | None,
    typer.Option("--fleet", help="A checkout of the fleet repository, whose zones are shown; ./fleet if left out."),
]

app = typer.Typer(help="Show what is known of the grid.")


@app.callback(invoke_without_command=True)
def signals(
    context: typer.Context,
    settings: Settings = None,
    zone: Zones = None,
    fleet: Fleet = None,
    kind: Annotated[str, typer.Option(help="average-lifecycle, average-direct or marginal.")] = "average-lifecycle",
    hours: Annotated[int, typer.Option(min=1, max=336, help="How far ahead to look.")] = 24,
    output: Output = Form.TEXT,
    as_json: AsJson = False,
) -> None:
    """Show for each zone its value, forecast, source, age and measured forecast error."""
    if context.invoked_subcommand is not None:
        return
    from carbonfleet.api.signal import SignalKind

    try:
        wanted = SignalKind(kind)
    except ValueError:
        fail(f"{kind} is none of {', '.join(SignalKind)}")
    zones = _zones(zone, _clusters(fleet) if not zone else ())
    service = _open(settings)
    try:
        views = service.overview([(name, wanted) for name in zones], hours)
    finally:
        service.close()
    form = Form.JSON if as_json else output
    if form.is_data:
        write(views, form, "signals")
    elif form is Form.NAME:
        write_names(view.zone for view in views)
    else:
        _show(views)
    raise typer.Exit(ExitCode.WRONG if any(view.problem for view in views) else ExitCode.DONE)


@app.command()
def check(
    settings: Settings = None,
    zone: Zones = None,
    fleet: Fleet = None,
    output: Output = Form.TEXT,
    as_json: AsJson = False,
) -> None:
    """Ask every source for each zone and feed: value, age, licence, and how many requests are left.

    Exit code 1 when a zone has none that works.
    """
    from carbonfleet.signals import zone_doubt

    clusters = _clusters(fleet) if not zone else ()
    zones = _zones(zone, clusters)
    service = _open(settings)
    try:
        findings = service.check(zones)
    finally:
        service.close()
    form = Form.JSON if as_json else output
    if form.is_data:
        write(findings, form, "signals check")
    elif form is Form.NAME:
        write_names(dict.fromkeys(finding.zone for finding in findings if finding.zone))
    else:
        _show_findings(findings)
        for doubt in filter(None, map(zone_doubt, clusters)):
            say(f"note: {doubt}")
    served = {finding.zone for finding in findings if finding.ok}
    unserved = [name for name in zones if name not in served]
    if unserved:
        say(f"no source is ready for {', '.join(unserved)}", err=True)
    raise typer.Exit(ExitCode.WRONG if unserved else ExitCode.DONE)


def _open(settings: Path | None) -> "Signals":
    from carbonfleet.clock import Clock
    from carbonfleet.signals import (
        SettingsError,
        SignalSettings,
        StoreError,
        TraceError,
        open_signals,
        open_signals_file,
    )

    clock = Clock.from_environment()
    try:
        return open_signals_file(settings, clock) if settings else open_signals(SignalSettings(), clock)
    except (SettingsError, StoreError, TraceError) as error:
        fail(error)


def _zones(named: Sequence[str] | None, clusters: Sequence["ClusterFacts"]) -> list[str]:
    zones = sorted(set(named or ()) | {facts.zone for facts in clusters})
    if not zones:
        fail("no zone to look at: give --zone, or --fleet with a checkout of the fleet repository")
    return zones


def _clusters(fleet: Path | None) -> "Sequence[ClusterFacts]":
    """The clusters that can be read; the others are named, and left out."""
    from carbonfleet.fleet.git import read_cluster
    from carbonfleet.shipped import FLEET_SEED

    folder = fleet or Path("fleet")
    if fleet is None and not folder.is_dir():
        say("note: neither --zone nor --fleet, and no ./fleet: the zones of the example clusters", err=True)
        folder = FLEET_SEED
    found = []
    for path in sorted(folder.glob("clusters/*/cluster.yaml")):
        try:
            found.append(read_cluster(str(path), path.read_bytes()))
        except (OSError, ValueError) as error:
            say(f"{path} is left out: {error}", err=True)
    return found


def _show(views: "Sequence[ZoneView]") -> None:
    from rich.table import Table

    hours = max((view.hours for view in views), default=0)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for head in ("zone", "g/kWh", f"next {hours} h", "cleanest", "source", "link", "age", "error 1/24 h"):
        table.add_column(head, no_wrap=True)
    for view in views:
        if not view.problem:
            table.add_row(*_cells(view))
    if table.row_count:
        console().print(table)
    _tell((view.zone, view.problem) for view in views if view.problem)
    notes = [(view.zone, text) for view in views if not view.problem for text in _notes(view)]
    _tell(((zone, f"note: {text}") for zone, text in notes))


def _notes(view: "ZoneView") -> list[str]:
    refused = (f"refused {rejection}" for rejection in view.rejected[:3])
    blend = (view.blend,) if view.blend else ()
    return list(dict.fromkeys((*blend, *view.troubles, *refused)))


def _tell(said: Iterable[tuple[str, str]]) -> None:
    """What is said of several zones alike is said once."""
    zones: dict[str, list[str]] = {}
    for zone, text in said:
        zones.setdefault(text.replace(zone, "the zone"), []).append(zone)
    for text, alike in zones.items():
        say(f"{', '.join(alike)}: {text if len(alike) > 1 else text.replace('the zone', alike[0])}")


def _cells(view: "ZoneView") -> list[str]:
    from carbonfleet.api.wire import format_duration

    errors = ["-" if error is None else f"{error:.1f} %" for error in (view.error_percent_1h, view.error_percent_24h)]
    return [
        view.zone,
        f"{view.grams_per_kwh:.0f}",
        f"{view.lowest_grams_per_kwh:.0f} to {view.highest_grams_per_kwh:.0f}",
        f"{view.cleanest_at:%m-%d %H:%M}" if view.cleanest_at else "",
        view.source,
        view.link,
        "-" if view.link in {"static", "annual"} else format_duration(view.age),
        " / ".join(errors),
    ]


def _show_findings(findings: "Sequence[Finding]") -> None:
    for finding in findings:
        where = f" {finding.zone}" if finding.zone else ""
        say(f"{'ok  ' if finding.ok else 'FAIL'} {finding.source}{where}: {finding.reason}: {finding.message}")
