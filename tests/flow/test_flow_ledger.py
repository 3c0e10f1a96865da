"""The ledger of a real hub: metrics while it works, and the settlement once the grid's values are final."""

import json
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from carbonfleet.api.job_status import Phase
from carbonfleet.cli import app
from carbonfleet.clock import Clock
from carbonfleet.ledger import EntryKind

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from carbon_servers import TOKEN, FakeElectricityMaps, FakePrices

from carbonfleet.local.ports import free_port
from fixtures.hub_process import GRAMS, SPEED, begin
from fixtures.kubeapi_server import eventually

ESTIMATE = 1.2
"""What the grid is thought to emit, over what it will turn out to have emitted."""
FIGURES = {
    "emissions_grams": "grams",
    "baseline_grams": "baseline_grams",
    "saved_grams": "saved_grams",
    "energy_kwh": "energy_kwh",
    "attempts": "attempts",
    "attempts_settled": "settled",
}


@pytest.fixture
def maps(stack):
    with FakeElectricityMaps(GRAMS, stack.clock.now, lambda zone, hour: GRAMS[zone]) as server:
        server.estimated_hours, server.estimate_factor = 48, ESTIMATE
        server.forecast_curve = lambda zone, issued, hour: ESTIMATE * GRAMS[zone]
        yield server


@pytest.fixture
def prices():
    """Norway's price is not the cluster file's 2.5."""
    with FakePrices(
        [{"cluster": "no-osl-1", "pool": "a100", "kind": "gpu-on-demand", "usdPerGpuHour": 1.25}]
    ) as server:
        yield server


@pytest.fixture
def port(stack, maps, prices) -> int:
    """The hub's metrics; its sources are the fake ones, and remember what they were told."""
    (stack.root / "token").write_text(TOKEN)
    quick = {"connectSeconds": 2, "retrySeconds": 0.1, "requestsPerMinute": 6000}
    source = {"type": "electricitymaps", "token": {"file": str(stack.root / "token")}}
    market = {"type": "price-server", "endpoint": {"url": prices.url, **quick}}
    settings = {
        "sources": [source | {"endpoint": {"url": maps.url, **quick}}],
        "prices": [market],
        "refresh": "1h",
        "store": f"sqlite:///{stack.root}/signals.sqlite",
    }
    stack.signals.write_text(yaml.safe_dump(settings))
    port = free_port()
    stack.options = ("--metrics", f"127.0.0.1:{port}")
    return port


def scrape(port: int, stack) -> dict[str, float]:
    """The hub's figures of our namespace, and those without labels."""
    try:
        text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text
    except requests.ConnectionError:
        return {}
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    own = {"namespace": stack.namespace, "signal": "average-lifecycle"}
    found = {sample.name: sample.value for sample in samples if sample.labels in ({}, own)}
    ready = {s.labels["zone"]: s.value for s in samples if s.name == "carbonfleet_signal_ready"}
    return found | {f"ready {zone}": value for zone, value in ready.items()}


def reported(stack) -> dict[str, float]:
    """The line of our namespace in `carbonfleet report`."""
    done = CliRunner().invoke(app, ["report", "--json", "--ledger", str(stack.state / "ledger.sqlite")])
    assert done.exit_code == 0, done.output
    return next(line for line in json.loads(done.stdout)["lines"] if line["group"] == stack.namespace)


def audited(stack) -> list[str]:
    """What an auditor finds who has an export of the ledger and a clone of the fleet repository."""
    export, clone = stack.root / "export.jsonl", stack.root / "auditors-clone"
    done = CliRunner().invoke(app, ["report", "export", str(export), "--ledger", str(stack.state / "ledger.sqlite")])
    assert done.exit_code == 0, done.output
    stack.git.git("clone", "--quiet", str(stack.git.repository), str(clone))
    done = CliRunner().invoke(app, ["report", "verify", str(export), "--fleet", str(clone)])
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def shown(port: int, stack) -> dict[str, float]:
    seen = scrape(port, stack)
    return {name: seen.get(f"carbonfleet_ledger_{figure}") for figure, name in FIGURES.items()}


def restart_later(stack, days: float) -> None:
    """The same hub on the same disk, so many days on."""
    stack.hubs[0].kill()
    stack.hubs.clear()
    stack.clock = Clock.starting_at(stack.clock.now() + timedelta(days=days), SPEED)
    stack.start_hub()


def test_metrics_and_report_agree_while_it_works_and_after_the_settlement(stack, port, maps):
    """One of the zones does not exist, which is told at the start and keeps its cluster out, and nothing else."""
    stack.edit("Mistype a zone", "clusters/ca-qc-1/cluster.yaml", "CA-QC", "CA-QB")
    begin(stack)
    eventually(lambda: scrape(port, stack).get("ready NO-NO1") == 1)
    assert scrape(port, stack)["ready CA-QB"] == 0
    assert "signals: electricitymaps/v3 CA-QB: UnknownZone" in stack.log()
    stack.submit("booked", "hold")
    running = stack.wait("booked", Phase.RUNNING)
    assert scrape(port, stack)["carbonfleet_decisions_total"] >= 1
    assert "carbonfleet_ledger_attempts" not in scrape(port, stack)
    chosen = running.status.candidates[0]
    assert (chosen.cluster, chosen.source) == ("no-osl-1", "electricitymaps/v3 (forecast)")
    assert (chosen.price_source, chosen.cost_usd) == ("price-server", pytest.approx(1.25 * 35 / 60, abs=0.01))

    (quebec,) = [candidate for candidate in running.status.candidates if candidate.cluster == "ca-qc-1"]
    assert quebec.reason == "NoSignal"
    assert "knows no zone CA-QB; did you mean CA-QC" in quebec.message

    stack.spokes.finish("booked")
    job = stack.wait("booked", Phase.SUCCEEDED)
    (first,) = stack.ledger("booked")
    assert not first.settled
    assert job.status.actual.grams_co2e == pytest.approx(first.grams, rel=0.01)
    eventually(lambda: shown(port, stack)["attempts"] == 1)
    assert shown(port, stack) == {name: reported(stack)[name] for name in FIGURES.values()}
    assert shown(port, stack)["grams"] == first.grams

    restart_later(stack, days=3)
    maps.now = stack.clock.now
    eventually(lambda: shown(port, stack)["settled"] == 1)
    before, settlement = stack.ledger("booked")
    assert before == first, "the first account stays as it was"
    assert (settlement.kind, settlement.settled, settlement.id) == (
        EntryKind.SETTLEMENT,
        True,
        f"settlement:{first.placement_id}:1",
    )
    assert settlement.operational_grams == pytest.approx(first.operational_grams / ESTIMATE, rel=1e-6)
    assert settlement.baseline_grams - first.embodied_grams == pytest.approx(
        (first.baseline_grams - first.embodied_grams) / ESTIMATE, rel=1e-6
    )
    assert len(maps.asked("past-range")) > 0
    figures = reported(stack)
    assert shown(port, stack) == {name: figures[name] for name in FIGURES.values()}
    assert figures["grams"] == pytest.approx(settlement.grams)
    *_, anchored, derived = audited(stack)
    assert (anchored, derived) == ("1 anchors, until line 1: all are here", "2 lines derive again from their evidence")
