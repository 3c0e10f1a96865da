"""Trainings on a real Ray head under a real hub: paused, moved and left alone as the grid turns out."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from fake_electricitymaps import TOKEN, FakeElectricityMaps, hour_of

from carbonfleet.api.job_status import Phase
from carbonfleet.api.report import AttemptPhase
from carbonfleet.api.workload import Workload
from carbonfleet.fleet.manifests.workload import config_of
from fixtures.grid import Grid, write_settings
from fixtures.hub_process import GRAMS, ROOT, HubStack, clock_of, condition, open_hub_stack
from fixtures.kubeapi_server import eventually
from fixtures.real_training import IN_OSLO, OSLO, QUEBEC, agent_of, all_heard, report_of, reports_of, tiny, trains

pytest_plugins = ["fixtures.ray_head"]
pytestmark = [pytest.mark.soak, pytest.mark.ray, pytest.mark.timeout(2400), pytest.mark.speed(120.0)]

HOUR = timedelta(hours=1)
CPU_SECONDS = 80
"""What the training takes at least when it is let alone: over two and a half hours of the stack's clock."""
SCHEDULE = {"maxDelay": "24h", "interruptible": {"minimumRun": "1h", "overhead": "10m"}}


def workload_of(steps: int) -> dict[str, Any]:
    return tiny(steps, every=50)


def losses(output: Path) -> list[float]:
    """Every loss of a run, step by step."""
    with (output / "loss.csv").open() as file:
        rows = [(row["train_loss"], row["validation_loss"]) for row in csv.DictReader(file)]
    return [float(value) for row in rows for value in row if value]


def train_alone(output: Path, steps: int) -> dict[str, Any]:
    """The training by itself, in a process with one thread, as Ray runs it; its metrics."""
    config = config_of(Workload.model_validate(workload_of(steps)), gpus=1)
    told = {"LORA_CONFIG": config, "LORA_OUTPUT": str(output), "LORA_ATTEMPT": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "workloads.lora.train"]
    subprocess.run(command, cwd=ROOT, env=os.environ | told, check=True, capture_output=True, timeout=1200)
    return json.loads((output / "metrics.json").read_text())


@dataclass(frozen=True)
class Unbroken:
    """A run that nobody stopped: what the others must come to."""

    steps: int
    losses: list[float]
    digest: str


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Unbroken:
    """As many steps as this machine does in CPU_SECONDS, which a load beside it does not stretch."""
    folder = tmp_path_factory.mktemp("unbroken")
    quick = train_alone(folder / "quick", 30)
    steps = max(200, round(CPU_SECONDS / quick["step_cpu_seconds"]))
    metrics = train_alone(folder / "whole", steps)
    return Unbroken(steps, losses(folder / "whole"), metrics["config_digest"])


@pytest.fixture
def grid() -> Grid:
    return Grid()


@pytest.fixture
def stack(own_api, grid, ray_head, tmp_path) -> Iterator[HubStack]:
    """A hub, and real agents with a Ray head and one store in Oslo and Quebec; Ohio is simulated."""
    clock = clock_of(own_api)
    with FakeElectricityMaps(list(GRAMS), clock.now, grid.value) as maps:
        made = open_hub_stack(tmp_path / "stack", own_api, clock)
        made.signals = write_settings(made.root, maps.url, TOKEN)
        agents = [agent_of(made, ray_head, cluster, made.root) for cluster in (OSLO, QUEBEC)]
        try:
            made.start_hub()
            made.spokes.start()
            for agent in agents:
                agent.start()
            eventually(lambda: all_heard(made), 60)
            yield made
        finally:
            for agent in agents:
                agent.kill()
            made.close()
            made.git.stop()


def start(stack: HubStack, steps: int, **given: Any) -> datetime:
    """A training under way in Oslo; the hour in which it began."""
    stack.submit("real", duration="4h", schedule=SCHEDULE, workload=workload_of(steps), **given)
    eventually(lambda: trains(stack, "real"), 120)
    return hour_of(report_of(stack, "real").start_time)


def output_of(stack: HubStack) -> Path:
    return stack.root / "store" / stack.body("real")["metadata"]["uid"]


def first_progress(ray_head, submission: str) -> dict[str, Any]:
    """The first thing that a run said of itself, as Ray logged it."""
    headers = {"Authorization": f"Bearer {ray_head.token}"}
    answer = requests.get(f"{ray_head.address}/api/jobs/{submission}/logs", headers=headers, timeout=30)
    lines = [line for line in answer.json()["logs"].splitlines() if line.startswith("LORA_PROGRESS ")]
    return json.loads(lines[0].removeprefix("LORA_PROGRESS "))


def assert_ended_as_unbroken(stack: HubStack, unbroken: Unbroken) -> None:
    output = output_of(stack)
    assert json.loads((output / "metrics.json").read_text())["config_digest"] == unbroken.digest
    found = losses(output)
    apart = max(abs(ours - theirs) for ours, theirs in zip(found, unbroken.losses, strict=True))
    print(f"{len(found)} losses, at most {apart:.1e} from the unbroken run's; the last is {found[-1]:.6f}")
    assert found == pytest.approx(unbroken.losses, abs=1e-5)


