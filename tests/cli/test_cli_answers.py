"""What commands write with `-o json` and `-o yaml` follows the schema that `carbonfleet schema` prints."""

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from carbonfleet.cli import app
from carbonfleet.cli.answers import SCHEMAS
from carbonfleet.ledger.store import Ledger
from fixtures.ledger_values import entry

ROOT = Path(__file__).parents[2]
TRACE = ("--zones", "XX", "--trace", "trace.csv")
COMMANDS = {
    "version": ("version",),
    "explain": ("explain", "crds/examples/waits.yaml", "crds/examples/blocked.yaml", "--demo"),
    "validate": ("validate", "crds/examples"),
    "policy check": ("policy", "check", "broken"),
    "policy test": ("policy", "test", "--data-class", "public", "--namespace", "team-a", "fleet"),
    "signals": ("signals", "--zone", "NO-NO1", "--zone", "NOWHERE", "--settings", "demo.yaml"),
    "signals check": ("signals", "check", "--zone", "NO-NO1", "--settings", "demo.yaml"),
    "report": ("report", "--by", "job", "--since", "2020-01", "--ledger", "ledger.sqlite"),
    "when": ("when", "--zone", "NO-NO1", "--signals", "demo.yaml"),
    "assess": (
        "assess",
        "--zones",
        "XX",
        "--trace",
        "trace.csv",
        "--hours",
        "4",
        "--slack",
        "12",
        "--time-zone",
        "UTC",
    ),
    "backtest": (
        "backtest",
        "--zones",
        "XX",
        "--trace",
        "trace.csv",
        "--hours",
        "2",
        "--slack",
        "6",
        "--end",
        "2026-02-01",
    ),
}
ELSEWHERE = {
    "logs",
    "chat",
    "report verify",
    "report reconcile",
    "status",
    "sweep status",
    "sweep results",
    "review list",
    "review show",
    "doctor",
    "spoke join",
}
"""Tried where their hub or repository is."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the commands read."""
    made = tmp_path_factory.mktemp("answers")
    for name in ("crds", "fleet"):
        (made / name).symlink_to(ROOT / name)
    subprocess.run(["cp", "-r", str(ROOT / "fleet"), str(made / "broken")], check=True, timeout=60)
    (made / "broken" / "policies" / "odd.yaml").write_text("kind: Odd\n")
    (made / "demo.yaml").write_text(yaml.safe_dump({"sources": [{"type": "demo"}]}))
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    hours = (begin + timedelta(hours=hour) for hour in range(40 * 24))
    rows = [f"XX,{at:%Y-%m-%dT%H:%M:%SZ},average_lifecycle,{200 + 20 * abs(at.hour - 12)}" for at in hours]
    (made / "trace.csv").write_text("\n".join(["zone,datetime,signal,gco2_per_kwh", *rows, ""]))
    kept = Ledger.at(made / "ledger.sqlite")
    kept.record_all(entry(number, job=f"job-{number}") for number in range(3))
    kept.close()
    return made


def run(*words):
    done = CliRunner().invoke(app, words)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_data_follow_their_schema_alike_in_json_and_yaml(folder, monkeypatch, command):
    monkeypatch.chdir(folder)
    schema = json.loads(run("schema", *command.split()))
    Draft202012Validator.check_schema(schema)
    found = json.loads(run(*COMMANDS[command], "-o", "json"))
    assert found
    Draft202012Validator(schema).validate(found)
    again = yaml.safe_load(run(*COMMANDS[command], "-o", "yaml"))
    assert type(again) is type(found)
    assert len(again) == len(found)


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"assess", "backtest", "policy check"}))
def test_names_are_a_line_each_without_blanks(folder, monkeypatch, command):
    monkeypatch.chdir(folder)
    lines = run(*COMMANDS[command], "-o", "name").splitlines()
    assert lines
    assert [line for line in lines if not line or " " in line] == []


def test_every_schema_is_tried():
    assert set(COMMANDS) | ELSEWHERE == set(SCHEMAS)


def test_a_command_without_data_has_no_schema():
    done = CliRunner().invoke(app, ["schema", "demo"])
    assert (done.exit_code, done.stderr) == (2, "error: demo writes no data: carbonfleet schema lists what does\n")
