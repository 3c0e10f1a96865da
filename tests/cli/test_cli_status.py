"""`carbonfleet status` and `watch`: what waits for whom, in a terminal, in a pipe and as data; a job to its end."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest
import yaml
from jsonschema import Draft202012Validator
from test_cli_hub import JOB, NOON, condition, hub
from typer.testing import CliRunner

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.cli import app
from carbonfleet.cli.about.status_schema import WaitsFor
from carbonfleet.cli.console import ExitCode
from carbonfleet.cli.fleet.waiting import waits_for
from carbonfleet.kube import Kube, ours
from carbonfleet.private_files import held
from fixtures.kubeapi_server import eventually

assert hub
LATER, NOW = "2026-01-31T16:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)


def waiting(reason, **more):
    """A job's status that waits for that."""
    return {"phase": "Waiting", "conditions": [condition("Scheduled", "False", reason, "so it is")], **more}


AWAITED = [condition("Approved", "False", "AwaitingReview", "merge it")]
MOVE = [condition("Running", "True", "MoveProposed", "merge it")]


@pytest.mark.parametrize(
    ("status", "what", "until"),
    [
        ({}, WaitsFor.HUB, None),
        (
            waiting("WaitingForCleanWindow", start=LATER),
            WaitsFor.CLEAN_HOURS,
            16,
        ),
        (waiting("WaitingForCapacity"), WaitsFor.FREE_GPUS, None),
        (waiting("WaitingForEarliestStart"), WaitsFor.EARLIEST_START, None),
        (waiting("SignalLost"), WaitsFor.GRID_DATA, None),
        ({"phase": "Proposed"}, WaitsFor.PEOPLE, None),
        (
            {"phase": "Waiting", "conditions": AWAITED},
            WaitsFor.PEOPLE,
            None,
        ),
        (
            {"phase": "Running", "conditions": MOVE},
            WaitsFor.PEOPLE,
            None,
        ),
        ({"phase": "Blocked"}, WaitsFor.PEOPLE, None),
        ({"phase": "Rejected"}, WaitsFor.PEOPLE, None),
        ({"phase": "Committed", "start": LATER}, WaitsFor.CLEAN_HOURS, 16),
        ({"phase": "Committed", "start": NOON}, WaitsFor.SPOKE, None),
        ({"phase": "Moving"}, WaitsFor.SPOKE, None),
        (waiting("PausedForCleanWindow", phase="Paused"), WaitsFor.CLEAN_HOURS, None),
        ({"phase": "Running"}, None, None),
        (waiting("WaitingForCapacity", phase="Succeeded"), None, None),
    ],
)
def test_a_job_waits_for_whose_turn_it_is(status, what, until):
    found = waits_for(CarbonTrainingJob.model_validate(JOB | {"status": status}), NOW)
    assert (found and found.what, found and found.until and found.until.hour) == (what, until)


@pytest.fixture
def busy(hub):
    """The hub with a job that waits for people, under a long name."""
    kube, name = Kube.connect(hub.kubeconfig), "qwen-2-5-coder-r16-alpha32-lr2e-4-warmup100-seed7"
    kube.create(ours("carbontrainingjobs", "cli"), JOB | {"metadata": {"name": name, "namespace": "cli"}})
    said = {"phase": "Proposed", "summary": "Waits for review of https://git.example.org/pulls/1. " + "It may. " * 20}
    kube.patch(ours("carbontrainingjobs", "cli", name, "status"), {"status": said})
    spec = {"schedule": "0 7 * * *", "timeZone": "Europe/Oslo", "jobTemplate": {"spec": JOB["spec"]}}
    head = {"apiVersion": JOB["apiVersion"], "kind": "CarbonTrainingSchedule", "metadata": {"name": "nightly"}}
    kube.create(ours("carbontrainingschedules", "cli"), head | {"spec": spec})
    state = {
        "summary": "The next run is due soon.",
        "nextRunTime": LATER,
        "lastJob": "nightly-202601300600",
        "missed": 2,
    }
    kube.patch(ours("carbontrainingschedules", "cli", "nightly", "status"), {"status": state})
    return hub


def status(hub, *words, **environment):
    ask = ["status", "--kubeconfig", str(hub.kubeconfig), *words]
    done = CliRunner().invoke(app, ask, env=environment)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("columns", [80, 100, 120, 160])
