"""A training on a real Ray head, paused when the grid turns out dirtier and taken up from its checkpoint."""

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from fake_electricitymaps import TOKEN, FakeElectricityMaps, hour_of

from carbonfleet.api.job_status import Phase
from carbonfleet.api.report import AttemptPhase, ReportSpec
from carbonfleet.clock import VARIABLE
from carbonfleet.kube import ours
from carbonfleet.local.child import Child
from fixtures.grid import Grid, write_settings
from fixtures.hub_process import GRAMS, ROOT, House, clock_of, condition, open_house
from fixtures.kubeapi_server import eventually

pytest_plugins = ["fixtures.ray_head"]
pytestmark = [pytest.mark.soak, pytest.mark.ray, pytest.mark.timeout(900), pytest.mark.speed(120.0)]

HOUR = timedelta(hours=1)
TINY = {
    "model": "carbonfleet/tiny-qwen2",
    "dataset": {"name": "carbonfleet/tiny-instructions"},
    "lora": {"rank": 8, "alpha": 16},
    "training": {"learningRate": 2e-3, "steps": 300, "batchSize": 8, "sequenceLength": 128},
    "checkpoints": {"everySteps": 50},
}
SCHEDULE = {"maxDelay": "24h", "interruptible": {"minimumRun": "1h", "overhead": "10m"}}


@pytest.fixture
def grid() -> Grid:
    return Grid()


@pytest.fixture
def house(own_api, grid, ray_head, tmp_path) -> Iterator[House]:
    """A hub, and a real agent with a Ray head in Oslo; the other spokes are played."""
    clock = clock_of(own_api)
    with FakeElectricityMaps(list(GRAMS), clock.now, grid.value) as maps:
        made = open_house(tmp_path / "house", own_api, clock)
        made.signals = write_settings(made.root, maps.url, TOKEN)
        facts = "clusters/no-osl-1/cluster.yaml"
        made.edit("Eight simulated GPUs", facts, "gpus: 1024, gpusPerNode: 8", "gpus: 8, simulated: true")
        made.spokes.silent.add("no-osl-1")
        agent = agent_of(made, ray_head)
        try:
            made.start_hub()
            made.spokes.start()
            agent.start()
            yield made
        finally:
            agent.kill()
            made.close()
            made.git.stop()


def agent_of(house: House, ray_head) -> Child:
    """`carbonfleet spoke run` with the real training."""
    token = house.root / "ray-token"
    token.write_text(ray_head.token)
    options = {
        "--name": "no-osl-1",
        "--fleet-url": house.git.url,
        "--hub-kubeconfig": str(house.api.kubeconfig),
        "--runtime": "ray",
        "--ray-address": ray_head.address,
        "--ray-token-file": str(token),
        "--workload": str(ROOT),
        "--state": str(house.root / "agent"),
        "--store": str(house.root / "store"),
        "--poll-seconds": "0.5",
        "--sync-seconds": "0.5",
        "--progress-seconds": "1",
    }
    command = [sys.executable, "-m", "carbonfleet", "spoke", "run"]
    command += [part for option in options.items() for part in option]
    return Child("agent", command, house.root / "logs" / "agent.log", {VARIABLE: house.clock.encode()})


def report_of(house: House) -> ReportSpec | None:
    items, _ = house.kube.list(ours("trainingreports", "spoke-no-osl-1"))
    return ReportSpec.model_validate(items[0]["spec"]) if items else None


def trains(house: House) -> bool:
    report = report_of(house)
    return report is not None and report.phase is AttemptPhase.RUNNING and report.progress is not None


def test_a_forecast_miss_pauses_a_real_training_which_goes_on_from_its_checkpoint(house, grid):
    in_oslo = {"dataClass": "public", "allowedRegions": ["europe-north1"]}
    house.submit("real", duration="4h", schedule=SCHEDULE, residency=in_oslo, workload=TINY)
    eventually(lambda: trains(house), 120)
    began = hour_of(report_of(house).start_time)
    grid.becomes("NO-NO1", began, 1.3 * GRAMS["NO-NO1"])
    grid.becomes("NO-NO1", began + 4 * HOUR, GRAMS["NO-NO1"])
    job = house.wait("real", Phase.PAUSED, seconds=180)
    paused = report_of(house)
    assert "30 % above what was expected" in job.status.summary
    assert 0 < paused.checkpoint.step == paused.progress.step < 300
    print(f"\n{house.clock.now()} {job.status.summary}\n{condition(job, 'Running').message}")
    print(f"paused at {paused.progress}, {paused.checkpoint}")
    house.wait("real", Phase.RUNNING, seconds=240)
    eventually(lambda: report_of(house).progress.step > paused.checkpoint.step, 120)
    print(f"{house.clock.now()} goes on: {report_of(house).progress}, {report_of(house).stints}")
    job = house.wait("real", Phase.SUCCEEDED, seconds=400)
    assert job.status.progress.step == 300
    assert job.status.progress.validation_loss < job.status.progress.initial_validation_loss
    assert (job.status.attempt, job.status.pauses) == (1, 1)
    eventually(lambda: house.changes("real") == ["place 1", "suspend 1", "resume 1", "remove 1"], 30)
    (line,) = house.ledger("real")
    stints = report_of(house).stints
    held = sum((stint.end - stint.start for stint in stints), timedelta())
    print(f"{job.status.summary}\n{stints}\n{line.energy_kwh:.3f} kWh over {held} of {line.end - line.start}")
    assert len(stints) == 2
    assert line.energy_kwh == pytest.approx(0.4 * held / HOUR, rel=0.1)
