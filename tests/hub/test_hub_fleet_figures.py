"""The numbers of the fleet that alerts watch."""

from datetime import timedelta

import pytest
from hub_values import NOON, body, observation, placement, report, state
from prometheus_client import generate_latest

from carbonfleet.api.job_status import Phase
from carbonfleet.hub.cycle import CycleResult
from carbonfleet.hub.metrics import Metrics
from carbonfleet.hub.observe import Blocker
from carbonfleet.hub.observe.heartbeats import Heard
from carbonfleet.hub.observe.job_state import JobStates
from carbonfleet.hub.observe.spokes import idle_energy
from carbonfleet.hub.status import figures_of
from carbonfleet.hub.status.fleet_figures import FleetFigures, SpokeFigures
from carbonfleet.ledger.store import Ledger
from carbonfleet.placement import Usage
from fixtures.placement_world import policy, spoke, world

HOUR = timedelta(hours=1)
SPREAD = {"p10": "2026-01-31T13:00:00Z", "p50": "2026-01-31T14:00:00Z", "p90": "2026-01-31T16:00:00Z"}
EXPECTED = {
    "energyKwh": 1,
    "gramsCo2e": 40,
    "gramsPerKwh": 36,
    "promise": {"start": SPREAD, "finish": SPREAD, "gramsCo2e": {"p10": 30, "p50": 40, "p90": 50}},
}


def due(deadline, phase="Waiting", uid="late"):
    """A job with a deadline, promised for four o'clock in nine of ten cases."""
    job = body({"phase": phase, "expected": EXPECTED}, uid=uid, name=uid)
    job["spec"]["schedule"] = {"deadline": deadline}
    return JobStates().of([job], {}, {})[0]


def test_jobs_are_counted_by_phase_and_by_what_holds_them():
    seen = observation(
        state({"phase": "Waiting"}, uid="a"), state({"phase": "Running"}, placement(), report(), uid="b")
    )
    held = {"a": Blocker("PushContended", "again"), "b": Blocker("HubFault", "x"), "c": Blocker("HubFault", "y")}
    figures = figures_of(seen, held, None)
    assert figures.jobs == dict.fromkeys(Phase, 0) | {Phase.WAITING: 1, Phase.RUNNING: 1}
    assert figures.held_jobs == {"PushContended": 1, "HubFault": 2}
    assert (figures.spokes, figures.zone_links, figures.budget_shares) == ({}, {}, {})


@pytest.mark.parametrize(
    ("deadline", "phase", "late"),
    [
        ("2026-01-31T15:00:00Z", "Waiting", 1),
        ("2026-01-31T15:00:00Z", "Running", 1),
        ("2026-01-31T15:00:00Z", "Succeeded", 0),
        ("2026-01-31T16:00:00Z", "Waiting", 0),
    ],
)
def test_a_job_is_late_where_its_promised_finish_is_after_its_deadline(deadline, phase, late):
    assert figures_of(observation(due(deadline, phase)), {}, None).late_jobs == late


def test_spokes_tell_their_silence_and_what_is_free():
    spokes = (spoke("a", free_gpus={"main": 3}), spoke("b", healthy=False, reason="Unreachable"), spoke("c"))
    heard = {"a": Heard(NOON - timedelta(seconds=30)), "b": Heard(NOON - HOUR), "c": Heard(None)}
    assert figures_of(observation(spokes=spokes, heard=heard), {}, None).spokes == {
        "a": SpokeFigures(True, 30.0, {"main": 3}),
        "b": SpokeFigures(False, 3600.0, {}),
        "c": SpokeFigures(True, None, {}),
    }


def test_pools_whose_hosts_sleep_tell_what_was_drawn_idle_and_what_was_saved():
    pools = [{"name": "main", "freeGpus": 3, "idleKwh": 1.5, "idleSavedKwh": 4.0}, {"name": "never", "freeGpus": 1}]
    bodies = [
        {"metadata": {"name": "a"}, "status": {"pools": pools}},
        {"metadata": {"name": "b"}, "status": {"pools": [{"name": "main", "idleKwh": "much"}]}},
        {"metadata": {"name": "c"}},
    ]
    found = idle_energy(bodies)
    assert list(found) == ["a"]
    spokes = figures_of(observation(spokes=(spoke("a"), spoke("b")), idle=found), {}, None).spokes
    assert (spokes["a"].idle_kwh, spokes["b"].idle_kwh) == ({"main": (1.5, 4.0)}, {})


def test_grid_and_budgets_are_those_of_the_last_plan():
    rules = (
        policy("default", residency={"anywhere": True}),
        policy("team", scope={"namespaces": ["ml-*"]}, budget={"carbon_kg_per_month": 10, "gpu_hours_per_month": 200}),
    )
    usage = {"ml-a": Usage(4.0, 50.0), "ml-b": Usage(5.0, 50.0), "other": Usage(99.0, 999.0)}
    planned_on = world([], [spoke("a"), spoke("b", zone="FR")], {"NO-NO1": [30] * 4}, policies=rules, usage=usage)
    figures = figures_of(observation(), {}, planned_on)
    assert figures.zone_links == {"NO-NO1": "forecast", "FR": "none"}
    assert figures.budget_shares == {("team", "carbon"): 0.9, ("team", "gpu-hours"): 0.5}


def test_what_a_cycle_found_is_what_prometheus_is_told_until_the_next(tmp_path):
    ledger = Ledger.at(tmp_path / "ledger.sqlite")
    metrics = Metrics(ledger)
    figures = FleetFigures(
        jobs={Phase.WAITING: 2},
        held_jobs={"PushContended": 1},
        late_jobs=1,
        spokes={'a"\n': SpokeFigures(True, 30.0, {"main": 3}, {"main": (1.5, 4)}), "b": SpokeFigures(False, None, {})},
        zone_links={"FR": "annual"},
        budget_shares={("team", "carbon"): 0.9},
        missed_runs={("team", "nightly"): 2},
    )
    metrics.leads(True)
    metrics.cycle_ended(0.1, CycleResult(0, 0, 0, None, figures=figures))
    metrics.cycle_ended(0.1, None)
    told = [line for line in generate_latest(metrics.registry).decode().splitlines() if "carbonfleet_" in line]
    ledger.close()
    assert {
        "carbonfleet_hub_leading 1.0",
        'carbonfleet_jobs{phase="Waiting"} 2.0',
        'carbonfleet_jobs_held{reason="PushContended"} 1.0',
        "carbonfleet_jobs_late 1.0",
        'carbonfleet_spoke_ready{spoke="a\\"\\n"} 1.0',
        'carbonfleet_spoke_ready{spoke="b"} 0.0',
        'carbonfleet_spoke_silent_seconds{spoke="a\\"\\n"} 30.0',
        'carbonfleet_spoke_free_gpus{pool="main",spoke="a\\"\\n"} 3.0',
        'carbonfleet_spoke_idle_kwh{pool="main",spoke="a\\"\\n"} 1.5',
        'carbonfleet_spoke_idle_saved_kwh{pool="main",spoke="a\\"\\n"} 4.0',
        'carbonfleet_zone_link{link="annual",zone="FR"} 1.0',
        'carbonfleet_budget_used_ratio{policy="team",unit="carbon"} 0.9',
        'carbonfleet_schedule_missed_runs{namespace="team",schedule="nightly"} 2.0',
    } <= set(told)
    assert not [line for line in told if line.startswith('carbonfleet_spoke_silent_seconds{spoke="b"')]
