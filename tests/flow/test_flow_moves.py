"""Jobs under way: paused and taken up again, moved and left alone, as the grid turns out other than expected."""

import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from fake_electricitymaps import TOKEN, FakeElectricityMaps, hour_of

from carbonfleet.api.job_status import Phase
from fixtures.hub_process import GRAMS, House, begin, clock_of, condition, open_house
from fixtures.kubeapi_server import eventually

HOUR = timedelta(hours=1)
INTERRUPTIBLE = {"maxDelay": "24h", "interruptible": {"minimumRun": "1h", "overhead": "10m", "maxPauses": 4}}
IN_OSLO = {"dataClass": "public", "allowedRegions": ["europe-north1"]}
LONG = 90.0


class Grid:
    """Three zones that are flat until a test says otherwise; forecasts are right about what was said by then."""

    def __init__(self) -> None:
        self._levels: dict[str, list[tuple[datetime, float]]] = {}

    def becomes(self, zone: str, hour: datetime, grams_per_kwh: float) -> None:
        """From an hour on."""
        self._levels.setdefault(zone, []).append((hour, grams_per_kwh))

    def clear(self) -> None:
        """Flat again, the past included."""
        self._levels = {}

    def value(self, zone: str, hour: datetime) -> float:
        """In an hour: what was said of it last."""
        held = [grams for since, grams in self._levels.get(zone, ()) if since <= hour]
        return held[-1] if held else GRAMS[zone]


def write_settings(folder: Path, url: str) -> Path:
    (folder / "token").write_text(TOKEN)
    endpoint = {"url": url, "requestsPerMinute": 6000}
    source = {"type": "electricitymaps", "endpoint": endpoint, "token": {"file": str(folder / "token")}}
    settings = folder / "live.yaml"
    settings.write_text(yaml.safe_dump({"sources": [source], "refresh": "5m"}))
    return settings


@pytest.fixture(scope="module")
def grid() -> Grid:
    return Grid()


@pytest.fixture(scope="module")
def house(flow_api, grid, tmp_path_factory) -> Iterator[House]:
    """A house whose grid a test can change while it runs."""
    clock = clock_of(flow_api)
    with FakeElectricityMaps(list(GRAMS), clock.now, grid.value) as maps:
        made = open_house(tmp_path_factory.mktemp("moves"), flow_api, clock)
        made.signals = write_settings(made.root, maps.url)
        try:
            begin(made)
            yield made
        finally:
            made.close()
            made.git.stop()


def train(house: House, name: str, duration: str = "4h", **given) -> datetime:
    """A job under way; the hour in which it began."""
    house.submit(name, "train", duration=duration, schedule=INTERRUPTIBLE, **given)
    house.wait(name, Phase.RUNNING)
    return hour_of(house.clock.now())


def reasons(house: House, name: str) -> list[str]:
    told = sorted(house.events(name), key=lambda event: event["firstTimestamp"])
    return [event["reason"] for event in told]


def test_a_forecast_miss_pauses_a_running_job_until_the_grid_clears(house, grid):
    began = train(house, "missed", residency=IN_OSLO)
    grid.becomes("NO-NO1", began, 1.3 * GRAMS["NO-NO1"])
    grid.becomes("NO-NO1", began + 5 * HOUR, GRAMS["NO-NO1"])
    job = house.wait("missed", Phase.PAUSED, seconds=LONG)
    assert condition(job, "Running").reason == "Paused"
    assert "30 % above what was expected" in job.status.summary
    assert "This saves" in condition(job, "Running").message
    job = house.wait("missed", Phase.SUCCEEDED, seconds=LONG)
    eventually(lambda: house.changes("missed") == ["place 1", "suspend 1", "resume 1", "remove 1"], 20)
    assert house.spokes.resumed == [("missed", 1, "no-osl-1")]
    assert (job.status.attempt, job.status.pauses) == (1, 1)
    assert reasons(house, "missed")[-3:] == ["Paused", "Resumed", "Succeeded"]
    assert house.spokes.violations == []
