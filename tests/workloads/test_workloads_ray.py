"""Two Ray workers train what one process trains, and stop as it does."""

import csv
import os
import shutil
import signal
import tempfile
from pathlib import Path

import lora_runs as runs
import pytest

pytestmark = pytest.mark.ray
STEPS = 60


def settings(workers: int) -> dict:
    training = {"batch_size": 8, "gradient_accumulation": 2, "workers": workers}
    return runs.tiny(STEPS, training=training, lora={"dropout": 0.0}, checkpoint={"every_steps": 25})


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


def test_two_workers_stopped_and_resumed_end_where_one_does(cluster, tmp_path):
    run = runs.start(settings(workers=2), tmp_path / "two", **cluster)
    run.reach(3)
    run.signal(signal.SIGTERM)
    assert run.wait() == 143, run.text
    assert run.failure["reason"] == "Stopped"
    assert STEPS > runs.newest_step(tmp_path / "two") >= 3
    again = runs.train(settings(workers=2), tmp_path / "two", 2, **cluster)
    assert again.process.exitcode == 0, again.text
    assert runs.train(settings(workers=1), tmp_path / "one").process.exitcode == 0
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
