"""A line that holds what none can is named and left out; the others are shown, whatever it holds."""

import io
import json
import sqlite3

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ledger_values import entry, settled
from typer.testing import CliRunner

from carbonfleet.cli import app
from carbonfleet.hub.accounting import Settling
from carbonfleet.hub.metrics import Metrics
from carbonfleet.ledger import Entry, LedgerError
from carbonfleet.ledger.entry import FIELDS
from carbonfleet.ledger.store import By, Ledger
from carbonfleet.signals import Signals
from fixtures.hand_clock import HandClock

CLEARED = [HealthCheck.function_scoped_fixture]
STORED = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(),
    st.binary(),
    st.sampled_from(["", "0", "1e3", "attempt", "2026-01", 9e15, -1.0, 253402300800.0, 2**31]),
)
"""All that SQLite keeps in a column, whatever its type."""
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
COLUMNS = [name for name in FIELDS if name != "id"]
HEALTHY = (entry(1), entry(2, namespace="other"), settled(entry(2, namespace="other"), grams=140.0))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "ledger.sqlite"


def broken(file, column: str, value: object, *, is_text: bool = False) -> str:
    """A ledger one of whose lines another hand has altered past all of SQLite's types; that line's id."""
    file.unlink(missing_ok=True)
    ledger = Ledger.at(file)
    ledger.record_all([*HEALTHY, entry(9)])
    ledger.close()
    with sqlite3.connect(file) as connection:
        connection.execute("DROP TRIGGER entries_never_change")
        put = "CAST(? AS TEXT)" if is_text else "?"
        connection.execute(f'UPDATE entries SET "{column}" = {put} WHERE id = ?', (value, entry(9).id))  # noqa: S608 - a column's name
    connection.close()
    return entry(9).id


def report(file, *options: str):
    done = CliRunner().invoke(app, ["report", "--ledger", str(file), *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def check(file, column: str, value: object, *, is_text: bool = False) -> None:
    name = broken(file, column, value, is_text=is_text)
    ledger = Ledger.at(file)
    shown = {each.id for each in ledger.entries()}
    left_out = list(ledger.broken())
    healthy = {each.id for each in HEALTHY}
    assert shown >= healthy
    assert (left_out, shown - healthy) in (([], {name}), ([name], set()))
    assert sum(each.attempts for each in ledger.sums(By.ALL)) == len(ledger.attempts()) == 3 - len(left_out)
    ledger.close()
    for options in (["--by", "job"], ["--by", "month", "--json"], ["--html", str(file.with_suffix(".html"))]):
        done = report(file, *options)
        assert done.exit_code == bool(left_out), done.output
        assert (f"left out: {name} " in done.output) == bool(left_out)
    for command in (["export", str(file.with_suffix(".jsonl")), "--ledger"], ["verify", "--ledger"]):
        done = CliRunner().invoke(app, ["report", *command, str(file)])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception


@settings(max_examples=15, suppress_health_check=CLEARED)
@given(column=st.sampled_from(COLUMNS), value=STORED)
@example(column="grams", value="much")
@example(column="end", value=b"\xff")
@example(column="kind", value="settled")
@example(column="settled", value="abc")
def test_anything_in_any_column_of_a_line_ends_at_that_line(file, column, value):
    check(file, column, value)


def test_bytes_that_are_no_text_end_at_their_line(file):
    for column in ("namespace", "end", "report_digest"):
        check(file, column, b"\xff\xfe", is_text=True)


def test_the_report_shows_the_others_and_names_the_broken_line(file):
    broken(file, "grams", "much")
    done = report(file, "--by", "job", "--json")
    assert done.exit_code == 1
    assert [line["group"] for line in json.loads(done.stdout)["lines"]] == ["ml/job-1", "other/job-2"]
    assert done.stderr == (
        "left out: attempt:9 is no line of a ledger; `carbonfleet report verify` says what was changed\n"
    )


def test_an_attempt_whose_settlement_is_broken_counts_as_it_was_first(file):
    first = entry(1, grams=100.0)
    ledger = Ledger.at(file)
    ledger.record_all([first, settled(first, grams=140.0)])
    ledger.close()
    with sqlite3.connect(file) as connection:
        connection.execute("DROP TRIGGER entries_never_change")
        connection.execute("UPDATE entries SET grams = 'much' WHERE kind = 'settlement'")
    connection.close()
    ledger = Ledger.at(file)
    assert ([each.grams for each in ledger.attempts()], list(ledger.broken())) == ([100.0], ["settlement:1:1"])
    ledger.close()


@settings(max_examples=40, suppress_health_check=CLEARED)
@given(name=st.sampled_from(FIELDS), value=ANY_JSON, whole=st.booleans())
@example(name="namespace", value="\ud800", whole=False)
@example(name="gpus", value=10**400, whole=False)
@example(name="sweep", value="\x00", whole=False)
def test_any_json_in_a_line_that_is_imported_is_a_line_or_an_error_with_its_number(file, name, value, whole):
    file.unlink(missing_ok=True)
    ledger = Ledger.at(file)
    ledger.record(entry(1))
    line = json.loads(_exported(ledger))
    text = json.dumps(value) if whole else json.dumps({**line, "id": "attempt:2", "digest": None} | {name: value})
    said = _loaded(ledger, [json.dumps({key: line[key] for key in FIELDS}), text])
    assert said == "" or "line 2 " in said or "entry " in said
    assert not said or [each.id for each in ledger.entries()] == ["attempt:1"]
    assert list(ledger.broken()) == []
    assert all(isinstance(each, Entry) for each in ledger.entries())
    ledger.close()


@settings(max_examples=15, suppress_health_check=CLEARED)
@given(junk=st.binary(min_size=1).filter(lambda junk: junk.strip() and b"\n" not in junk and b"\r" not in junk))
def test_any_bytes_in_a_file_that_is_imported_are_an_error_with_their_line(file, junk):
    export = file.with_suffix(".jsonl")
    export.write_bytes(junk + b"\n")
    done = CliRunner().invoke(app, ["report", "import", str(export), "--ledger", str(file)])
    assert (done.exit_code, done.stderr.startswith("error: line 1 ")) == (2, True), done.output


def _exported(ledger: Ledger) -> str:
    out = io.StringIO()
    assert ledger.export(out) == 1
    return out.getvalue()


def _loaded(ledger: Ledger, lines: list[str]) -> str:
    """What is wrong with the lines; empty where they were read."""
    try:
        ledger.load(lines)
    except LedgerError as error:
        return str(error)
    return ""


def test_a_hub_names_the_lines_that_it_leaves_out_once_and_counts_them(file, caplog):
    line = broken(file, "grams", b"\xff")
    ledger, clock = Ledger.at(file), HandClock()
    settling = Settling(ledger, Signals([], clock), clock)
    for _ in range(3):
        clock.forward(hours=2)
        settling.step()
    told = f"lines of the ledger hold what no line can, and are left out of all figures: {line}"
    assert caplog.messages == [told]
    assert Metrics(ledger).registry.get_sample_value("carbonfleet_ledger_broken_lines") == 1
    settling.close()
    ledger.close()
