"""What a new user's first jobs get from the shipped fleet, with nothing set up: no default may surprise."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from carbonfleet.cli import app

FLEET = Path(__file__).parents[2] / "fleet"
NOW = "2025-12-16T01:00:00Z"
"""When the demo's grid begins."""
DATA = {"region": "us-east-2", "sizeGib": 100}


def placed(folder, **asked):
    """Outcome, spoke/pool and start of a job of an hour on an A100 with some parts of its spec changed."""
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
    result = CliRunner().invoke(app, ["explain", str(file), "--demo", "--fleet", str(FLEET), "-o", "json"])
    (record,) = json.loads(result.stdout)
    where = f"{record['cluster']}/{record['pool']}" if record.get("cluster") else ""
    return record["outcome"], where, record.get("start", "")


@pytest.mark.parametrize(
    ("asked", "outcome", "where", "start"),
    [
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
    ],
)
def test_a_first_job_goes_where_a_new_user_expects(tmp_path, asked, outcome, where, start):
    assert placed(tmp_path, **asked) == (outcome, where, start)
