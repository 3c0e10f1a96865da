"""Exports in others' formats: read back by others' readers, every figure as it stands in the ledger."""

import csv
import io
import json
import math
import os
import resource
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_values import NOON, entry, many, settled
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from typer.testing import CliRunner

from carbonfleet.cli import app
from carbonfleet.ledger.store import Ledger
from carbonfleet.text import csv_line, spreadsheet_cell
from kustomize.rendering import prometheus

RUN = CliRunner().invoke
FACTORS = """
factors:
  - {zone: "NO", year: 2026, gramsPerKwh: 502.25, kind: residual-mix, source: "AIB, European Residual Mixes 2025"}
  - {zone: DE, year: 2026, gramsPerKwh: 0, kind: contract, source: "PPA 17"}
"""
FOCUS_MANDATORY = (
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd"),
    *("ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity"),
    *("PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName"),
)
"""Of version 1.2, by its requirements model."""
SUMMED = {
    "energy_kwh": lambda each: each.energy_kwh,
    "facility_kwh": lambda each: each.energy_kwh * each.pue,
    "operational_grams": lambda each: each.operational_grams,
    "embodied_grams": lambda each: each.embodied_grams,
    "grams": lambda each: each.grams,
    "doubt_grams": lambda each: each.operational_grams * each.energy_uncertainty,
    "baseline_grams": lambda each: each.baseline_grams,
    "saved_grams": lambda each: each.saved_grams,
    "cost_usd": lambda each: each.cost_usd,
}
FOCUS_NAMES = {
    "energy_kwh": "x_EnergyKwh",
    "facility_kwh": "x_FacilityEnergyKwh",
    "operational_grams": "x_OperationalGrams",
    "embodied_grams": "x_EmbodiedGrams",
    "grams": "x_EmittedGrams",
    "doubt_grams": "x_DoubtGrams",
    "baseline_grams": "x_BaselineGrams",
    "saved_grams": "x_SavedGrams",
    "cost_usd": "EffectiveCost",
}
METRICS = FOCUS_NAMES | {
    "energy_kwh": "energy_kwh",
    "facility_kwh": "facility_energy_kwh",
    "operational_grams": "operational_grams",
    "embodied_grams": "embodied_grams",
    "grams": "emitted_grams",
    "doubt_grams": "uncertainty_grams",
    "baseline_grams": "baseline_grams",
    "saved_grams": "saved_grams",
    "cost_usd": "cost_usd",
}


