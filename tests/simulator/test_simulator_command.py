"""The command, on traces made on the spot."""

import csv
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from carbonfleet.cli import app
from carbonfleet.simulator.backtest import GAINS, MINIMUM_GAIN
from carbonfleet.simulator.presets import PRESETS
from fixtures.made_grids import made_grid, write_long


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return write_long(made_grid(zones=2, days=33), tmp_path / "trace.csv")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["backtest", *map(str, arguments)])


def test_any_trace_gives_a_table_of_all_policies(trace):
    result = run("--trace", trace, "--zones", "XA,XB", "--hours", 2, "--slack", 12)
    assert result.exit_code == 0, result.output
    names = ("immediate at home", "best static region", "cleanest now", "absolute tiers", "percentile tiers")
    for policy in (*names, "one-day persistence", "seven-day profile", "carbonfleet", "perfect foresight"):
        assert policy in result.output
    for column in ("total g", "share %", "5th %", "95th h", "makespan h", "forced", "worse"):
        assert column in result.output
    assert max(map(len, result.output.splitlines())) <= 120


@pytest.mark.parametrize("more", [(), ("--curve",), ("--promises",)])
def test_a_terminal_of_80_columns_cuts_no_digit_and_folds_no_line(trace, monkeypatch, more):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    made = run("--trace", trace, "--zones", "XA,XB", "--hours", 2, "--slack", 2, "--end", "2024-01-31", *more)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", made.stdout).splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in made.stdout
    assert more or len(next(line for line in lines if line.startswith("carbonfleet ")).split()) == 7
    assert ("-o wide shows all" in made.stdout) is not bool(more)