def test_a_forecast_miss_pauses_a_real_training_which_goes_on_from_its_checkpoint(stack, grid, unbroken):
    began = start(stack, unbroken.steps, residency=IN_OSLO)
    grid.becomes("NO-NO1", began, 1.3 * GRAMS["NO-NO1"])
    grid.becomes("NO-NO1", began + 4 * HOUR, GRAMS["NO-NO1"])
    job = stack.wait("real", Phase.PAUSED, seconds=180)
    paused = report_of(stack, "real")
    assert "30 % above what was expected" in job.status.summary
    assert 0 < paused.checkpoint.step == paused.progress.step < unbroken.steps
    print(f"\n{stack.clock.now()} {job.status.summary}\n{condition(job, 'Running').message}")
    print(f"paused at {paused.progress}, {paused.checkpoint}")
    stack.wait("real", Phase.RUNNING, seconds=240)
    eventually(lambda: report_of(stack, "real").progress.step > paused.checkpoint.step, 120)
    print(f"{stack.clock.now()} goes on: {report_of(stack, 'real').progress}, {report_of(stack, 'real').stints}")
    job = stack.wait("real", Phase.SUCCEEDED, seconds=700)
    assert job.status.progress.step == unbroken.steps
    assert job.status.progress.validation_loss < job.status.progress.initial_validation_loss
    assert (job.status.attempt, job.status.pauses) == (1, 1)
    eventually(lambda: stack.changes("real") == ["place 1", "suspend 1", "resume 1", "remove 1"], 30)
    (line,) = stack.ledger("real")
    stints = report_of(stack, "real").stints
    held = sum((stint.end - stint.start for stint in stints), timedelta())
    print(f"{job.status.summary}\n{stints}\n{line.energy_kwh:.3f} kWh over {held} of {line.end - line.start}")
    assert len(stints) == 2
    assert line.energy_kwh == pytest.approx(0.4 * held / HOUR, rel=0.1)
    assert_ended_as_unbroken(stack, unbroken)


def test_half_the_intensity_elsewhere_moves_a_real_training_once(stack, grid, ray_head, unbroken):
    began = start(stack, unbroken.steps)
    grid.becomes("CA-QC", began, GRAMS["CA-QC"] / 2)
    job = stack.wait("real", Phase.MOVING, seconds=180)
    print(f"\n{stack.clock.now()} {job.status.summary}")
    eventually(lambda: trains(stack, "real", 2), 240)
    first = report_of(stack, "real")
    print(f"{first.phase} in Oslo at {first.progress}, {first.checkpoint}")
    assert (first.phase, first.reason) == (AttemptPhase.STOPPED, "Removed")
    assert 0 < first.checkpoint.step == first.progress.step < unbroken.steps
    job = stack.wait("real", Phase.SUCCEEDED, seconds=700)
    eventually(lambda: stack.changes("real") == ["place 1", "remove 1", "place 2", "remove 2"], 30)
    second = report_of(stack, "real", 2)
    assert (first.spoke, second.spoke, job.status.attempt, job.status.pauses) == (OSLO, QUEBEC, 2, 1)
    assert first.end_time <= second.start_time
    resumed = first_progress(ray_head, list(reports_of(stack, "real"))[1])
    print(f"attempt 2 began after step {resumed['checkpoint']['step']} and first told of step {resumed['step']}")
    assert f"sha256:{resumed['checkpoint']['sha256']}" == first.checkpoint.digest
    assert resumed["step"] in (first.checkpoint.step, first.checkpoint.step + 1)
    assert_ended_as_unbroken(stack, unbroken)
    assert_accounts_add_up(stack, job)


def assert_accounts_add_up(stack: HubStack, job) -> None:
    """One line for each attempt, of the time in which it held its GPU and of the grid that it stood in."""
    lines = stack.ledger("real")
    for line, report in zip(lines, reports_of(stack, "real").values(), strict=True):
        (stint,) = report.stints
        held = stint.end - stint.start
        at = f"{line.energy_kwh:.3f} kWh at {line.grams_per_kwh:.1f} g/kWh"
        print(f"{line.cluster}: {held}, {at}, {line.grams:.2f} g with building and embodied")
        assert line.energy_kwh == pytest.approx(0.4 * held / HOUR, rel=0.1)
    assert [line.cluster for line in lines] == [OSLO, QUEBEC]
    assert [line.grams_per_kwh for line in lines] == pytest.approx([GRAMS["NO-NO1"], GRAMS["CA-QC"] / 2], rel=0.02)
    actual = job.status.actual
    print(f"together {actual.energy_kwh} kWh, {actual.grams_co2e} g: {job.status.summary}")
    assert actual.attempts == 2
    assert actual.energy_kwh == pytest.approx(sum(line.energy_kwh for line in lines), rel=1e-3)
    assert actual.grams_co2e == pytest.approx(sum(line.grams for line in lines), rel=1e-3)


def test_five_percent_up_and_down_leaves_a_real_training_alone(stack, grid, unbroken):
    began = start(stack, unbroken.steps)
    for hour in range(24):
        up, down = (1.05, 0.95) if hour % 2 else (0.95, 1.05)
        grid.becomes("NO-NO1", began + hour * HOUR, up * GRAMS["NO-NO1"])
        grid.becomes("CA-QC", began + hour * HOUR, down * GRAMS["NO-NO1"])
    job = stack.wait("real", Phase.SUCCEEDED, seconds=700)
    eventually(lambda: stack.changes("real") == ["place 1", "remove 1"], 30)
    assert (job.status.attempt, job.status.pauses, job.status.cluster) == (1, 0, OSLO)
    (line,) = stack.ledger("real")
    print(f"\nran {line.end - line.start} at {line.grams_per_kwh:.1f} g/kWh: {job.status.summary}")
    assert line.end - line.start > 2 * HOUR
