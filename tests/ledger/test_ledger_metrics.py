"""What Prometheus scrapes is what the report says."""

import pytest
import requests
from ledger_values import NOON, entry, many, settled
from prometheus_client.parser import text_string_to_metric_families

from carbonfleet.hub.cycle import CycleResult
from carbonfleet.hub.metrics import Metrics
from carbonfleet.hub.observe import Blocker
from carbonfleet.ledger.report import report
from carbonfleet.ledger.store import By, Ledger, Query


def scrape(port: int) -> dict[tuple[str, ...], float]:
    """Samples by name and the values of their labels."""
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text
    families = text_string_to_metric_families(text)
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


@pytest.fixture
def ledger(tmp_path):
    made = Ledger.at(tmp_path / "ledger.sqlite")
    yield made
    made.close()


@pytest.fixture
def metrics(ledger):
    return Metrics(ledger)


@pytest.fixture
def port(metrics):
    served = metrics.serve("127.0.0.1:0")
    yield served.server_address[1]
    served.close()


def test_each_namespace_has_the_figures_of_the_report(ledger, port):
    ledger.record_all([entry(1), entry(2, namespace="worse", grams=150.0, baseline_grams=100.0)])
    seen = scrape(port)

    for line in report(ledger, By.NAMESPACE, Query(), NOON).lines:
        labels = (line.sums.group, line.sums.signal)
        assert seen["carbonfleet_ledger_emissions_grams", *labels] == line.sums.grams
        assert seen["carbonfleet_ledger_baseline_grams", *labels] == line.baseline_grams
        assert seen["carbonfleet_ledger_saved_grams", *labels] == line.saved_grams
        assert seen["carbonfleet_ledger_energy_kwh", *labels] == line.sums.energy_kwh
        assert seen["carbonfleet_ledger_attempts", *labels] == 1
    assert seen["carbonfleet_ledger_saved_grams", "worse", "average-lifecycle"] == -50.0


def test_the_figures_of_standards_and_counterfactuals_are_the_reports_too(ledger, port):
    ledger.record_all(many(60))
    seen = scrape(port)
    renamed = {"emissions_grams": "grams", "energy_doubt_kwh": "doubt_kwh", "attempts_settled": "settled"}
    renamed |= {"host_energy_kwh": "host_kwh", "estimated_energy_kwh": "estimated_kwh"}
    renamed |= {"scope2_location_based_kg": "ghg_scope2_location_based_kg"}
    figures = {name.removeprefix("carbonfleet_ledger_") for name, *_ in seen if name.startswith("carbonfleet_ledger_")}
    figures.remove("broken_lines")
    assert len(figures) == 20
    for line in report(ledger, By.NAMESPACE, Query(), NOON).lines:
        values, labels = line.values(), (line.sums.group, line.sums.signal)
        for figure in figures:
            assert seen[f"carbonfleet_ledger_{figure}", *labels] == values[renamed.get(figure, figure)], figure


def test_a_namespace_without_baseline_claims_no_saving(ledger, port):
    ledger.record(entry(baseline_grams=None))

    assert not [key for key in scrape(port) if key[0] == "carbonfleet_ledger_saved_grams"]


def test_a_settlement_shows_in_the_next_scrape(ledger, port):
    key = ("carbonfleet_ledger_emissions_grams", "ml", "average-lifecycle")
    ledger.record(entry())
    assert scrape(port)[key] == 100.0
    ledger.record(settled(entry(), grams=80.0))

    seen = scrape(port)
    assert seen[key] == 80.0
    assert seen["carbonfleet_ledger_attempts_settled", "ml", "average-lifecycle"] == 1


def test_cycles_are_counted_by_result_and_timed(metrics, port):
    metrics.cycle_ended(0.02, CycleResult(5, 2, 4, None))
    metrics.cycle_ended(0.2, CycleResult(1, 0, 1, None, Blocker("RepositoryUnreachable", "gone")))
    metrics.cycle_ended(3.0, None)
    seen = scrape(port)

    assert [seen["carbonfleet_cycles_total", result] for result in ("done", "troubled", "failed")] == [1, 1, 1]
    assert seen["carbonfleet_cycle_seconds_bucket", "0.25"] == 2
    assert seen["carbonfleet_cycle_seconds_sum",] == pytest.approx(3.22)
    assert (seen["carbonfleet_decisions_total",], seen["carbonfleet_intents_total",]) == (6, 2)
    assert seen["carbonfleet_status_writes_total",] == 5


@pytest.mark.parametrize("address", ["9090", "localhost:", ":9090", "127.0.0.1:http"])
def test_an_address_that_is_none_is_refused(metrics, address):
    with pytest.raises(ValueError, match="metrics are served at host:port"):
        metrics.serve(address)