def test_json_csv_and_plot_say_the_same(trace, tmp_path):
    out = tmp_path / "out"
    result = run(
        "--trace", trace, "--zones", "XA,XB", "--home", "XB", "--hours", 2, "--slack", 12, "--json", "--out", out
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (case,) = json.loads(result.stdout)
    assert case["home"] == "XB"
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
        "--trace", trace, "--zones", "XA,XB", "--jobs", jobs, "--gpus", 2, "--slack", 6, "--json"
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    score = next(s for s in json.loads(result.stdout)[0]["scores"] if s["policy"] == "carbonfleet")
    assert score["jobs"] == 3
    assert score["energy_kwh"] == pytest.approx(1 + 2 * 1.5 + 0.25)


def test_what_is_said_to_be_saved_fits_the_grams_beside_it(trace, tmp_path):
    jobs = tmp_path / "jobs.csv"
    jobs.write_text("arrival_time,length,cpus\n0,3600,1\n600,36000,8\n7200,900,1\n")
    result = run("--trace", trace, "--zones", "XB,XA", "--jobs", jobs, "--slack", 12)
    assert result.exit_code == 0, result.output
    cells = {row[0]: row for line in result.output.splitlines() if (row := re.split(r"\s{2,}", line.strip()))}
    headings, ours, plain = cells["Policy"], cells["carbonfleet"], cells["immediate at home"]
    grams, saved, mean = (headings.index(name) for name in ("g/kWh", "saved %", "mean %"))
    assert float(ours[saved]) == pytest.approx(100 * (1 - float(ours[grams]) / float(plain[grams])), abs=0.02)
    assert float(ours[saved]) != pytest.approx(float(ours[mean]), abs=0.02)


def test_with_perfect_forecasts_all_of_the_saving_is_got(trace):
    result = run(
        "--trace",
        trace,
        "--zones",
        "XA,XB",
        "--hours",
        1,
        "--slack",
        6,
        "--forecast",
        "perfect",
        "--minimum-gain",
        0,
        "--json",
    )
    score = next(s for s in json.loads(result.stdout)[0]["scores"] if s["policy"] == "carbonfleet")
    assert score["share_percent"] == pytest.approx(100, abs=0.01)


def test_several_shapes_make_a_table_each(trace):
    shapes = ("--jobs", "1:6", "--jobs", "3:semi-weekly", "--jobs", "2:next-workday")
    result = run("--trace", trace, "--zones", "XA,XB", *shapes, "--end", "2024-02-02", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [case["title"].split(", ")[2:] for case in found] == [
        ["1 h of run", "6 h of slack"],
        ["3 h of run", "semi-weekly slack"],
        ["2 h of run", "next-workday slack"],
    ]
    assert all(score["jobs"] > 24 for case in found for score in case["scores"])


def test_jobs_that_may_be_cut_save_no_less_than_whole_ones(trace):
    options = ("--trace", trace, "--zones", "XA", "--hours", 4, "--slack", 20, "--forecast", "perfect", "--json")

    def saved(*more: object) -> float:
        result = run(*options, "--minimum-gain", 0, *more)
        assert result.exit_code == 0, result.output
        scores = {score["policy"]: score for score in json.loads(result.stdout)[0]["scores"]}
        assert scores["carbonfleet"]["share_percent"] <= 100.001
        return scores["carbonfleet"]["saving_percent"]

    assert saved() <= saved("--interruptible") < saved("--interruptible", "--pause-minutes", 0)


def test_a_curve_shows_share_and_wait_by_what_a_wait_must_gain(trace):
    options = ("--trace", trace, "--zones", "XA", "--hours", 2, "--slack", 12, "--end", "2024-02-01", "--curve")
    (case,) = json.loads(run(*options, "--json").stdout)
    curve = case["curve"]
    assert [point["minimumGainPercentPerHour"] for point in curve] == list(GAINS)
    assert curve[-1]["delay_mean_hours"] < curve[0]["delay_mean_hours"]
    assert min(point["lostSharePoints"] for point in curve) == 0
    table = run(*options).stdout
    for words in ("minimum gain %/h", "share %", "delay h", "lost points", f"{MINIMUM_GAIN:g} (default)"):
        assert words in table


def test_a_curve_refuses_what_it_would_pass_over(trace, tmp_path):
    for option in (("--minimum-gain", 0), ("--out", tmp_path)):
        result = run("--trace", trace, "--zones", "XA", "--curve", *option)
        assert (result.exit_code, "leave --minimum-gain and --out away" in result.stderr) == (2, True)


def test_a_preset_of_an_article_shows_what_it_states_beside_our_answer(data_folder):
    result = run("--preset", "routing", "--data", data_folder)
    assert "Stated: the router saved 93 %" in result.stdout
    (case,) = json.loads(run("--preset", "routing", "--data", data_folder, "--json").stdout)
    assert "93 %" in case["stated"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--zones", "XA"], "give --trace FILE and --zones"),
        (["--zones", "XX", "--trace"], "there is no zone XX"),
        (["--zones", "XA,XA", "--trace"], "named twice"),
        (["--zones", "XA", "--home", "XB", "--trace"], "home zone XB"),
        (["--zones", "XA", "--forecast", "tarot", "--trace"], "--forecast tarot"),
        (["--zones", "XA", "--signal", "nonsense", "--trace"], "nonsense"),
        (["--zones", "XA", "--start", "2031-01-01", "--trace"], "no hour in common"),
        (["--zones", "XA", "--start", "2023-12-31", "--trace"], "first common hour in the trace, 2024-01-01"),
        (["--zones", "XA", "--start", "2024-01-01", "--trace"], "at least 24 are needed"),
        (["--zones", "XA", "--start", "2024-02-02", "--end", "2024-02-01", "--trace"], "is not before --end"),
        (["--zones", "XA", "--start", "2024-02-01", "--gpus", "2", "--trace"], "48 h for the queue to empty"),
        (["--zones", "XA", "--slack", "never", "--trace"], "slack 'never' is neither"),
        (["--zones", "XA", "--jobs", "0:24", "--trace"], "a run of 0 h is not within"),
        (["--zones", "XA", "--jobs", "missing.csv", "--trace"], "job list missing.csv"),
        (["--zones", "XA", "--slack", "semi-weekly", "--time-zone", "Mars", "--trace"], "--time-zone Mars"),
        (["--zones", "XA", "--forecast", "recorded", "--trace"], "take --forecast none"),
        (["--zones", "XA", "--forecast", "recorded", "--trace", "missing.csv"], "missing.csv: "),
        (["--zones", "XA", "--home", "XB", "--forecast", "recorded", "--trace", "x.csv"], "home zone XB"),
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


def test_presets_can_be_listed_each_with_what_it_is():
    lines = run("--preset", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(PRESETS)
    assert all(20 < len(line) <= 120 for line in lines)


@pytest.mark.parametrize("option", ["--gpus=2", "--hours=4", "--zones=DE", "--fill-gaps", "--forecast=none"])
def test_an_option_that_a_preset_would_pass_over_is_refused(option):
    result = run("--preset", "routing", "--data", ".", option)
    assert result.exit_code == 2
    assert f"leave {option.split('=')[0]} away" in result.stderr


def test_a_preset_is_cut_to_a_span(data_folder):
    def jobs(*span: str) -> int:
        result = run("--preset", "routing", "--data", data_folder, "--json", *span)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)[0]["scores"][0]["jobs"]

    whole, one = jobs(), jobs("--start", "2025-12-16", "--end", "2025-12-17")
    assert (whole, jobs("--end", "2025-12-16") + one + jobs("--start", "2025-12-17")) == (21, 21)
    result = run("--preset", "routing", "--data", data_folder, "--start", "2026-01-01")
    assert result.exit_code == 2
    assert "no job comes" in result.stderr


@pytest.mark.parametrize("below", ["file", "file/deep"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_replay(trace, tmp_path, below):
    (tmp_path / "file").touch()
    result = run("--trace", trace, "--zones", "XA", "--out", tmp_path / below)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"can't write into --out {tmp_path / below}" in result.stderr


def test_a_start_with_less_history_than_four_weeks_is_taken_as_said(trace):
    result = run("--trace", trace, "--zones", "XA", "--start", "2024-01-11T12:30:00", "--end", "2024-01-13", "--json")
    assert result.exit_code == 0, result.output
    (first, *_) = json.loads(result.stdout)[0]["scores"]
    # From 12:30 to 19:30: the last one waits until 20:00 of the next day, and ends with the trace.
    assert first["jobs"] == 8


def test_promises_are_counted_in_place_of_policies(trace):
    options = ("--trace", trace, "--zones", "XA,XB", "--hours", 2, "--slack", 6, "--start", "2024-02-01")
    (case,) = json.loads(run(*options, "--promises", "--json").stdout)
    kept = case["promises"]
    assert kept["jobs"] > 20
    assert all(0 <= kept[name] <= 100 for name in ("start", "finish", "grams", "saved", "late", "waiting"))
    table = run(*options, "--promises").output
    assert "grams %" in table
    assert f"{kept['grams']:.1f}" in table


def test_durations_that_are_off_change_what_is_used_and_not_what_is_planned(trace):
    options = ("--trace", trace, "--zones", "XA", "--hours", 2, "--slack", 6, "--start", "2024-02-01", "--json")
    told, off = (json.loads(run(*options, *more).stdout)[0]["scores"] for more in ((), ("--duration-error", 50)))
    ours, theirs = (next(s for s in scores if s["policy"] == "carbonfleet") for scores in (told, off))
    assert theirs["energy_kwh"] != ours["energy_kwh"]
    assert theirs["energy_kwh"] / theirs["jobs"] == pytest.approx(ours["energy_kwh"] / ours["jobs"], rel=0.3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--promises", "--curve"), "one at a time"),
        (("--promises", "--out", "x"), "--promises writes no files"),
        (("--duration-error", "50", "--interruptible"), "leave --interruptible away"),
    ],
)
def test_what_does_not_go_together_is_said(trace, options, said):
    result = run("--trace", trace, "--zones", "XA", "--hours", 2, "--slack", 6, *options)
    assert (result.exit_code, said in " ".join(result.output.split())) == (2, True)
