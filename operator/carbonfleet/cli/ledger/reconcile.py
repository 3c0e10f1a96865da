"""`carbonfleet report reconcile`: the clouds' own footprint exports beside the ledger."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from carbonfleet.cli.answers import AsJson, Form, Output, write, write_names
from carbonfleet.cli.console import console, fail, say
from carbonfleet.cli.ledger.address import USUAL, Address, open_ledger
from carbonfleet.cli.ledger.export import MarketFactorsFile, Since, Until, end_without, factors_in, utc

if TYPE_CHECKING:
    from carbonfleet.ledger import Entry
    from carbonfleet.ledger.footprints import Cloud, CloudFootprint, Reconciled, Reconciliation
    from carbonfleet.ledger.store import Query


_OTHERS: Final = "(others)"


def reconcile(
    aws: Annotated[
        list[Path] | None,
        typer.Option(help="AWS Data Exports' table CARBON_EMISSIONS: CSV, with gzip too, or Parquet."),
    ] = None,
    gcp: Annotated[
        list[Path] | None, typer.Option(help="Carbon Footprint's BigQuery export: JSON lines, CSV or Parquet.")
    ] = None,
    azure: Annotated[
        list[Path] | None, typer.Option(help="Carbon Optimization's ItemDetailsReport by Resource: the API's JSON.")
    ] = None,
    azure_month: Annotated[
        str, typer.Option(help="The month that Azure's report was asked for, as 2026-01; it does not say so itself.")
    ] = "",
    account: Annotated[
        list[str] | None,
        typer.Option(help="CLUSTER=ACCOUNT, for lines from before the cluster's file named its account."),
    ] = None,
    ledger: Address = USUAL,
    since: Since = None,
    until: Until = None,
    market_factors: MarketFactorsFile = None,
    output: Output = Form.TEXT,
    as_json: AsJson = False,
) -> None:
    """Lay the clouds' footprint exports beside the ledger, and say what differs and why.

    A line is an account's region and month. The cloud's figure is of all that the account ran there; the ledger's is
    of its training alone, so that the first should be the larger one. Each of --aws, --gcp and --azure may be given
    several times. -o wide has market-based figures and what each reason says of its line; -o json has all of it.
    """
    from carbonfleet.clock import Clock
    from carbonfleet.ledger import LedgerError, footprints
    from carbonfleet.ledger.exports import MarketFactors
    from carbonfleet.ledger.store import Query

    exports = _exports({"aws": aws or [], "gcp": gcp or [], "azure": azure or []}, _month(azure_month))
    accounts = _accounts(account or [])
    factors = factors_in(market_factors) if market_factors is not None else MarketFactors()
    query = Query(since=utc(since), until=utc(until))
    opened = open_ledger(ledger)
    try:
        entries, broken = _named(opened.attempts(query), accounts), list(opened.broken())
    except LedgerError as error:
        fail(error)
    finally:
        opened.close()
    made = footprints.reconcile(entries, exports, factors, Clock.from_environment().now())
    form = Form.JSON if as_json else output
    if form.is_data:
        write(_values(made, query), form, "report reconcile")
    elif form is Form.NAME:
        write_names(dict.fromkeys(line.account for line in made.lines if line.account))
    else:
        _show(made, is_wide=form is Form.WIDE)
    end_without(broken)


def _exports(given: Mapping[str, list[Path]], month: str) -> "dict[Cloud, tuple[CloudFootprint, ...]]":
    """The rows of each cloud. Ends the command where there are none, or where a file can't be used."""
    from carbonfleet.ledger.footprints import Cloud, FootprintError, footprints_in

    if not any(given.values()):
        fail("give at least one export: --aws FILE, --gcp FILE or --azure FILE")
    try:
        return {Cloud(name): footprints_in(Cloud(name), files, month) for name, files in given.items() if files}
    except (FootprintError, OSError) as error:
        fail(error)


def _month(text: str) -> str:
    from datetime import datetime

    try:
        return f"{datetime.strptime(text, '%Y-%m'):%Y-%m}" if text else ""  # noqa: DTZ007 - a month has no zone
    except ValueError:
        fail(f"--azure-month is {text}, and no month such as 2026-01")


