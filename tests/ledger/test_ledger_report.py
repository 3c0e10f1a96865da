"""Reports: the ledger's figures by group, against sums done another way."""

import csv
import io
import json
import math
import re
from collections import defaultdict
from dataclasses import asdict
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from ledger_values import HOUR, NOON, entry, many, settled
from typer.testing import CliRunner

from carbonfleet.cli import app
from carbonfleet.ledger.page import page
from carbonfleet.ledger.report import report, values_of, write_csv
from carbonfleet.ledger.store import By, Ledger, Query

RUN = CliRunner().invoke
KEYS = {
    By.JOB: lambda e: (f"{e.namespace}/{e.job}", e.job_uid),
    By.SWEEP: lambda e: (f"{e.namespace}/{e.sweep}", ""),
    By.NAMESPACE: lambda e: (e.namespace, ""),
    By.MONTH: lambda e: (f"{e.end:%Y-%m}", ""),
}


def mixed(count):
    """Attempts of which a third were settled to other figures, and some counted in another signal."""
    lines = many(count)
    lines = [entry_ if number % 4 else with_signal(entry_, "marginal") for number, entry_ in enumerate(lines)]
    return lines, [settled(each, grams=each.grams * 1.25) for each in lines[::3]]


def with_signal(each, signal):
    return entry(int(each.placement_id), **{name: getattr(each, name) for name in DIFFERENT}, signal=signal)


DIFFERENT = (
    *("namespace", "job", "job_uid", "sweep", "start", "end", "gpus", "energy_kwh", "energy_method", "pue"),
    *("energy_uncertainty", "operational_grams", "embodied_grams", "grams", "baseline_grams", "cost_usd"),
)


@pytest.mark.parametrize("by", KEYS)
def test_the_totals_are_those_of_the_attempts_whatever_the_groups(ledger, by):
    first, later = mixed(300)
    ledger.record_all([*first, *later])
    made, wanted = report(ledger, by, Query(), NOON), {sums.signal: sums for sums in ledger.sums(By.ALL)}

    assert [line.sums.signal for line in made.totals] == sorted(wanted)
    for line in made.totals:
        for name, value in asdict(wanted[line.sums.signal]).items():
            is_word = isinstance(value, str)
            assert getattr(line.sums, name) == (value if is_word else pytest.approx(value, rel=1e-12)), name


def sum_known(values):
    known = [value for value in values if value is not None]
    return math.fsum(known) if known else None


def computed(entries, key):
    """The same sums, by hand."""
    groups = defaultdict(list)
    for each in entries:
        groups[(*key(each), each.signal)].append(each)
    return {
        group: {
            "attempts": len(each),
            "jobs": len({e.job_uid for e in each}),
            "grams": math.fsum(e.grams for e in each),
            "energy_kwh": math.fsum(e.energy_kwh for e in each),
            "facility_kwh": math.fsum(e.energy_kwh * e.pue for e in each),
            "gpu_hours": math.fsum(e.gpu_hours for e in each),
            "saved_grams": sum_known(e.saved_grams for e in each),
            "embodied_grams": math.fsum(e.embodied_grams for e in each),
        }
        for group, each in groups.items()
    }


@pytest.mark.parametrize("by", list(KEYS))
def test_sums_equal_those_done_by_hand(ledger, by):
    first, later = mixed(600)
    ledger.record_all([*first, *later])
    latest = {e.placement_id: e for e in [*first, *later]}.values()
    expected = computed([e for e in latest if by is not By.SWEEP or e.sweep], KEYS[by])

    lines = report(ledger, by, Query(), NOON).lines
    assert [(x.sums.group, x.sums.job_uid, x.sums.signal) for x in lines] == sorted(expected)
    for line in lines:
        figures = line.values()
        wanted = expected[(line.sums.group, line.sums.job_uid, line.sums.signal)]
        assert (figures["saved_grams"] is None) == (wanted["saved_grams"] is None)
        known = {name: value for name, value in wanted.items() if value is not None}
        assert {name: figures[name] for name in known} == pytest.approx(known, rel=1e-9, abs=1e-6)


def test_a_settled_attempt_counts_once_with_its_final_figures(ledger):
    ledger.record_all([entry(grams=100.0), settled(entry(), grams=140.0, baseline_grams=1600.0)])
    [line] = report(ledger, By.NAMESPACE, Query(), NOON).lines

    assert (line.sums.attempts, line.sums.settled) == (1, 1)
    assert (line.sums.grams, line.saved_grams) == (140.0, 1460.0)


def test_savings_below_zero_are_shown_as_such(ledger):
    ledger.record(entry(grams=150.0, baseline_grams=100.0))
    made = report(ledger, By.JOB, Query(), NOON)

    assert (made.lines[0].saved_grams, made.lines[0].saved_percent) == (-50.0, -50.0)
    assert "<td class='worse'>-0.05</td>" in page(made)


def test_an_attempt_without_baseline_is_neither_saving_nor_loss(ledger):
    ledger.record_all([entry(1), entry(2, baseline_grams=None, grams=9000.0)])
    [line] = report(ledger, By.NAMESPACE, Query(), NOON).lines

    assert line.saved_grams == 1400.0
    assert line.sums.without_baseline == 1
    ledger.record(entry(3, namespace="bare", baseline_grams=None))
    assert report(ledger, By.NAMESPACE, Query(namespace="bare"), NOON).lines[0].saved_grams is None