def lines():
    """Attempts of two zones and two signals, some failed, some settled to other figures."""
    firsts = [
        replace(
            each,
            account="123456789012" if number % 2 else "",
            zone="DE" if number % 3 else "NO-NO1",
            phase="Failed" if number % 9 == 0 else "Succeeded",
            signal="marginal" if number % 10 == 0 else "average-lifecycle",
            end=each.end + timedelta(microseconds=number),
        )
        for number, each in enumerate(many(120))
    ]
    return firsts, [settled(each, grams=each.grams * 1.1) for each in firsts[::4]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A ledger, its factors, and an export of each kind."""
    made = tmp_path_factory.mktemp("exports")
    (made / "factors.yaml").write_text(FACTORS)
    ledger = Ledger.at(made / "ledger.sqlite")
    firsts, corrections = lines()
    ledger.record_all(firsts + corrections)
    ledger.close()
    for name in ("csv", "focus", "parquet", "openmetrics"):
        done = export(made, made / f"out.{name}", name)
        assert done.exit_code == 0, done.output
        assert "120 attempts written" in done.stderr
        assert "not settled: 90" in done.stderr
        assert "not succeeded: 14" in done.stderr
    return made


def export(folder, file, name, *more):
    given = ["--format", name, "--ledger", str(folder / "ledger.sqlite")]
    return RUN(app, ["report", "export", str(file), *given, "--market-factors", str(folder / "factors.yaml"), *more])


@pytest.fixture(scope="module")
def latest(folder):
    """One line for each attempt, as the ledger has it."""
    ledger = Ledger.at(folder / "ledger.sqlite")
    yield ledger.attempts()
    ledger.close()


def table(file):
    with file.open(encoding="utf-8", newline="") as content:
        return list(csv.DictReader(content))


def families(file):
    return {each.name: each for each in text_string_to_metric_families(file.read_text(encoding="utf-8"))}


def test_every_export_adds_up_to_the_ledger_to_the_last_digit(folder, latest):
    csv_rows, focus_rows = table(folder / "out.csv"), table(folder / "out.focus")
    parquet, metrics = pq.read_table(folder / "out.parquet"), families(folder / "out.openmetrics")
    for name, value in SUMMED.items():
        wanted = math.fsum(value(each) or 0.0 for each in latest)
        samples = metrics[f"carbonfleet_attempt_{METRICS[name]}"].samples
        assert math.fsum(float(row[name] or 0) for row in csv_rows) == wanted
        assert math.fsum(float(row[FOCUS_NAMES[name]] or 0) for row in focus_rows) == wanted
        assert math.fsum(value or 0.0 for value in parquet[name].to_pylist()) == wanted
        assert math.fsum(sample.value for sample in samples) == wanted


def test_what_the_report_says_is_what_the_exports_add_up_to(folder):
    said = json.loads(RUN(app, ["report", "--ledger", str(folder / "ledger.sqlite"), "--json"]).output)
    rows = table(folder / "out.csv")
    for total in said["totals"]:
        own = [row for row in rows if row["signal"] == total["signal"]]
        assert len(own) == total["attempts"]
        assert sum(row["settled"] == "true" for row in own) == total["settled"]
        for name in ("energy_kwh", "facility_kwh", "operational_grams", "grams", "doubt_grams", "cost_usd"):
            assert math.fsum(float(row[name] or 0) for row in own) == pytest.approx(total[name], rel=1e-14)


def test_csv_and_parquet_hold_the_same_rows(folder):
    rows, parquet = table(folder / "out.csv"), pq.read_table(folder / "out.parquet")
    assert list(rows[0]) == parquet.column_names
    for row, other in zip(rows, parquet.to_pylist(), strict=True):
        for name, value in other.items():
            if isinstance(value, datetime):
                assert datetime.fromisoformat(row[name]) == value
            elif isinstance(value, bool):
                assert row[name] == str(value).lower()
            elif isinstance(value, (int, float)):
                assert float(row[name]) == value
            else:
                assert row[name] == (value or "")


def test_grams_come_with_their_factor_and_its_source(folder, latest):
    rows = table(folder / "out.csv")
    for row, line in zip(rows, latest, strict=True):
        is_marginal = line.signal == "marginal"
        assert row["location_based_grams"] == ("" if is_marginal else str(line.operational_grams))
        assert (row["location_factor_grams_per_kwh"], row["location_factor_source"]) == ("35.5", "trace")
        kind, factor, source = (
            ("contract", 0.0, "PPA 17")
            if line.zone == "DE"
            else ("residual-mix", 502.25, "AIB, European Residual Mixes 2025")
        )
        assert (row["market_factor_kind"], row["market_factor_source"]) == (kind, source)
        assert float(row["market_based_grams"]) == line.energy_kwh * line.pue * factor


def test_without_a_factor_nothing_is_claimed(folder, tmp_path):
    (tmp_path / "factors.yaml").write_text(FACTORS.replace('zone: "NO", year: 2026', 'zone: "NO", year: 2025'))
    done = export(folder, tmp_path / "out.csv", "csv", "--market-factors", str(tmp_path / "factors.yaml"))
    assert "no market-based grams for NO-NO1 2026: no factor is declared" in done.stderr
    own = [row for row in table(tmp_path / "out.csv") if row["zone"] == "NO-NO1"]
    assert {(row["market_based_grams"], row["market_factor_source"]) for row in own} == {("", "")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("factors: []", "factors.yaml:1"),
        (FACTORS.replace("502.25", "-1"), "factors.yaml:3"),
        (FACTORS.replace("502.25", ".nan"), "factors.yaml:3"),
        (FACTORS.replace("residual-mix", "guess"), "factors.yaml:3"),
        (FACTORS.replace("zone: DE", 'zone: "NO"'), "two are for NO in 2026"),
        (FACTORS.replace(', source: "PPA 17"', ""), "factors.yaml:4"),
        ("factors: [", "factors.yaml:2"),
        ("a: " + "x" * 2_000_000, "factors.yaml:1"),
    ],
    ids=["empty", "negative", "nan", "kind", "twice", "no source", "yaml", "huge"],
)
def test_a_wrong_file_of_factors_is_refused_with_its_line(folder, tmp_path, text, said):
    (tmp_path / "factors.yaml").write_text(text)
    out = tmp_path / "out.csv"
    done = export(folder, out, "csv", "--market-factors", str(tmp_path / "factors.yaml"))
    assert done.exit_code == 2
    assert said in done.stderr
    assert not out.exists()


def test_focus_has_its_mandatory_columns_and_ours_behind_them(folder):
    rows = table(folder / "out.focus")
    names = list(rows[0])
    own = [name.startswith("x_") for name in names]
    assert set(FOCUS_MANDATORY) <= set(names)
    assert own == sorted(own)
    for row in rows:
        assert all(row[name] for name in FOCUS_MANDATORY if name != "ChargeClass")
        assert (row["BilledCost"], row["ChargeCategory"], row["BillingCurrency"]) == ("0.0", "Usage", "USD")
        assert row["BillingPeriodStart"] <= row["ChargePeriodEnd"] <= row["BillingPeriodEnd"]
        assert row["ChargePeriodEnd"].endswith("Z")
        assert "." not in row["ChargePeriodEnd"]
        assert (row["x_CostIsKnown"] == "true") or row["EffectiveCost"] == "0.0"
        assert not any("e" in row[name].lower() for name in FOCUS_NAMES.values())


def test_focus_charges_the_account_where_the_cluster_names_one(tmp_path):
    ledger = Ledger.at(tmp_path / "ledger.sqlite")
    tiny = entry(2, energy_kwh=1e-7, end=datetime(2026, 1, 31, 23, 59, 59, 1, tzinfo=UTC))
    ledger.record_all([entry(1, account="123456789012"), tiny])
    ledger.close()
    RUN(
        app,
        ["report", "export", str(tmp_path / "f.csv"), "--format", "focus", "--ledger", str(tmp_path / "ledger.sqlite")],
    )
    first, second = table(tmp_path / "f.csv")
    assert (first["BillingAccountId"], first["SubAccountId"]) == ("123456789012", "ml")
    assert (second["BillingAccountId"], second["x_EnergyKwh"]) == ("no-osl-1", "0.0000001")
    assert (second["ChargePeriodEnd"], second["BillingPeriodEnd"]) == ("2026-02-01T00:00:00Z", "2026-02-01T00:00:00Z")


def test_each_metric_has_a_sample_for_each_attempt_at_its_end(folder, latest):
    metrics = families(folder / "out.openmetrics")
    samples = metrics["carbonfleet_attempt_emitted_grams"].samples
    found = {each.labels["placement_id"]: (each.labels["phase"], float(each.timestamp)) for each in samples}
    assert found == {each.placement_id: (each.phase, pytest.approx(each.end.timestamp(), abs=1e-3)) for each in latest}
    kinds = {each.labels["kind"] for each in metrics["carbonfleet_attempt_market_factor_grams_per_kwh"].samples}
    assert kinds == {"contract", "residual-mix"}


@pytest.mark.skipif(not prometheus("promtool"), reason="no promtool, of Debian's prometheus (see the Makefile)")
def test_prometheus_takes_the_samples(folder, tmp_path):
    command = [
        prometheus("promtool"),
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        folder / "out.openmetrics",
        tmp_path,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("*/meta.json"))


def test_limits_hold_for_others_formats_only(folder, tmp_path):
    ledger = ["--ledger", str(folder / "ledger.sqlite")]
    limited = RUN(app, ["report", "export", "--format", "csv", *ledger, "-n", "team-3", "--until", "2026-01-20"])
    rows = list(csv.DictReader(io.StringIO(limited.stdout)))
    assert rows
    assert {row["namespace"] for row in rows} == {"team-3"}
    assert max(row["end"] for row in rows) < "2026-01-20"
    refused = RUN(app, ["report", "export", *ledger, "-n", "team-3"])
    assert refused.exit_code == 2
    assert "jsonl is the whole ledger" in refused.stderr


def test_parquet_without_pyarrow_says_what_to_install(folder, tmp_path):
    out = tmp_path / "out.parquet"
    hide = "import sys; sys.modules['pyarrow'] = None; from carbonfleet.cli import main; main()"
    given = ["--format", "parquet", "--ledger", str(folder / "ledger.sqlite")]
    command = [sys.executable, "-c", hide, "report", "export", str(out), *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, "pip install 'carbonfleet[parquet]'" in done.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["jsonl", "csv", "parquet"])
def test_on_a_full_disk_the_file_that_was_there_stays(folder, tmp_path, name):
    out = tmp_path / "out"
    out.write_text("the old one")
    given = ["report", "export", str(out), "--format", name, "--ledger", str(folder / "ledger.sqlite")]
    done = subprocess.run(
        [sys.executable, "-m", "carbonfleet", *given],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    assert done.returncode == 2, done.stdout
    assert str(out) in done.stderr
    assert out.read_text() == "the old one"
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_a_file_keeps_its_mode_and_a_link_its_place(folder, tmp_path):
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    export(folder, link, "csv")
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert len(table(real)) == 120
    assert export(folder, tmp_path / "none" / "out.csv", "csv").stderr.startswith(
        f"error: {tmp_path}/none/out.csv: No such"
    )
    assert "Is a directory" in export(folder, tmp_path, "csv").stderr


def test_a_pipe_is_written_to(folder, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        export(folder, pipe, "csv")
        assert reader.stdout is not None
        assert reader.stdout.read() == (folder / "out.csv").read_bytes()
    assert pipe.is_fifo()


@given(st.lists(st.one_of(st.none(), st.text(), st.floats(allow_nan=False, allow_infinity=False), st.booleans())))
def test_any_cell_comes_back_and_none_is_a_formula(cells):
    [read] = csv.reader(io.StringIO(csv_line(["first", *cells]), newline=""))
    for cell, text in zip(cells, read[1:], strict=True):
        if isinstance(cell, str):
            assert text == spreadsheet_cell(cell)
            assert text.removeprefix("'") == cell.removeprefix("'")
            assert not text.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"))  # noqa: RUF001
        elif isinstance(cell, float):
            assert float(text) == cell
            assert Decimal(text) == Decimal(repr(cell))
        else:
            assert text == ("" if cell is None else str(cell).lower())


@pytest.mark.parametrize("text", ["=1+1", "＝1", "\r=1", "a\r\n=cmd", '"\n=1', "-2", "@SUM(A1)"])  # noqa: RUF001
def test_what_a_ledger_holds_never_begins_a_cell_as_a_formula(tmp_path, text):
    ledger = Ledger.at(tmp_path / "ledger.sqlite")
    ledger.record(entry(namespace=text, job=text, cluster=text, account=text, end=NOON + timedelta(hours=1)))
    ledger.close()
    for name in ("csv", "focus"):
        done = RUN(app, ["report", "export", "--format", name, "--ledger", str(tmp_path / "ledger.sqlite")])
        read = list(csv.reader(io.StringIO(done.stdout, newline="")))
        assert len(read) == 2
        assert not any(cell.startswith(("=", "@", "\r", "\n", "＝")) for cell in read[1])  # noqa: RUF001
    report = RUN(app, ["report", "--csv", "--ledger", str(tmp_path / "ledger.sqlite")])
    assert len(list(csv.reader(io.StringIO(report.stdout)))) == 2
