"""The signals are tried before anything depends on them, and a hub goes on whatever comes of it."""

import logging
import sys
from datetime import timedelta
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from carbon_servers import TOKEN, FakeElectricityMaps, HandClock

from carbonfleet.http import Endpoint, Key
from carbonfleet.hub.checking import AGAIN, Checking
from carbonfleet.signals import ElectricityMapsSettings, Signals
from carbonfleet.signals.sources.electricitymaps import ElectricityMaps
from fixtures.fleet_values import facts_of
from fixtures.kubeapi_server import eventually

CLUSTERS = [facts_of("no-osl-1"), facts_of("us-oh-1")]
TYPO = facts_of("ca-qc-1").model_copy(update={"zone": "CA-QB"})


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def maps(clock):
    with FakeElectricityMaps(["NO-NO1", "US-MIDA-PJM", "CA-QC"], clock.now) as server:
        yield server


@pytest.fixture
def told():
    return []


@pytest.fixture
def checking(maps, clock, told, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "token").write_text(TOKEN)
    endpoint = Endpoint(url=maps.url, retry_seconds=0.01, tries=1)
    source = ElectricityMaps(ElectricityMapsSettings(endpoint=endpoint, token=Key(file=tmp_path / "token")), clock)
    signals = Signals([source], clock)
    made = Checking(signals, clock, told.append)
    yield made
    made.close()
    signals.close()


def verdicts(findings):
    return {finding.zone: finding.reason for finding in findings}


def test_each_zone_is_tried_once_and_a_new_one_when_it_comes(checking, told, maps, caplog):
    for _ in range(20):
        checking.begin(CLUSTERS)
    eventually(lambda: told)
    assert [verdicts(each) for each in told] == [{"NO-NO1": "Ready", "US-MIDA-PJM": "Ready"}]

    checking.begin([*CLUSTERS, TYPO])
    eventually(lambda: len(told) == 2)
    assert verdicts(told[1])["CA-QB"] == "UnknownZone"
    assert "knows no zone CA-QB; did you mean CA-QC" in caplog.text
    assert "no source is ready for zone CA-QB" in caplog.text
    assert "region ca-quebec-1" not in caplog.text
    assert len(maps.asked("zones")) == 1


def test_an_endpoint_outside_the_licence_is_named(checking, told, maps, caplog):
    maps.access["NO-NO1"] = ["carbon-intensity/latest"]
    checking.begin(CLUSTERS)
    eventually(lambda: told)
    assert verdicts(told[0]) == {"NO-NO1": "NotLicensed", "US-MIDA-PJM": "Ready"}
    assert "does not include carbon-intensity/forecast for NO-NO1" in caplog.text


def test_a_key_that_is_missing_is_named_and_tried_again_later(checking, told, clock, tmp_path, caplog):
    (tmp_path / "token").unlink()
    checking.begin(CLUSTERS)
    eventually(lambda: told)
    assert verdicts(told[0]) == {"": "BadKey"}
    assert f"put one into {tmp_path / 'token'}" in caplog.text

    (tmp_path / "token").write_text(TOKEN)
    checking.begin(CLUSTERS)
    clock.set(clock.now() + AGAIN + timedelta(minutes=1))
    eventually(lambda: checking.begin(CLUSTERS) or len(told) == 2)
    assert verdicts(told[1])["NO-NO1"] == "Ready"
    assert TOKEN not in caplog.text
