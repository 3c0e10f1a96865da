"""Two Ray workers train what one process trains, and stop as it does."""

import csv
import os
import shutil
import signal
import tempfile
from functools import cache
from pathlib import Path

import lora_runs as runs
import pytest

pytestmark = pytest.mark.ray
STEPS = 40
FEW_STEPS = 12
"""Enough to compare losses by."""


def settings(workers: int, steps: int = STEPS) -> dict:
    training = {"batch_size": 8, "gradient_accumulation": 2, "workers": workers}
    return runs.tiny(steps, training=training, lora={"dropout": 0.0}, checkpoint={"every_steps": 25})


@pytest.fixture(scope="module")
def cluster():
    """A Ray head of our own, with a short folder for its sockets; only it is ended."""
    folder = tempfile.mkdtemp(prefix="cf", dir="/tmp")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_TMPDIR", folder)
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv("RAY_AUTH_MODE", "disabled")
        from ray.cluster_utils import Cluster

        head = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        try:
            yield {"RAY_ADDRESS": head.address, **{k: v for k, v in os.environ.items() if k.startswith("RAY_")}}
        finally:
            head.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def losses(output: Path) -> list[float]:
    with (output / "loss.csv").open() as file:
        return [
            float(value)
            for row in csv.DictReader(file)
            for value in (row["train_loss"], row["validation_loss"])
            if value
        ]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """By a number of steps: the losses of one process."""

    @cache
    def trained(steps: int):
        output = tmp_path_factory.mktemp("alone")
        assert runs.train(settings(1, steps), output).process.exitcode == 0
        return pytest.approx(losses(output), rel=1e-4)

    return trained


@pytest.mark.parametrize("steps", [FEW_STEPS, pytest.param(STEPS, marks=pytest.mark.soak)])
def test_two_workers_end_where_one_does(cluster, alone, tmp_path, steps):
    run = runs.train(settings(2, steps), tmp_path, **cluster)
    assert run.process.exitcode == 0, run.text
    assert losses(tmp_path) == alone(steps)


@pytest.mark.soak
def test_two_workers_stopped_and_resumed_end_where_one_does(cluster, alone, tmp_path):
    run = runs.start(settings(workers=2), tmp_path, **cluster)
    run.reach(3)
    run.signal(signal.SIGTERM)
    assert run.wait() == 143, run.text
    assert run.failure["reason"] == "Stopped"
    assert STEPS > runs.newest_step(tmp_path) >= 3
    again = runs.train(settings(workers=2), tmp_path, 2, **cluster)
    assert again.process.exitcode == 0, again.text
    assert losses(tmp_path) == alone(STEPS)


@pytest.mark.soak
def test_a_workers_reason_is_the_runs_reason(cluster, tmp_path):
    run = runs.train({**settings(workers=2), "model": "nobody/has-this"}, tmp_path, **cluster)
    assert (run.process.exitcode, run.failure["reason"]) == (10, "UnknownModel"), run.text
