"""The small sweep through the whole embedded stack, as its file says: real Ray, real training, real adapters."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from carbonfleet.cli import app
from carbonfleet.clock import Clock
from carbonfleet.local.grid_settings import write_signals
from carbonfleet.local.ray_head import RayHead
from carbonfleet.local.stack import Stack, StackSettings
from fixtures.kubeapi_server import eventually

pytestmark = [pytest.mark.soak, pytest.mark.ray]
ROOT = Path(__file__).parents[2]
SMALL = ROOT / "workloads" / "sweep" / "small.yaml"
PATIENCE_SECONDS = 900
BROKEN = {
    "unknown-model": ({"model": "nobody/has-this"}, "UnknownModel", "nobody/has-this"),
    "unknown-data": ({"dataset": {"name": "nobody/has-this"}}, "UnknownDataset", "nobody/has-this"),
    "wild": (
        {
            "lora": {"rank": 1, "alpha": 4096},
            "training": {"learningRate": 1.0, "steps": 500, "schedule": "constant", "warmupRatio": 0},
        },
        "NonFiniteLoss",
        "learning_rate",
    ),
}
"""By job: what of the workload is wrong, and the reason and a word that people must find."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Everything on this machine, in real time."""
    state = tmp_path_factory.mktemp("stack")
    made = Stack(StackSettings(state, Clock(), write_signals(state, "demo")))
    try:
        made.up()
        yield made
    finally:
        made.down()


def jobs(stack) -> dict[str, dict]:
    listed = stack.kubectl("get", "ctj", "-n", "team-a", "-o", "json")
    return {item["metadata"]["name"]: item for item in json.loads(listed.stdout)["items"]}


def output_of(stack, job: dict) -> Path:
    """Where it was saved, in the store of the spoke that trained it."""
    [found] = (stack.settings.state / "store").glob(f"*/{job['metadata']['uid']}")
    return found


def broken(name: str) -> dict:
    """A job that can't be trained."""
    spec = yaml.safe_load(SMALL.read_text())["job"]["spec"]
    spec["workload"] |= BROKEN[name][0]
    spec["schedule"] = {"maxDelay": "1m"}
    metadata = {"name": name, "namespace": "team-a"}
    return {"apiVersion": "carbonfleet.dev/v1alpha1", "kind": "CarbonTrainingJob", "metadata": metadata, "spec": spec}


@pytest.fixture(scope="module")
def trained(stack, tmp_path_factory):
    """The four jobs of the sweep and the broken ones, all of them over."""
    from typer.testing import CliRunner

    folder = tmp_path_factory.mktemp("jobs")
    done = CliRunner().invoke(app, ["sweep", "generate", "-f", str(SMALL), "-o", str(folder)])
    assert done.exit_code == 0, done.output
    for name in BROKEN:
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(broken(name)))
    applied = stack.kubectl("apply", "-f", str(folder))
    assert applied.returncode == 0, applied.stderr
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = jobs(stack)
        if all(job.get("status", {}).get("phase") in ("Succeeded", "Failed") for job in found.values()):
            return found
        time.sleep(2)
    raise AssertionError({name: job.get("status", {}).get("phase") for name, job in jobs(stack).items()})


def test_a_training_whose_ray_head_is_killed_goes_on_from_its_checkpoint(stack, trained):
    body = broken("unknown-data")
    body["metadata"]["name"] = "orphan"
    body["spec"]["workload"] |= {"dataset": {"name": "carbonfleet/tiny-instructions"}}
    body["spec"]["workload"]["training"] |= {"steps": 600}
    body["spec"]["workload"]["checkpoints"] = {"everySteps": 20}
    assert stack.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(body)).returncode == 0
    eventually(lambda: "lastGoodCheckpoint" in jobs(stack)["orphan"].get("status", {}), PATIENCE_SECONDS)
    folder = Path((stack.settings.state / "ray.directory").read_text().strip())
    os.kill(RayHead.find(folder).pid, signal.SIGKILL)
    eventually(lambda: jobs(stack)["orphan"]["status"]["phase"] in ("Succeeded", "Failed"), PATIENCE_SECONDS)
    status = jobs(stack)["orphan"]["status"]
    assert (status["phase"], status["attempt"], status["progress"]["step"]) == ("Succeeded", 1, 600), status
    stack.check()


