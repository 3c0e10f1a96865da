"""`carbonfleet report export`: the ledger whole, or its attempts in others' formats."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from carbonfleet.cli.console import ExitCode, fail, say
from carbonfleet.cli.ledger.address import USUAL, Address, open_ledger
from carbonfleet.cli.ledger.verify import MOST_TOLD

if TYPE_CHECKING:
    from carbonfleet.ledger import Entry
    from carbonfleet.ledger.exports import MarketFactors
    from carbonfleet.ledger.store import Ledger, Query

DAY: Final = ["%Y-%m-%d", "%Y-%m", "%Y-%m-%dT%H:%M:%SZ"]
Since = Annotated[
    datetime | None,
    typer.Option(formats=DAY, help="Attempts that ended then or later, UTC; 2026-02 is its first day."),
]
Until = Annotated[datetime | None, typer.Option(formats=DAY, help="Attempts that ended before, UTC.")]
MarketFactorsFile = Annotated[
    Path | None,
    typer.Option(
        "--market-factors",
        help="A file of contracts, suppliers' rates and residual mixes by zone and year, for market-based grams.",
    ),
]


class ExportFormat(StrEnum):
    """What is written."""

    JSONL = "jsonl"
    FOCUS = "focus"
    CSV = "csv"
    PARQUET = "parquet"
    OPENMETRICS = "openmetrics"


def export(
    file: Annotated[str, typer.Argument(help="Where to write; - for standard output.")] = "-",
    ledger: Address = USUAL,
    form: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            help="jsonl: every line, to be verified and imported again; the others have a row for each attempt. focus: "
            "cost and carbon by FOCUS 1.2; csv: for spreadsheets; parquet; openmetrics: for Prometheus.",
        ),
    ] = ExportFormat.JSONL,
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="One namespace only.")] = "",
    since: Since = None,
    until: Until = None,
    market_factors: MarketFactorsFile = None,
) -> None:
    """Write the ledger whole as JSON lines, or its attempts with their figures as FOCUS, CSV, Parquet or OpenMetrics.

    Attempts stand with their latest figures, failed ones too; columns say which are settled, how energy was found and
    how far off it may be. Location-based grams come with the grid's factor and its source; market-based ones only
    where --market-factors declares a contract, a supplier's rate or a residual mix. The file is replaced whole.
    """
    from carbonfleet.ledger import LedgerError
    from carbonfleet.ledger.exports import ExportError, MarketFactors
    from carbonfleet.ledger.store import Query

    if form is ExportFormat.JSONL and (namespace or since or until or market_factors):
        fail("jsonl is the whole ledger, whose lines vouch for one another: no limits, or --format csv")
    if form is ExportFormat.PARQUET and file == "-" and sys.stdout.isatty():
        fail("Parquet is not for terminals: name a file")
    factors = factors_in(market_factors) if market_factors is not None else MarketFactors()
    query = Query(namespace=namespace, since=utc(since), until=utc(until))
    opened, broken = open_ledger(ledger), list[str]()
    try:
        if form is ExportFormat.JSONL:
            told = _write_whole(opened, file, broken)
        else:
            told = _write_attempts(opened, file, form, query, factors)
            broken = list(opened.broken())
    except (ExportError, LedgerError, OSError) as error:
        fail(error)
    finally:
        opened.close()
    for line in told:
        say(line, err=True)
    end_without(broken)


def factors_in(file: Path) -> "MarketFactors":
    """What a file declares. Ends the command where that can't be read."""
    from carbonfleet.ledger.exports import read_market_factors
    from carbonfleet.yaml_reader import FileInvalid

    try:
        return read_market_factors(file)
    except (FileInvalid, OSError) as error:
        fail(error)


def utc(moment: datetime | None) -> datetime | None:
    """A day or moment that was typed, as UTC."""
    return None if moment is None else moment.replace(tzinfo=UTC)


def end_without(broken: Sequence[str]) -> None:
    """Name the lines that were left out, and end the command with 1 where there are any."""
    for line in broken[:MOST_TOLD]:
        say(f"left out: {line} is no line of a ledger; `carbonfleet report verify` says what was changed", err=True)
    if len(broken) > MOST_TOLD:
        say(f"and {len(broken) - MOST_TOLD} more", err=True)
    if broken:
        raise typer.Exit(ExitCode.WRONG)


