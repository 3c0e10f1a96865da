"""`carbonfleet report`: what the training emitted, used and saved, from the ledger."""

import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from carbonfleet.cli.answers import AsJson, Form, Output, write, write_names
from carbonfleet.cli.console import console, fail, say
from carbonfleet.cli.ledger.address import USUAL, Address, open_ledger
from carbonfleet.cli.ledger.export import Since, Until, end_without, export, utc
from carbonfleet.cli.ledger.reconcile import reconcile
from carbonfleet.cli.ledger.verify import verify

if TYPE_CHECKING:
    from carbonfleet.ledger.report import Line, Report

app = typer.Typer()


@app.callback(invoke_without_command=True)
def report(
    context: typer.Context,
    ledger: Address = USUAL,
    by: Annotated[str, typer.Option(help="job, sweep, namespace or month.")] = "namespace",
    job: Annotated[str, typer.Option(help="One job's attempts only, by its name.")] = "",
    sweep: Annotated[str, typer.Option(help="One sweep only.")] = "",
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="One namespace only.")] = "",
    since: Since = None,
    until: Until = None,
    output: Output = Form.TEXT,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="For a spreadsheet.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots to this file.")] = None,
) -> None:
    """Show emissions, energy, cost and savings by job, sweep, namespace or month.

    final: attempts that were integrated again with the grid's final values. kWh: energy of the machines, and how it was
    found, with its uncertainty. kg CO2e: with building, transfer and embodied share. baseline: the same work in the
    baseline region at submission; saved is baseline less ours, below zero when we did worse. SCI: Software Carbon
    Intensity for each training job. --json and --csv also have the same spoke and the best static region at submission,
    the SCI's E, I, M and R, and the GHG Protocol's location-based total.
    """
    if context.invoked_subcommand is not None:
        return
    if as_csv and (as_json or output is not Form.TEXT):
        fail("--csv, or -o: not both")
    from carbonfleet.clock import Clock
    from carbonfleet.ledger import LedgerError
    from carbonfleet.ledger import report as reports
    from carbonfleet.ledger.page import page
    from carbonfleet.ledger.store import By, Query
    from carbonfleet.private_files import replacing

    if by not in (groups := [kind.value for kind in By if kind is not By.ALL]):
        fail(f"{by} is none of {', '.join(groups)}")
    query = Query(job=job, namespace=namespace, sweep=sweep, since=utc(since), until=utc(until))
    opened = open_ledger(ledger)
    try:
        made = reports.report(opened, By(by), query, Clock.from_environment().now(), with_months=html is not None)
        broken = list(opened.broken())
        if html is not None:
            with replacing(html) as fresh:
                fresh.write_text(page(made), encoding="utf-8")
            say(f"wrote {html}", err=True)
    except (LedgerError, OSError) as error:
        fail(error)
    finally:
        opened.close()
    form = Form.JSON if as_json else output
    if form.is_data:
        write(reports.values_of(made), form, "report")
    elif form is Form.NAME:
        write_names(line.sums.group for line in made.lines)
    elif as_csv:
        reports.write_csv(made, lines := StringIO())
        say(lines.getvalue(), nl=False)
    elif html is None:
        _show(made, is_wide=form is Form.WIDE)
    end_without(broken)


@app.command(name="import")
def load(
    file: Annotated[str, typer.Argument(help="What `export` wrote; - for standard input.")], ledger: Address = USUAL
) -> None:
    """Add lines that `export` wrote to a ledger, made when missing; lines that are here add nothing."""
    from carbonfleet.ledger import LedgerError
    from carbonfleet.ledger.store import Ledger

    try:
        opened = Ledger(ledger) if "://" in ledger else Ledger.at(Path(ledger))
    except (LedgerError, OSError) as error:
        fail(error)
    try:
        if file == "-":
            count = opened.load(sys.stdin)
        else:
            with Path(file).open(encoding="utf-8", errors="surrogateescape") as lines:
                count = opened.load(lines)
    except (LedgerError, OSError) as error:
        fail(error)
    finally:
        opened.close()
    say(f"{count} new lines", err=True)


app.command()(export)
app.command()(reconcile)
app.command()(verify)


def _show(made: "Report", *, is_wide: bool) -> None:
    from rich.table import Table

    if not made.lines:
        say("no attempt fits: the ledger gets a line when an attempt has ended")
        return
    screen = console()
    shown = (
        _COLUMNS if is_wide or screen.width >= _WIDE else [column for column in _COLUMNS if column[0] not in _ONLY_WIDE]
    )
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(made.by.value, overflow="fold")
    for head, _ in shown:
        table.add_column(head, no_wrap=True, justify="left" if head == "energy found by" else "right")
    for line in made.lines:
        table.add_row(line.sums.group, *(cell(line) for _, cell in shown))
    table.add_section()
    for line in made.totals:
        table.add_row(f"all, {line.sums.signal}", *(cell(line) for _, cell in shown))
    screen.print(table)


def _saved(line: "Line") -> str:
    if line.saved_grams is None:
        return "-"
    percent = "" if line.saved_percent is None else f" ({round(line.saved_percent)} %)"
    return f"{line.saved_grams / 1000:z.3f}{percent}"


_WIDE: Final = 120
_ONLY_WIDE: Final = frozenset({"jobs", "tries", "hosts kWh", "energy found by", "SCI/job"})
_COLUMNS: Final[list[tuple[str, Callable[["Line"], str]]]] = [
    ("jobs", lambda line: str(line.sums.jobs)),
    ("tries", lambda line: str(line.sums.attempts)),
    ("final", lambda line: str(line.sums.settled)),
    ("kWh", lambda line: f"{line.sums.energy_kwh:.3f}"),
    ("hosts kWh", lambda line: f"{line.sums.host_kwh:.3f}"),
    ("energy found by", lambda line: f"{line.energy_methods}, ±{line.energy_uncertainty:.0%}"),
    ("kg CO2e", lambda line: f"{line.sums.grams / 1000:.3f} ±{line.sums.doubt_grams / 1000:.3f}"),
    ("baseline", lambda line: "-" if line.baseline_grams is None else f"{line.baseline_grams / 1000:.3f}"),
    ("saved", _saved),
    ("SCI/job", lambda line: f"{line.sci.grams_per_job / 1000:.3f}"),
    ("USD", lambda line: f"{line.sums.cost_usd:.2f}" if line.sums.priced else "-"),
]
"""Head and cell of each column; carbon in kg."""
