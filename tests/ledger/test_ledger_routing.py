"""The routing log of 21 jobs again: through a fake Electricity Maps, the planner, and the ledger."""

import csv
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from carbon_servers import TOKEN, FakeElectricityMaps, HandClock
from placement_world import BARE, LIFECYCLE, job, spoke, world

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.report import ReportSpec
from carbonfleet.http import Endpoint, Key
from carbonfleet.hub.accounting import KnownPast, Settling, account, attempt_of
from carbonfleet.ledger.report import report
from carbonfleet.ledger.store import By, Ledger, Query
from carbonfleet.placement import explain, plan
from carbonfleet.placement.decision import Outcome
from carbonfleet.placement.record import record_of
from carbonfleet.signals import ElectricityMapsSettings, Signals, SignalSettings
from carbonfleet.signals.sources.electricitymaps import ElectricityMaps

ZONES = {"norway": "NO-NO1", "quebec": "CA-QC", "ohio": "US-MIDA-PJM"}
COLUMNS = {zone: f"{place}_gco2_kwh" for place, zone in ZONES.items()}
SPOKES = [spoke(place, zone, jurisdictions=("XX",)) for place, zone in ZONES.items()]
CLUSTERS = {each.name: each.facts for each in SPOKES}
LENGTH = timedelta(minutes=30)


@pytest.fixture(scope="module")
def log() -> list[dict[str, str]]:
    folder = os.environ.get("CARBONFLEET_DATA_DIR")
    if not folder:
        pytest.skip("set CARBONFLEET_DATA_DIR to the folder with routing_21_jobs.csv")
    with (Path(folder) / "routing_21_jobs.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def submitted(row) -> datetime:
    return datetime.fromisoformat(row["timestamp_utc"]).replace(tzinfo=UTC)


def logged_curve(log):
    """What the log says of each zone; a row's values hold until the next row's hour."""

    def curve(zone: str, hour: datetime) -> float:
        known = [row for row in log if submitted(row) < hour + timedelta(hours=1)] or log[:1]
        return float(known[-1][COLUMNS[zone]])

    return curve


@pytest.fixture
def clock(log) -> HandClock:
    return HandClock(hands=[submitted(log[0])])


@pytest.fixture
def signals(log, clock, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    with FakeElectricityMaps(ZONES.values(), clock.now, logged_curve(log)) as maps:
        endpoint = Endpoint(url=maps.url, connect_seconds=2, read_seconds=60, requests_per_minute=6000)
        settings = ElectricityMapsSettings(endpoint=endpoint, token=Key(file=tmp_path / "token"))
        service = Signals([ElectricityMaps(settings, clock)], clock, None, SignalSettings())
        yield service
        service.close()


def decided(row, signals):
    """The planner's decision at submission."""
    now, wanted = submitted(row), [(zone, LIFECYCLE) for zone in ZONES.values()]
    signals.refresh(wanted)
    reading = signals.forecasts(wanted, now, now + timedelta(hours=24))
    queued = job(f"job-{row['job']}", hours=0.5, submitted=now, schedule={"tier": "urgent"})
    snapshot = world(
        [queued], SPOKES, reading.forecasts.values(), histories=reading.histories, default_baseline_region="ohio-region"
    )
    planned = plan(snapshot, now)
    [decision] = planned
    return queued, decision, record_of(decision, explain(planned, decision), now)


def accounted(row, queued, decision, record, signals, now):
    """The attempt's line, made as the hub makes it once the spoke reports the end."""
    start, window = submitted(row), decision.window
    ran = CarbonTrainingJob.model_validate(
        {
            "metadata": {
                "name": queued.name,
                "namespace": queued.namespace,
                "uid": queued.uid,
                "creationTimestamp": start.isoformat(),
            },
            "spec": queued.spec.to_wire(),
        }
    )
    said = ReportSpec.model_validate(
        {
            "spoke": window.cluster,
            "job": {"namespace": queued.namespace, "name": queued.name, "uid": f"{int(row['job']):036d}"},
            "placementId": f"{int(row['job']):016d}",
            "attempt": 1,
            "pool": window.pool,
            "gpus": window.gpus,
            "phase": "Succeeded",
            "startTime": start.isoformat(),
            "endTime": (start + LENGTH).isoformat(),
            "observedAt": (start + LENGTH).isoformat(),
        }
    )
    attempt = attempt_of(ran, said, record, CLUSTERS, "ohio-region", BARE)
    return account(attempt, KnownPast(signals), now)


def test_21_of_21_jobs_go_as_logged_and_save_what_was_logged(log, signals, clock, tmp_path):
    ledger, places = Ledger.at(tmp_path / "ledger.sqlite"), []
    for row in log:
        clock.set(submitted(row))
        queued, decision, record = decided(row, signals)
        assert (decision.outcome, decision.window.start) == (Outcome.START, submitted(row))
        places.append(decision.window.cluster)
        now = clock.forward(hours=1)
        signals.refresh([(zone, LIFECYCLE) for zone in ZONES.values()])
        assert ledger.record(*accounted(row, queued, decision, record, signals, now))

    assert places == [row["selected_region"] for row in log]
    assert len(places) == 21
    [total] = report(ledger, By.ALL, Query(), clock.now()).lines
    assert total.sums.jobs == total.sums.attempts == 21
    assert {entry.energy_kwh for entry in ledger.entries()} == {0.5}
    assert round(total.saved_percent, 2) == 93.25

    clock.forward(hours=60)
    settling = Settling(ledger, signals, clock)
    assert sum(settling.step() for _ in range(3)) == 21
    settling.close()
    [final] = report(ledger, By.ALL, Query(), clock.now()).lines
    assert (final.sums.attempts, final.sums.settled, round(final.saved_percent, 2)) == (21, 21, 93.25)
    ledger.close()
