"""Jobs under way: paused and taken up again, moved and left alone, as the grid turns out other than expected."""

import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from fake_electricitymaps import TOKEN, FakeElectricityMaps, hour_of
from test_flow_crashes import held_push

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.job_status import Phase
from fixtures.grid import Grid, write_settings
from fixtures.hub_process import GRAMS, HubStack, begin, clock_of, condition, open_hub_stack
from fixtures.kubeapi_server import eventually

HOUR = timedelta(hours=1)
INTERRUPTIBLE = {"maxDelay": "24h", "interruptible": {"minimumRun": "1h", "overhead": "10m", "maxPauses": 4}}
IN_OSLO = {"dataClass": "public", "allowedRegions": ["europe-north1"]}
SHARED = {
    "model": "acme/base",
    "dataset": {"name": "acme/instructions"},
    "checkpoints": {"uri": "s3://lora/checkpoints"},
}


@pytest.fixture(scope="module")
def grid() -> Grid:
    return Grid()


@pytest.fixture(scope="module")
def stack(flow_api, grid, tmp_path_factory) -> Iterator[HubStack]:
    """A stack whose grid a test can change while it runs."""
    clock = clock_of(flow_api)
    with FakeElectricityMaps(list(GRAMS), clock.now, grid.value) as maps:
        made = open_hub_stack(tmp_path_factory.mktemp("moves"), flow_api, clock)
        made.signals = write_settings(made.root, maps.url, TOKEN)
        try:
            begin(made)
            yield made
        finally:
            made.close()
            made.git.stop()


def train(stack: HubStack, name: str, duration: str = "4h", **given) -> datetime:
    """A job under way; the hour in which it began."""
    stack.submit(name, "train", duration=duration, schedule=INTERRUPTIBLE, **given)
    stack.wait(name, Phase.RUNNING)
    return hour_of(stack.clock.now())


def reasons(stack: HubStack, name: str) -> list[str]:
    told = sorted(stack.events(name), key=lambda event: event["firstTimestamp"])
    return [event["reason"] for event in told]


def moved_once(stack: HubStack, name: str) -> CarbonTrainingJob:
    """The job at its end, after one move from Oslo to Quebec."""
    job = stack.wait(name, Phase.SUCCEEDED)
    eventually(lambda: stack.changes(name) == ["place 1", "remove 1", "place 2", "remove 2"])
    assert [start for start in stack.spokes.starts if start[0] == name] == [(name, 1, "no-osl-1"), (name, 2, "ca-qc-1")]
    assert (job.status.attempt, job.status.pauses) == (2, 1)
    assert stack.spokes.violations == []
    first, second = stack.accounts(name)
    assert job.status.actual.energy_kwh == pytest.approx(first.energy_kwh + second.energy_kwh, abs=1e-3)
    assert job.status.actual.attempts == 2
    return job


@pytest.mark.soak
def test_a_hub_killed_between_the_steps_of_a_move_ends_in_one_live_attempt(stack, grid):
    began = train(stack, "killed", "8h", workload=SHARED)
    with held_push(stack, "post-receive") as reached:
        grid.becomes("CA-QC", began, GRAMS["NO-NO1"] / 2)
        eventually(reached.exists)
        stack.hubs[0].kill()
        assert stack.phase("killed") is Phase.MOVING
    with held_push(stack, "pre-receive") as reached:
        stack.hubs[0].start()
        eventually(reached.exists)
        assert stack.placements("killed") == []
        stack.hubs[0].kill()
        (reached.parent / "abort").touch()
    stack.hubs[0].start()
    moved_once(stack, "killed")
    assert "Moving" in reasons(stack, "killed")
    grid.clear()


@pytest.mark.soak
def test_a_forecast_miss_pauses_a_running_job_until_the_grid_clears(stack, grid):
    began = train(stack, "missed", residency=IN_OSLO)
    grid.becomes("NO-NO1", began, 1.3 * GRAMS["NO-NO1"])
    grid.becomes("NO-NO1", began + 5 * HOUR, GRAMS["NO-NO1"])
    job = stack.wait("missed", Phase.PAUSED)
    assert condition(job, "Running").reason == "Paused"
    assert "30 % above what was expected" in job.status.summary
    assert "This saves" in condition(job, "Running").message
    job = stack.wait("missed", Phase.SUCCEEDED)
    eventually(lambda: stack.changes("missed") == ["place 1", "suspend 1", "resume 1", "remove 1"])
    assert stack.spokes.resumed == [("missed", 1, "no-osl-1")]
    assert (job.status.attempt, job.status.pauses) == (1, 1)
    assert reasons(stack, "missed")[-3:] == ["Paused", "Resumed", "Succeeded"]
    assert stack.spokes.violations == []