def _write_whole(opened: "Ledger", file: str, broken: list[str]) -> list[str]:
    from carbonfleet.private_files import replacing

    if file == "-":
        count = opened.export(sys.stdout, broken.append)
    else:
        with replacing(Path(file)) as fresh, fresh.open("w", encoding="utf-8") as out:
            count = opened.export(out, broken.append)
    return [f"{count} lines written; head: {opened.head()}"]


def _write_attempts(
    opened: "Ledger", file: str, form: ExportFormat, query: "Query", factors: "MarketFactors"
) -> list[str]:
    """Write the attempts, and what is to be said of them."""
    from carbonfleet.private_files import replacing

    entries = opened.attempts(query)
    with _standard_output() if file == "-" else replacing(Path(file)) as fresh:
        _WRITERS[form](fresh, entries, factors)
    return _told(entries, factors, has_market=bool(factors.known))


@contextmanager
def _standard_output() -> Iterator[Path]:
    """A file whose content goes to standard output once it is whole; a terminal is shown its control characters."""
    import shutil
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        yield (file := Path(folder) / "export")
        if sys.stdout.isatty():
            say(file.read_text(encoding="utf-8"), nl=False)
            return
        sys.stdout.flush()
        with file.open("rb") as content:
            shutil.copyfileobj(content, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def _write_csv(file: Path, entries: "list[Entry]", factors: "MarketFactors") -> None:
    from carbonfleet.ledger.exports import columns, rows

    _write_lines(file, columns(), rows(entries, factors))


def _write_focus(file: Path, entries: "list[Entry]", factors: "MarketFactors") -> None:
    from carbonfleet.ledger.exports import focus_columns, focus_row

    _write_lines(file, focus_columns(), (focus_row(entry, factors) for entry in entries))


def _write_lines(file: Path, head: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    from carbonfleet.text import csv_line

    with file.open("w", encoding="utf-8", newline="") as out:
        out.write(csv_line(head))
        out.writelines(map(csv_line, lines))


def _write_openmetrics(file: Path, entries: "list[Entry]", factors: "MarketFactors") -> None:
    from carbonfleet.ledger.exports import openmetrics_text

    with file.open("wb") as out:
        out.writelines(openmetrics_text(entries, factors))


def _write_parquet(file: Path, entries: "list[Entry]", factors: "MarketFactors") -> None:
    from carbonfleet.ledger.exports import write_parquet

    write_parquet(file, entries, factors)


_WRITERS: Final[dict[ExportFormat, Callable[[Path, "list[Entry]", "MarketFactors"], None]]] = {
    ExportFormat.CSV: _write_csv,
    ExportFormat.FOCUS: _write_focus,
    ExportFormat.OPENMETRICS: _write_openmetrics,
    ExportFormat.PARQUET: _write_parquet,
}


def _told(entries: "list[Entry]", factors: "MarketFactors", *, has_market: bool) -> list[str]:
    """What the sums don't say by themselves."""
    from math import fsum

    from carbonfleet.ledger import EntryKind

    kwh, grams = fsum(each.energy_kwh for each in entries), fsum(each.grams for each in entries)
    open_ones = sum(not (each.settled and each.kind is EntryKind.SETTLEMENT) for each in entries)
    failed = [each for each in entries if each.phase != "Succeeded"]
    told = [f"{len(entries)} attempts written: {kwh:.3f} kWh, {grams / 1000:.3f} kg CO2e"]
    if open_ones:
        told.append(f"not settled: {open_ones}, which the grid's final values may still change")
    if failed:
        lost = fsum(each.grams for each in failed)
        told.append(f"not succeeded: {len(failed)}, counted with {lost / 1000:.3f} kg CO2e")
    if unpriced := sum(each.cost_usd is None for each in entries):
        told.append(f"without a known cost: {unpriced}, counted with none")
    if has_market and (missing := factors.missing(entries)):
        more = f" and {len(missing) - MOST_TOLD} more" if len(missing) > MOST_TOLD else ""
        told.append(f"no market-based grams for {', '.join(missing[:MOST_TOLD])}{more}: no factor is declared")
    return told