def test_sci_and_scope_2_have_their_fields(ledger):
    ledger.record_all([entry(1), entry(2, job_uid="uid-1")])
    figures = report(ledger, By.NAMESPACE, Query(), NOON).totals[0].values()

    energy = 2 * 2.4 * 1.1
    assert figures["sci_e_kwh"] == pytest.approx(energy)
    assert figures["sci_i_grams_per_kwh"] == pytest.approx(2 * 90 / energy)
    assert figures["sci_m_grams"] == pytest.approx(18)
    assert figures["sci_r_jobs"] == 1
    assert figures["sci_grams_per_job"] == pytest.approx((2 * 90 + 2 * 9) / 1)
    assert figures["ghg_scope2_location_based_kg"] == pytest.approx(0.18)


def test_marginal_figures_are_never_added_to_average_ones(ledger):
    ledger.record_all([entry(1), entry(2, signal="marginal", grams=500.0)])
    made = report(ledger, By.NAMESPACE, Query(), NOON)

    assert [(line.sums.signal, line.sums.grams) for line in made.totals] == [
        ("average-lifecycle", 100.0),
        ("marginal", 500.0),
    ]
    assert made.totals[1].location_based_kg is None


def test_how_energy_was_found_is_said_with_its_doubt(ledger):
    ledger.record_all(
        [
            entry(1, energy_kwh=3.0, energy_method="nvml", energy_uncertainty=0.05),
            entry(2, energy_kwh=1.0, energy_method="estimate", energy_uncertainty=0.2),
        ]
    )
    [line] = report(ledger, By.NAMESPACE, Query(), NOON).lines

    assert line.energy_methods == "nvml 75 %, estimate 25 %"
    assert line.energy_uncertainty == pytest.approx((3 * 0.05 + 0.2) / 4)


def test_months_are_those_of_utc(ledger):
    last = NOON.replace(month=1, day=31, hour=23, minute=59, second=59)
    ledger.record_all([entry(1, end=last), entry(2, end=last + timedelta(seconds=1))])

    assert [line.sums.group for line in report(ledger, By.MONTH, Query(), NOON).lines] == ["2026-01", "2026-02"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "ledger.sqlite"
    made = Ledger.at(path)
    made.record_all([entry(1), entry(2, namespace="other", sweep="ranks"), entry(3, end=NOON + 900 * HOUR)])
    made.close()
    return path


def test_the_table_shows_savings_and_methods(file):
    shown = RUN(app, ["report", "--ledger", str(file), "--by", "namespace"])

    assert shown.exit_code == 0, shown.output
    row = next(line for line in shown.output.splitlines() if line.split()[:1] == ["ml"])
    for text in ("estimate, ±25%", "0.200", "2.800 (93 %)"):
        assert text in row


def test_json_and_csv_hold_the_same_figures(file):
    said = json.loads(RUN(app, ["report", "--ledger", str(file), "--json"]).output)
    rows = list(csv.DictReader(io.StringIO(RUN(app, ["report", "--ledger", str(file), "--csv"]).output)))

    assert [line["group"] for line in said["lines"]] == [row["group"] for row in rows] == ["ml", "other"]
    assert [line["saved_grams"] for line in said["lines"]] == [float(row["saved_grams"]) for row in rows]


@pytest.mark.parametrize("day", ["-01", "-01T00:00:00Z", ""])
def test_limits_reach_the_ledger(file, day):
    limits = ["--namespace", "ml", "--since", f"2026-02{day}", "--until", f"2026-03{day}"]
    said = json.loads(RUN(app, ["report", "--ledger", str(file), "--by", "job", *limits, "--json"]).output)

    assert [line["group"] for line in said["lines"]] == ["ml/job-3"]
    assert said["query"] == {"namespace": "ml", "since": "2026-02-01T00:00:00Z", "until": "2026-03-01T00:00:00Z"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", said["madeAt"])


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def test_the_page_stands_alone_and_plots(file, tmp_path):
    out = tmp_path / "report.html"
    assert RUN(app, ["report", "--ledger", str(file), "--by", "month", "--html", str(out)]).exit_code == 0
    tags = Tags()
    tags.feed(out.read_text())

    assert sum(tag == "rect" for tag, _ in tags.seen) == 2 * 2
    assert not [
        tag for tag, given in tags.seen if tag in ("script", "link", "img") or "src" in given or "href" in given
    ]


def test_names_can_not_reach_page_table_or_spreadsheet(ledger):
    ledger.record(entry(namespace="=<script>alert(1)</script>", job="[red]x[/red]"))
    made, out = report(ledger, By.NAMESPACE, Query(), NOON), io.StringIO()
    write_csv(made, out)

    assert "<script>" not in page(made)
    assert next(csv.DictReader(io.StringIO(out.getvalue())))["group"].startswith("'=")
    assert values_of(made)["lines"][0]["group"].startswith("=<script>")


def test_export_and_import_carry_a_ledger_over(file, tmp_path):
    lines, copy = tmp_path / "ledger.jsonl", tmp_path / "copy" / "ledger.sqlite"
    RUN(app, ["report", "export", str(lines), "--ledger", str(file)])
    for new in ("3 new lines", "0 new lines"):
        assert new in RUN(app, ["report", "import", str(lines), "--ledger", str(copy)]).output
    RUN(app, ["report", "export", str(tmp_path / "again.jsonl"), "--ledger", str(copy)])

    assert (tmp_path / "again.jsonl").read_bytes() == lines.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--ledger", "none.sqlite"], "there is no ledger at none.sqlite"),
        (["--by", "moon"], "moon is none of job, sweep, namespace, month"),
        (["import", "none.jsonl", "--ledger", "sqlite://"], "none.jsonl"),
        (["--ledger", "mysql://x/y"], "the ledger is kept in SQLite or PostgreSQL"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_call_says_what_is_wrong(arguments, said):
    shown = RUN(app, ["report", *arguments])

    assert shown.exit_code == 2
    assert said in shown.output