def test_four_jobs_reach_the_leaderboard_and_each_has_learnt(command, stack, trained, tmp_path):
    plot = tmp_path / "plot.png"
    done = command("sweep", "results", "small", "--kubeconfig", stack.kubeconfig, "--json", "--plot", plot)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["jobs"]
    assert [one["place"] for one in found] == [1, 2, 3, 4]
    losses = [one["validation_loss"] for one in found]
    assert losses == sorted(losses)
    assert len(set(losses)) == 4
    for one in found:
        progress = trained[one["job"]]["status"]["progress"]
        assert progress["validationLoss"] < 0.9 * progress["initialValidationLoss"], one["job"]
        assert 0 <= one["delay_seconds"] < PATIENCE_SECONDS
        assert one["grams_co2e"] > 0
    assert sum(one["is_baseline"] for one in found) == 1
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_log_of_each_job_ends_with_its_last_step_or_with_why_it_failed(command, stack, trained):
    for name, job in trained.items():
        done = command("logs", f"team-a/{name}", "--kubeconfig", stack.kubeconfig)
        last = done.stdout.splitlines()[-1]
        assert last.startswith(f"{BROKEN[name][1]}: " if name in BROKEN else "step 60 of 60  train loss ")
        assert (done.exit_code, done.stderr, job["status"]["logs"][0]["tail"].splitlines()[-1]) == (0, "", last)


def test_each_adapter_repeats_its_logged_loss_in_a_fresh_process(stack, trained):
    for name, job in trained.items():
        if name in BROKEN:
            continue
        output = output_of(stack, job)
        run = subprocess.run(
            [sys.executable, "-m", "workloads.lora.evaluate", str(output)],
            cwd=ROOT,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert run.returncode == 0, run.stderr
        losses = json.loads(run.stdout)
        assert abs(losses["measured"] - losses["logged"]) <= 1e-4
        assert losses["logged"] == pytest.approx(job["status"]["progress"]["validationLoss"], abs=1e-4)


@pytest.mark.parametrize("name", BROKEN)
def test_a_job_that_cant_be_trained_says_why_in_describe(stack, trained, name):
    _, reason, word = BROKEN[name]
    assert trained[name]["status"]["phase"] == "Failed"
    [finished] = [c for c in trained[name]["status"]["conditions"] if c["type"] == "Finished"]
    assert finished["reason"] == reason
    described = stack.kubectl("describe", "ctj", "-n", "team-a", name).stdout
    assert reason in described
    assert word in described


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_21_jobs_reach_the_leaderboard_and_half_is_not_spent(command, stack, tmp_path, seed):
    sweep, file = f"halves-{seed}", tmp_path / "sweep.yaml"
    text = (SMALL.parent / "small-21.yaml").read_text()
    file.write_text(text.replace("name: small-21", f"name: {sweep}").replace("seed: 42", f"seed: {seed}"))
    assert command("sweep", "generate", "-f", file, "-o", tmp_path / "jobs").exit_code == 0
    assert stack.kubectl("apply", "-f", str(tmp_path / "jobs")).returncode == 0

    def ours():
        return {name: job for name, job in jobs(stack).items() if name.startswith(f"{sweep}-")}

    def over(job):
        status = job.get("status", {})
        ended = any(one["type"] == "Finished" for one in status.get("conditions", ()))
        return ended and status["phase"] in ("Succeeded", "StoppedEarly")

    eventually(lambda: all(map(over, ours().values())), 2 * PATIENCE_SECONDS)
    done = command("sweep", "results", sweep, "--kubeconfig", stack.kubeconfig)
    print(f"\n{done.output}")
    listed = command("sweep", "results", sweep, "--kubeconfig", stack.kubeconfig, "-o", "json")
    found = json.loads(listed.stdout)["jobs"]
    assert len(found) == 21
    spent, unspent = (sum(one[name] or 0 for one in found) for name in ("energy_kwh", "unspent_kwh"))
    print(f"energy not spent: {unspent / (spent + unspent):.0%}")
    assert unspent >= spent
    for one in found:
        status = ours()[one["job"]]["status"]
        saved = output_of(stack, ours()[one["job"]])
        assert (saved / ("checkpoints" if status["phase"] == "StoppedEarly" else "adapter")).is_dir()
        assert status["attempt"] == 1