def _accounts(given: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        cluster, sign, name = text.partition("=")
        if not sign or not cluster or not name or found.setdefault(cluster, name) != name:
            fail(f"--account is {text}; write CLUSTER=ACCOUNT, and each cluster once")
    return found


def _named(entries: "Iterable[Entry]", accounts: Mapping[str, str]) -> "list[Entry]":
    """The lines, with an account where their cluster's is said."""
    return [
        each if each.account or each.cluster not in accounts else replace(each, account=accounts[each.cluster])
        for each in entries
    ]


def _values(made: "Reconciliation", query: "Query") -> dict[str, Any]:
    return {
        "query": {name: value for name, value in asdict(query).items() if value},
        "lines": [_line_values(line) for line in made.lines],
        "other_accounts": {cloud.value: count for cloud, count in made.other_accounts.items()},
    }


def _line_values(line: "Reconciled") -> dict[str, Any]:
    theirs = line.by_cloud
    return {
        "cloud": line.cloud.value if line.cloud else None,
        "account": line.account or None,
        "region": line.region or None,
        "month": line.month,
        "by_cloud": None if theirs is None else {**asdict(theirs), "compared_grams": theirs.compared_grams},
        "by_ledger": None if line.by_ledger is None else asdict(line.by_ledger),
        "difference_grams": line.difference_grams,
        "reasons": [asdict(reason) for reason in line.reasons],
    }


def _show(made: "Reconciliation", *, is_wide: bool) -> None:
    from rich.table import Table

    if not made.lines:
        say("no attempt fits: the ledger gets a line when an attempt has ended")
        return
    screen, numbers = console(), _numbered(made)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in ("account", "region"):
        table.add_column(head, overflow="fold")
    table.add_column("month", no_wrap=True)
    for head in (
        ("cloud", "cloud\nmarket", "ledger", "ledger\nmarket", "difference")
        if is_wide
        else ("cloud", "ledger", "difference")
    ):
        table.add_column(head, no_wrap=True, justify="right")
    table.add_column("why")
    for line in made.lines:
        why = " ".join(map(str, sorted(numbers[reason.why] for reason in line.reasons)))
        table.add_row(line.account or "-", line.region or _OTHERS, line.month, *_figures(line, is_wide=is_wide), why)
    screen.print(table)
    _explain(made, numbers, is_wide=is_wide)


def _explain(made: "Reconciliation", numbers: Mapping[str, int], *, is_wide: bool) -> None:
    """The reasons by their numbers, in wide with what they say of each line; and what is in no line."""
    from rich.table import Table

    say("\nIn kg CO2e. cloud: all that the account ran; difference: cloud less ledger.")
    told = Table.grid(padding=(0, 1, 0, 0))
    texts = {reason.why: f"{reason.kind}: {reason.text}" for line in made.lines for reason in line.reasons}
    for why, text in texts.items():
        told.add_row(str(numbers[why]), text)
        for line in made.lines if is_wide else ():
            for detail in (reason.detail for reason in line.reasons if reason.why is why and reason.detail):
                told.add_row("", f"  {line.account or '-'} {line.region or _OTHERS} {line.month}: {detail}")
    console().print(told)
    for cloud, count in made.other_accounts.items():
        if count:
            say(f"Accounts in the export of {cloud.value} in which nothing trained: {count}.")


def _numbered(made: "Reconciliation") -> dict[str, int]:
    """Each reason's number, in the order of their first lines."""
    found = dict.fromkeys(str(reason.why) for line in made.lines for reason in line.reasons)
    return {why: number for number, why in enumerate(found, 1)}


def _figures(line: "Reconciled", *, is_wide: bool) -> tuple[str, ...]:
    cloud = line.by_cloud.compared_grams if line.by_cloud else None
    ours = line.by_ledger.location_based_grams if line.by_ledger else None
    if not is_wide:
        return _kg(cloud), _kg(ours), _kg(line.difference_grams)
    theirs = line.by_cloud.market_based_grams if line.by_cloud else None
    market = line.by_ledger.market_based_grams if line.by_ledger else None
    return _kg(cloud), _kg(theirs), _kg(ours), _kg(market), _kg(line.difference_grams)


def _kg(grams: float | None) -> str:
    return "-" if grams is None else f"{grams / 1000:z.3f}"
