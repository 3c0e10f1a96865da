"""`carbonfleet when`: the start that the hub would choose, printed for scripts, or waited for."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from carbonfleet.cli import app
from carbonfleet.cli.console import ExitCode
from carbonfleet.clock import VARIABLE, Clock
from carbonfleet.signals import DemoGridSettings, SignalSettings, load_settings, open_signals
from carbonfleet.simulator.suggested_start import StartSuggestions

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """Settings of a grid that is dirty but for two hours from 16:00, at noon."""
    lines = ["zone,datetime,signal,gco2_per_kwh"]
    for hour in range(-72, 96):
        start = NOON + timedelta(hours=hour)
        lines.append(f"XX,{start:%Y-%m-%dT%H:%M:%SZ},average_lifecycle,{60 if hour in (4, 5) else 600}")
    (tmp_path / "trace.csv").write_text("\n".join(lines) + "\n")
    file = tmp_path / "signals.yaml"
    file.write_text(yaml.safe_dump({"sources": [{"type": "trace", "path": str(tmp_path / "trace.csv")}]}))
    monkeypatch.setenv(VARIABLE, Clock.starting_at(NOON, 0.001).encode())
    return file


def when(grid, *words):
    return CliRunner().invoke(app, ["when", "--zone", "XX", "--signals", str(grid), *words])


def test_a_start_that_is_later_is_printed_and_ends_with_75(grid):
    done = when(grid, "--hours", "2", "--slack", "12h")
    assert (done.exit_code, done.stdout) == (ExitCode.LATER, "2026-01-31T16:00:00Z\n"), done.output
    assert "60 gCO2e/kWh in XX by trace: 90 % less than at once" in done.stderr


def test_work_that_can_not_wait_starts_now(grid):
    done = when(grid, "--hours", "2", "--slack", "1h")
    assert done.exit_code == ExitCode.DONE, done.output
    assert done.stdout.startswith("2026-01-31T12:0")


def test_who_asks_again_and_again_gives_the_last_moment_and_waits_no_longer(grid):
    later = when(grid, "--hours", "2", "--latest-start", "2026-01-31T19:00+01:00")
    assert (later.exit_code, later.stdout) == (ExitCode.LATER, "2026-01-31T16:00:00Z\n"), later.output
    assert when(grid, "--hours", "2", "--latest-start", "2026-01-31T14:00Z").exit_code == ExitCode.DONE
    assert when(grid, "--hours", "2", "--latest-start", "2026-01-30T14:00Z").exit_code == ExitCode.DONE


def test_where_nothing_is_known_it_starts_now_only_for_who_says_so(grid):
    started = when(grid, "--zone", "NOWHERE", "--on-signal-loss", "now")
    assert started.exit_code == ExitCode.DONE, started.output
    assert started.stdout.startswith("2026-01-31T12:0")
    assert "nothing is known of NOWHERE" in started.stderr
    schema = json.loads(CliRunner().invoke(app, ["schema", "when"]).output)
    found = json.loads(when(grid, "--zone", "NOWHERE", "--on-signal-loss", "now", "-o", "json").stdout)
    Draft202012Validator(schema).validate(found)
    assert (found["is_now"], found["grams_per_kwh"], found["source"]) == (True, None, "")


def test_a_start_that_was_found_holds_while_nothing_is_known_any_more(grid):
    clock = Clock.from_environment()
    known = open_signals(load_settings(grid), clock)
    plans = StartSuggestions(known, "XX", timedelta(hours=2), NOON + timedelta(hours=12))
    first = plans.next(NOON)
    known.close()
    plans.service = open_signals(SignalSettings(sources=(DemoGridSettings(),)), clock)
    held = plans.next(NOON + timedelta(hours=1))
    came = plans.next(NOON + timedelta(hours=4))
    plans.service.close()
    assert (first.is_now, held.is_now, came.is_now) == (False, False, True)
    assert first.start == held.start == came.start == NOON + timedelta(hours=4)
    assert came.problem.startswith("nothing is known of XX")
    assert came.saving_percent == pytest.approx(90, abs=1)


def test_its_data_follow_the_schema(grid):
    schema = json.loads(CliRunner().invoke(app, ["schema", "when"]).output)
    found = json.loads(when(grid, "--hours", "2", "-o", "json").stdout)
    Draft202012Validator(schema).validate(found)
    assert (found["start"], found["is_now"], round(found["grams_per_kwh"])) == ("2026-01-31T16:00:00Z", False, 60)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--slack", "long"), "write a duration like 90m, 24h or 1h30m"),
        (("--exec",), "write --exec -- COMMAND"),
        (("--latest-start", "06:00"), "must be a time with an offset, such as 2026-12-02T06:00Z"),
        (("--latest-start", "2026-01-31T18:00"), "must be a time with an offset"),
        (("--zone", "NOWHERE"), "nothing is known of NOWHERE"),
    ],
)
def test_what_it_can_not_plan_is_a_sentence(grid, words, says):
    done = when(grid, *words)
    assert done.exit_code == ExitCode.FAILED
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_with_exec_it_waits_and_becomes_the_command_with_its_words_and_exit_code(grid, tmp_path):
    words = [sys.executable, "-c", "import sys; print(sys.argv[1:]); sys.exit(7)", "a b", "$HOME; rm x", "--hours"]
    fast = Clock.starting_at(NOON, 1800).encode()
    known = ["--zone", "XX", "--signals", str(grid), "--hours", "2"]
    source = str(Path(__file__).parents[2] / "operator")
    done = subprocess.run(
        [sys.executable, "-m", "carbonfleet", "when", *known, "--exec", "--", *words],
        env={"PATH": "", "HOME": str(tmp_path), VARIABLE: fast, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (7, "['a b', '$HOME; rm x', '--hours']\n"), done.stderr
    assert "waits until 2026-01-31 16:00 UTC" in done.stderr
