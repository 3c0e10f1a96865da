"""The command, on traces made on the spot."""

import csv
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from carbonfleet.cli import app
from fixtures.made_grids import made_grid, write_long


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return write_long(made_grid(zones=2, days=33), tmp_path / "trace.csv")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["backtest", *map(str, arguments)])


def test_any_trace_gives_a_table_of_all_policies(trace):
    result = run("--trace", trace, "--zones", "ZA,ZB", "--hours", 2, "--slack", 12)
    assert result.exit_code == 0, result.output
    names = ("immediate at home", "best static region", "cleanest now", "absolute tiers", "percentile tiers")
    for policy in (*names, "one-day persistence", "seven-day profile", "carbonfleet", "perfect foresight"):
        assert policy in result.output
    assert "┃" not in result.output


def test_json_csv_and_plot_say_the_same(trace, tmp_path):
    out = tmp_path / "out"
    result = run(
        "--trace", trace, "--zones", "ZA,ZB", "--home", "ZB", "--hours", 2, "--slack", 12, "--json", "--out", out
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (case,) = json.loads(result.stdout)
    assert case["home"] == "ZB"
    by_policy = {score["policy"]: score for score in case["scores"]}
    with (out / "scores.csv").open(newline="") as file:
        rows = {row["policy"]: row for row in csv.DictReader(file)}
    assert float(rows["carbonfleet"]["grams_co2e"]) == by_policy["carbonfleet"]["grams_co2e"]
    with (out / "runs.csv").open(newline="") as file:
        grams = sum(float(row["grams_co2e"]) for row in csv.DictReader(file) if row["policy"] == "carbonfleet")
    assert grams == pytest.approx(by_policy["carbonfleet"]["grams_co2e"], rel=1e-5)
    assert (out / "backtest.png").read_bytes().startswith(b"\x89PNG")


def test_a_job_list_and_few_gpus_are_taken(trace, tmp_path):
    jobs = tmp_path / "jobs.csv"
    jobs.write_text("arrival_time,length,cpus\n0,3600,1\n600,5400,2\n7200,900,1\n")
    result = run(
        "--trace", trace, "--zones", "ZA,ZB", "--jobs", jobs, "--gpus", 2, "--slack", 6, "--json"
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    score = next(s for s in json.loads(result.stdout)[0]["scores"] if s["policy"] == "carbonfleet")
    assert score["jobs"] == 3
    assert score["energy_kwh"] == pytest.approx(1 + 2 * 1.5 + 0.25)


def test_what_is_said_to_be_saved_fits_the_grams_beside_it(trace, tmp_path):
    jobs = tmp_path / "jobs.csv"
    jobs.write_text("arrival_time,length,cpus\n0,3600,1\n600,36000,8\n7200,900,1\n")
    result = run("--trace", trace, "--zones", "ZB,ZA", "--jobs", jobs, "--slack", 12)
    assert result.exit_code == 0, result.output
    cells = {row[0]: row for line in result.output.splitlines() if (row := re.split(r"\s{2,}", line.strip()))}
    headings, ours, plain = cells["Policy"], cells["carbonfleet"], cells["immediate at home"]
    grams, saved, mean = (headings.index(name) for name in ("g/kWh", "saved %", "mean saved %"))
    assert float(ours[saved]) == pytest.approx(100 * (1 - float(ours[grams]) / float(plain[grams])), abs=0.02)
    assert float(ours[saved]) != pytest.approx(float(ours[mean]), abs=0.02)


def test_with_perfect_forecasts_all_of_the_saving_is_got(trace):
    result = run("--trace", trace, "--zones", "ZA,ZB", "--hours", 1, "--slack", 6, "--forecast", "perfect", "--json")
    score = next(s for s in json.loads(result.stdout)[0]["scores"] if s["policy"] == "carbonfleet")
    assert score["share_percent"] == pytest.approx(100, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--zones", "ZA"], "give --trace FILE and --zones"),
        (["--zones", "XX", "--trace"], "there is no zone XX"),
        (["--zones", "ZA,ZA", "--trace"], "named twice"),
        (["--zones", "ZA", "--home", "ZB", "--trace"], "home zone ZB"),
        (["--zones", "ZA", "--forecast", "tarot", "--trace"], "--forecast tarot"),
        (["--zones", "ZA", "--signal", "nonsense", "--trace"], "nonsense"),
        (["--zones", "ZA", "--start", "2031-01-01", "--trace"], "no hour in common"),
        (["--preset", "nothing", "--data", "."], "no preset nothing; there is sweep"),
        (["--preset", "us6", "--data", "."], "not there"),
    ],
)
def test_what_can_not_be_done_is_said_in_one_line(trace, arguments, words):
    if arguments[-1] == "--trace":
        arguments = [*arguments, trace]
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output


def test_a_preset_without_its_folder_says_what_to_give(monkeypatch):
    monkeypatch.delenv("CARBONFLEET_DATA_DIR", raising=False)
    result = run("--preset", "sweep")
    assert result.exit_code == 2
    assert "CARBONFLEET_DATA_DIR" in result.stderr


def test_presets_can_be_listed():
    result = run("--preset", "list")
    assert result.stdout.split() == [
        "sweep", "sweep-mixed", "routing", "hydro3", "us6", "eu9", "apac4", "thousand-jobs", "recorded",
    ]  # fmt: skip
