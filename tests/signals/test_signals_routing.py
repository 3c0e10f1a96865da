"""Twenty-one recorded routing decisions over Norway, Quebec and Ohio, replayed from the API to the ledger."""

import csv
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from carbonfleet.api import ClusterFacts, FleetPolicy, JobSpec
from carbonfleet.api.signal import SignalKind
from carbonfleet.ledger import Entry, EntryKind
from carbonfleet.ledger.emissions import EnergyUse, Intensities, emitted_grams
from carbonfleet.ledger.store import Ledger
from carbonfleet.placement import PolicySet, QueuedJob, Snapshot, Spoke
from fixtures.placement_world import explained_plan as plan

pytestmark = pytest.mark.skipif("CARBONFLEET_DATA_DIR" not in os.environ, reason="CARBONFLEET_DATA_DIR is not set")

LIFECYCLE = SignalKind.AVERAGE_LIFECYCLE
HOUR = timedelta(hours=1)
ZONES = {"norway": "NO-NO1", "quebec": "CA-QC", "ohio": "US-MIDA-PJM"}
REGIONS = {"norway": "norwayeast", "quebec": "ca-central-1", "ohio": "us-east-2"}
ENERGY_KWH = 3.2
POLICY = FleetPolicy.model_validate(
    {
        "apiVersion": "carbonfleet.dev/v1alpha1",
        "kind": "FleetPolicy",
        "metadata": {"name": "default"},
        "spec": {
            "scope": {"dataClasses": ["public"]},
            "residency": {"anywhere": True},
            "tiers": [{"name": "standard", "maxDelay": "0s"}],
        },
    }
)


def spoke(name: str) -> Spoke:
    pool = {"name": "a100", "gpuType": "A100", "gpus": 8, "memoryGib": 80, "usdPerGpuHour": 2}
    facts = {"name": name, "region": REGIONS[name], "zone": ZONES[name], "jurisdictions": ["XX"], "pue": 1}
    return Spoke(ClusterFacts.model_validate({**facts, "pools": [pool]}))


SPOKES = tuple(spoke(name) for name in ZONES)
SPEC = JobSpec.model_validate(
    {
        "workload": {"model": "Qwen/Qwen2.5-Coder-7B-Instruct", "dataset": {"name": "data"}},
        "resources": {"gpus": 1, "duration": "1h"},
        "residency": {"dataClass": "public"},
        "objective": {"minimize": "carbon"},
        "baselineRegion": REGIONS["ohio"],
    }
)


def rows() -> list[dict[str, str]]:
    path = Path(os.environ["CARBONFLEET_DATA_DIR"]) / "routing_21_jobs.csv"
    return list(csv.DictReader(path.open()))


def decide(signals, row, now: datetime):
    """Where the planner puts this job, and the forecasts it saw."""
    reading = signals.forecasts([(zone, LIFECYCLE) for zone in ZONES.values()], now, now + 6 * HOUR)
    job = QueuedJob(f"uid-{row['job']}", "ml", f"job-{row['job']}", SPEC, now)
    snapshot = Snapshot((job,), SPOKES, PolicySet((POLICY,)), reading.forecasts, reading.histories)
    (decision,) = plan(snapshot, now)
    return decision, reading.forecasts


def entry(row, cluster: str, now: datetime, grams_per_kwh: dict[str, float]) -> Entry:
    """The attempt at the intensities of its submission."""
    use = EnergyUse.constant(now, now + HOUR, ENERGY_KWH)

    def grams(name: str) -> float:
        held = np.array([grams_per_kwh[name]])
        return emitted_grams(use, Intensities(ZONES[name], now - HOUR, 24 * HOUR, held))

    ours, baseline = grams(cluster), grams("ohio")
    return Entry(
        id=f"attempt:{row['job']}",
        kind=EntryKind.ATTEMPT,
        placement_id=row["job"],
        job_uid=f"uid-{row['job']}",
        namespace="ml",
        job=f"job-{row['job']}",
        sweep="",
        tier="standard",
        attempt=1,
        phase="Succeeded",
        cluster=cluster,
        region=REGIONS[cluster],
        zone=ZONES[cluster],
        pool="a100",
        gpu_type="A100",
        gpus=1,
        submitted_at=now,
        start=now,
        end=now + HOUR,
        signal=LIFECYCLE.value,
        source="electricitymaps/v3",
        settled=False,
        energy_kwh=ENERGY_KWH,
        energy_method="estimate",
        energy_uncertainty=0.2,
        pue=1.0,
        operational_grams=ours,
        transfer_grams=0.0,
        embodied_grams=0.0,
        grams=ours,
        grams_per_kwh=ours / ENERGY_KWH,
        baseline_region=REGIONS["ohio"],
        baseline_grams=baseline,
        same_spoke_grams=ours,
        best_static_region=REGIONS["norway"],
        best_static_grams=grams("norway"),
        cost_usd=None,
        recorded_at=now + HOUR,
    )


def test_all_decisions_are_as_logged_and_the_ledger_says_how_far_below_ohio(
    make_signals, clock, maps, electricitymaps, tmp_path
):
    ledger = Ledger.at(tmp_path / "ledger.sqlite")
    signals, chosen = make_signals(electricitymaps(), patience_seconds=60), []
    for row in rows():
        clock.set(datetime.fromisoformat(row["timestamp_utc"]).replace(tzinfo=UTC))
        now, values = clock.now(), {zone: float(row[f"{name}_gco2_kwh"]) for name, zone in ZONES.items()}
        maps.curve = lambda zone, hour, values=values: values[zone]
        signals.refresh([(zone, LIFECYCLE) for zone in ZONES.values()], timeout_seconds=180)
        decision, forecasts = decide(signals, row, now)
        seen = {name: forecasts[zone, LIFECYCLE].at(now) for name, zone in ZONES.items()}
        assert seen == {name: values[zone] for name, zone in ZONES.items()}
        assert decision.window is not None, decision.message
        chosen.append(decision.window.cluster)
        ledger.record(entry(row, decision.window.cluster, now, seen))
    assert chosen == [row["selected_region"] for row in rows()]
    attempts = ledger.attempts()
    ledger.close()
    assert len(attempts) == 21
    below = 1 - sum(a.grams for a in attempts) / sum(a.baseline_grams for a in attempts)
    assert round(100 * below, 2) == 93.25