def test_in_a_terminal_nothing_is_cut_and_no_line_is_too_long(busy, columns):
    terminal = {"TTY_COMPATIBLE": "1", "COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"}
    shown = status(busy, **terminal)
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= columns
    assert "1 of 2 jobs wait: 1 for people." in shown
    assert "".join(shown.split()).count("It may.".replace(" ", "")) == 20
    assert "\x1b[3" not in shown


def test_in_a_pipe_each_job_is_one_line_without_blanks_at_its_end(busy):
    lines = status(busy).splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    (row,) = [line for line in lines if "seed7" in line]
    assert row.split()[:4] == ["cli/qwen-2-5-coder-r16-alpha32-lr2e-4-warmup100-seed7", "Proposed", "-", "people"]
    assert row.count("It may.") == 20
    (row,) = [line for line in lines if line.startswith("cli/nightly ")]
    assert row.split() == [
        "cli/nightly",
        "0",
        "7",
        "*",
        "*",
        "*",
        "Europe/Oslo",
        "-",
        "01-31",
        "16:00",
        "nightly-202601300600",
        "0",
        "2",
    ]
    assert "cli/nightly: The next run is due soon." in lines


def test_as_data_it_follows_its_schema_alike_in_json_and_yaml(busy):
    schema = json.loads(CliRunner().invoke(app, ["schema", "status"]).output)
    found = json.loads(status(busy, "-o", "json"))
    Draft202012Validator(schema).validate(found)
    assert yaml.safe_load(status(busy, "-o", "yaml")) == found
    assert [(each["next_run_time"], each["missed"]) for each in found["schedules"]] == [(LATER, 2)]
    assert [(job["phase"], job["waits_for"]) for job in found["jobs"]] == [("Proposed", "people"), ("Running", None)]


def test_by_names_alone_it_is_a_list(busy):
    names = [
        "spoke/no-osl-1",
        "cli/qwen-2-5-coder-r16-alpha32-lr2e-4-warmup100-seed7",
        "cli/train",
        "schedule/cli/nightly",
    ]
    assert status(busy, "-o", "name").splitlines() == names


@pytest.mark.parametrize(
    ("end", "code"), [("Succeeded", ExitCode.DONE), ("StoppedEarly", ExitCode.DONE), ("Failed", ExitCode.WRONG)]
)
def test_watch_tells_each_change_once_and_ends_as_the_job_does(hub, tmp_path, end, code):
    kube, where = Kube.connect(hub.kubeconfig), ours("carbontrainingjobs", "cli", "train", "status")
    log = tmp_path / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "carbonfleet", "watch", "train", "--kubeconfig", hub.kubeconfig],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually(lambda: "Running  Trains on no-osl-1 since noon." in log.read_text())
        progress = {"step": 30, "totalSteps": 60, "trainLoss": 2.5, "validationLoss": 2.25}
        kube.patch(where, {"status": {"progress": progress}})
        eventually(
            lambda: "train  step   30 of 60 on no-osl-1  train loss 2.500  validation loss 2.250" in log.read_text()
        )
        kept = {"uri": "/store/train/checkpoint-60", "step": 60}
        kube.patch(where, {"status": {"phase": end, "summary": "It is over.", "lastGoodCheckpoint": kept}})
        assert process.wait(60) == code
    finally:
        process.kill()
        process.wait(10)
    said = [line.split(maxsplit=1) for line in log.read_text().splitlines()]
    assert [first for first, _ in said] == ["Running", "train", end, "its"]
    assert said[2:] == [[end, "It is over."], ["its", "adapter: /store/train/checkpoint-60"]]


def test_commands_find_the_stack_that_runs_in_their_folder(tmp_path):
    stack = tmp_path / ".carbonfleet" / "stack"
    settings = tmp_path / "the stack's.yaml"
    settings.write_text(yaml.safe_dump({"sources": [{"type": "demo"}]}))

    def signals():
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CARBONFLEET_")}
        ask = [sys.executable, "-m", "carbonfleet", "signals", "--zone", "NO-NO1", "-o", "json"]
        return subprocess.run(ask, cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=120)

    with held(stack):
        (stack / "environment").write_text(f'export CARBONFLEET_SIGNALS="{settings}"\nexport PATH=/nowhere:$PATH\n')
        done = signals()
    assert done.stderr == "note: by the settings of the stack that runs in .carbonfleet/stack\n"
    assert json.loads(done.stdout)[0]["source"] == "demo-trace"
    assert "note: by the settings" not in signals().stderr
