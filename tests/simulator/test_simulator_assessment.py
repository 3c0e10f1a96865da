"""What an assessment says of places whose answer is known, and its command."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from fake_generation import FakeEnergyCharts
from fake_http import Reply

from carbonfleet.api.signal import SignalKind
from carbonfleet.cli import app
from carbonfleet.simulator.assessment import assess
from carbonfleet.simulator.grid import Grid, ReplayError
from fixtures.made_grids import START, write_long

HOURS = np.arange(30 * 24)
NIGHT = np.where(HOURS % 24 < 8, 100.0, 300.0)
"""100 g from 00:00 to 08:00 UTC, 300 g for the rest of the day."""
CLEAN = np.full(HOURS.size, 25.0)
FLAT = np.full(HOURS.size, 320.0)


def grid(**rows: np.ndarray) -> Grid:
    return Grid(tuple(rows), SignalKind.AVERAGE_LIFECYCLE, START, np.array(list(rows.values())), {})


def of_all(found):
    return found.rows[-1]


def test_waiting_for_clean_nights_is_worth_it_and_its_delay_is_said():
    found = assess(grid(DE=NIGHT), "DE", 4, 24, UTC)
    waiting = of_all(found).ways["waiting"]
    at_once = np.mean([NIGHT[hour : hour + 4].mean() for hour in range(24)])
    assert of_all(found).at_once_grams_per_kwh == pytest.approx(at_once, rel=0.02)
    assert waiting.percent == pytest.approx(100 * (1 - 100 / at_once), abs=2)
    assert waiting.percent <= waiting.best_percent + 1e-9
    assert 0 < waiting.mean_delay_hours <= waiting.longest_delay_hours <= 24
    assert found.verdict[0].startswith("Waiting in DE is worth it: ")
    assert f"for {waiting.mean_delay_hours:.1f} h of delay on average" in found.verdict[0]


def test_the_hour_at_which_one_submits_decides_what_waiting_saves():
    rows = {row.submitted: row for row in assess(grid(DE=NIGHT), "DE", 4, 24, ZoneInfo("Etc/GMT-2")).rows}
    assert list(rows) == ["morning (09:00)", "noon (12:00)", "night (22:00)", "all hours"]
    # 09:00 there is 07:00 UTC: one of the four hours is clean; 22:00 is 20:00 UTC, four hours before the clean ones.
    assert rows["morning (09:00)"].at_once_grams_per_kwh == pytest.approx(250)
    assert rows["noon (12:00)"].at_once_grams_per_kwh == pytest.approx(300)
    assert rows["night (22:00)"].ways["waiting"].mean_delay_hours == pytest.approx(4, abs=0.5)


def test_moving_to_a_cleaner_zone_needs_no_delay_and_names_the_zone():
    found = assess(grid(PL=FLAT, FR=CLEAN), "PL", 4, 24, UTC)
    moving = of_all(found).ways["moving"]
    assert (moving.zones, moving.mean_delay_hours) == ({"FR": 1.0}, 0.0)
    assert moving.percent == pytest.approx(100 * (1 - 25 / 320))
    assert found.verdict == (
        "Waiting in PL is not worth it: 0 % less carbon, 0 g/kWh.",
        "Moving at once (FR 100 % of the jobs) is worth it: 92 % less carbon, 295 g/kWh.",
    )


def test_a_clean_zone_is_told_to_choose_by_price():
    assert assess(grid(NO=CLEAN), "NO", 4, 24, UTC).verdict == ("NO is clean already (25 g/kWh): choose by price.",)
    away = assess(grid(NO=CLEAN, PL=FLAT), "NO", 4, 24, UTC)
    assert away.verdict == ("NO is clean already (25 g/kWh): choose by price.",)
    assert of_all(away).ways["both"].percent == pytest.approx(0)


def test_a_dirty_zone_that_never_changes_is_told_so():
    assert assess(grid(PL=FLAT), "PL", 4, 24, UTC).verdict == (
        "Waiting in PL is not worth it: 0 % less carbon, 0 g/kWh.",
        "Choose by price.",
    )


@pytest.mark.parametrize("days", [1, 2, 3])
def test_too_short_a_past_is_refused_with_what_would_do(days):
    short = grid(DE=NIGHT[: days * 24])
    with pytest.raises(ReplayError, match="two weeks and more tell something"):
        assess(short, "DE", 4, 24, UTC)


def test_a_home_that_is_no_zone_of_the_grid_is_named():
    with pytest.raises(ReplayError, match="XX"):
        assess(grid(DE=NIGHT), "XX", 4, 24, UTC)


# The command


def run(*arguments: object):
    return CliRunner().invoke(app, ["assess", *map(str, arguments)], env={"CARBONFLEET_SIGNALS": ""})


@pytest.fixture
def trace(tmp_path) -> Path:
    return write_long(grid(DE=NIGHT, FR=CLEAN), tmp_path / "trace.csv")


def test_the_command_shows_a_table_of_eighty_columns_and_plain_words(trace):
    done = run("--zones", "DE,FR", "--trace", trace, "--time-zone", "Europe/Berlin")
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    for word in ("morning (09:00)", "all hours", "waiting", "moving", "both", "Europe/Berlin"):
        assert word in done.stdout
    assert "Moving at once (FR 100 % of the jobs) is worth it" in done.stdout.replace("\n  ", " ")


def test_the_command_as_json_holds_every_figure(trace):
    found = json.loads(run("--zones", "FR", "--home", "DE", "--trace", trace, "--json").stdout)
    assert (found["home"], found["zones"]) == ("DE", ["DE", "FR"])
    assert set(found["rows"][-1]["ways"]) == {"waiting", "moving", "both"}
    assert found["rows"][-1]["ways"]["moving"]["zones"] == {"FR": 1.0}
    assert found["verdict"]


def test_the_command_draws_a_picture(trace, tmp_path):
    pytest.importorskip("matplotlib")
    done = run("--zones", "DE,FR", "--trace", trace, "--picture", tmp_path / "a.svg")
    assert done.exit_code == 0
    assert "<svg" in (tmp_path / "a.svg").read_text()


@pytest.fixture
def settings(tmp_path):
    """Energy-Charts alone, on loopback, in real time."""
    with FakeEnergyCharts(lambda: datetime.now(UTC)) as server:
        server.places = ["fr", "de"]
        path = tmp_path / "signals.yaml"
        endpoint = f"{{url: '{server.url}', retrySeconds: 0, requestsPerMinute: 600}}"
        path.write_text(f"sources: [{{type: energy-charts, endpoint: {endpoint}}}]\n")
        yield path, server


def test_the_command_takes_the_past_from_a_source_in_one_request_for_each_zone(settings):
    path, server = settings
    done = run("--zones", "FR,DE", "--days", "20", "--signals", path, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["rows"][-1]["jobs"] > 100
    assert [seen.query["country"] for seen in server.asked()] == ["fr", "de"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--zones", ""], "give --zones"),
        (["--zones", "DE,DE"], "give --zones A,B,C, each once"),
        (["--zones", "DE,XX"], "no past of XX can be had: no source offers it"),
        (["--zones", "FR", "--days", "4", "--hours", "200"], "too short"),
        (["--zones", "FR", "--time-zone", "Mars/Base"], "there is no time zone 'Mars/Base'"),
        (["--zones", "FR", "--slack", "-1"], "Invalid value"),
        (["--zones", "FR", "--hours", "nan"], "Invalid value"),
        (["--zones", "FR", "--trace", "absent.csv"], "absent.csv"),
        (["--zones", "FR", "--picture", "/dev/null/x.png"], "x.png"),
    ],
)
def test_bad_input_gets_a_sentence(settings, arguments, words):
    done = run("--days", "20", *arguments, "--signals", settings[0])
    assert done.exit_code == 2
    assert words in " ".join(done.output.split())
    assert "Traceback" not in done.output


def test_a_source_that_is_down_is_named(settings):
    path, server = settings
    server.stop()
    done = run("--zones", "FR", "--signals", path)
    assert done.exit_code == 2
    assert "no past of FR can be had: 127.0.0.1" in done.output


def test_a_source_that_limits_requests_is_waited_for(settings):
    path, server = settings
    whole = server.reply

    def limited(seen):
        server.reply = whole
        return Reply(429, b"Too Many Requests", {"Retry-After": "1"})

    server.reply = limited
    done = run("--zones", "FR", "--days", "20", "--signals", path, "--json")
    assert done.exit_code == 0, done.output
    assert "FR is waited for: " in done.stderr
    assert len(server.asked()) == 2
