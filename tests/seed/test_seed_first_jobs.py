"""What a new user's first jobs get from the shipped fleet, with nothing set up: no default may surprise."""

import json
import socket
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from carbonfleet.cli import app

FLEET = Path(__file__).parents[2] / "fleet"
NOW = "2025-12-16T01:00:00Z"
"""When the demo's grid begins."""
DATA = {"region": "us-east-2", "sizeGib": 100}


def explained(folder, grid, **asked):
    """The record of a job of an hour on an A100 with some parts of its spec changed."""
    spec = {
        "workload": {"model": "carbonfleet/tiny-qwen2", "dataset": {"name": "carbonfleet/tiny-instructions"}},
        "resources": {"duration": "1h"},
        "residency": {"dataClass": "public"},
    }
    for room, values in asked.items():
        spec[room] = spec.get(room, {}) | values if isinstance(values, dict) else values
    job = {"apiVersion": "carbonfleet.dev/v1alpha1", "kind": "CarbonTrainingJob", "spec": spec}
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump(job | {"metadata": {"name": "first", "namespace": "team-a"}}))
    result = CliRunner().invoke(app, ["explain", str(file), *grid, "--fleet", str(FLEET), "-o", "json"])
    (record,) = json.loads(result.stdout)
    return record


def placed(record):
    """Outcome, spoke/pool and start."""
    where = f"{record['cluster']}/{record['pool']}" if record.get("cluster") else ""
    return record["outcome"], where, record.get("start", "")


SHAPES = (
    # Who says nothing goes where it is clean, at once.
    ({}, "Start", "no-osl-1/a100", NOW),
    ({"resources": {"duration": "10h"}}, "Start", "no-osl-1/a100", NOW),
    ({"resources": {"gpus": 4}}, "Start", "no-osl-1/a100", NOW),
    ({"residency": {"dataClass": "eu-personal"}}, "Start", "no-osl-1/a100", NOW),
    ({"schedule": {"tier": "urgent"}}, "Start", "no-osl-1/a100", NOW),
    ({"schedule": {"tier": "flexible"}}, "Start", "no-osl-1/a100", NOW),
    ({"schedule": {"interruptible": {}}}, "Start", "no-osl-1/a100", NOW),
    ({"workload": {"dataset": {"name": "acme/data", **DATA}}}, "Start", "no-osl-1/a100", NOW),
    # A threshold that holds at once makes nobody wait; one that can't hold neither.
    ({"schedule": {"maxIntensityGramsPerKwh": 100}}, "Start", "no-osl-1/a100", NOW),
    ({"schedule": {"maxIntensityGramsPerKwh": 20}}, "Start", "no-osl-1/a100", NOW),
    # Who minds money says so.
    ({"objective": {"minimize": "cost"}, "schedule": {"maxDelay": "0s"}}, "Start", "us-oh-1/l40s", NOW),
    ({"objective": {"costTolerancePercent": 60}}, "Start", "no-osl-1/l40s", NOW),
    ({"objective": {"costTolerancePercent": 100}}, "Start", "no-osl-1/a100", NOW),
    ({"objective": {"minimize": "composite"}, "schedule": {"maxDelay": "0s"}}, "Start", "us-oh-1/l40s", NOW),
    # Who is bound to a dirty grid waits for its night, and only as long as that pays.
    (
        {"residency": {"dataClass": "public", "allowedRegions": ["us-east-2"]}},
        "Wait",
        "us-oh-1/a100",
        "2025-12-16T05:30:00Z",
    ),
    (
        {"residency": {"dataClass": "public", "allowedRegions": ["us-east-2"]}, "schedule": {"maxDelay": "2h"}},
        "Wait",
        "us-oh-1/a100",
        "2025-12-16T02:45:00Z",
    ),
    ({"resources": {"gpuTypes": ["a100"]}}, "Start", "no-osl-1/a100", NOW),
    ({"resources": {"gpuTypes": ["L40S"]}}, "Start", "no-osl-1/l40s", NOW),
    # What can't be done is said, not waited for.
    ({"residency": {"dataClass": "de-health"}}, "Blocked", "", ""),
    ({"resources": {"gpus": 64}}, "Blocked", "", ""),
    ({"objective": {"maxCostUsd": 0.5}}, "Blocked", "", ""),
)


@pytest.mark.parametrize(("asked", "outcome", "where", "start"), SHAPES)
def test_a_first_job_goes_where_a_new_user_expects(tmp_path, asked, outcome, where, start):
    assert placed(explained(tmp_path, ["--demo"], **asked)) == (outcome, where, start)


@pytest.mark.parametrize(("asked", "outcome", "where"), [shape[:3] for shape in SHAPES])
def test_with_every_source_away_a_first_job_starts_at_once_where_the_year_was_clean(tmp_path, asked, outcome, where):
    """Quebec's mean of the year is a hair below Norway's."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    settings = tmp_path / "signals.yaml"
    (tmp_path / "token").write_text("any")
    source = {"type": "electricitymaps", "token": {"file": f"{tmp_path}/token"}, "endpoint": {"url": url, "tries": 1}}
    settings.write_text(yaml.safe_dump({"sources": [source]}))
    record = explained(tmp_path, ["--signals", str(settings)], **asked)
    found, place, start = placed(record)
    assert found == ("Blocked" if outcome == "Blocked" else "Start")
    assert place == (where if place != "ca-qc-1/a100" else where.replace("no-osl-1", "ca-qc-1"))
    assert start == (record["decidedAt"] if start else "")
    assert ("no hour is known to be cleaner, so that the job does not wait" in record["message"]) == bool(start)
