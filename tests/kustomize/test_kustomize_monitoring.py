"""What watches the hub: every metric is documented, every alert has its metrics and its section of the runbook."""

import importlib.util
import json
import re
import shutil
import subprocess

import pytest
import yaml
from rendering import conformance_crds, prometheus, schema_problems

from carbonfleet.hub.metrics import Metrics
from carbonfleet.ledger.store import Ledger
from fixtures.rendered import KUSTOMIZE, overlay

MONITORING = KUSTOMIZE / "components" / "monitoring"
METRIC = re.compile(r"\bcarbonfleet_[a-z0-9_]+")


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    """The families that a hub serves."""
    ledger = Ledger.at(tmp_path_factory.mktemp("ledger") / "ledger.sqlite")
    yield list(Metrics(ledger).registry.collect())
    ledger.close()


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    """The hub with monitoring, by kind and name."""
    rendered = overlay(tmp_path_factory.mktemp("monitored"), ["base/hub"], ["monitoring"])
    return {(thing["kind"], thing["metadata"]["name"]): thing for thing in rendered}


@pytest.fixture(scope="module")
def alerts(things):
    groups = things["PrometheusRule", "carbonfleet"]["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def served_names(families):
    """What a query may name."""
    names = set()
    for family in families:
        names |= {"counter": {f"{family.name}_total"}, "histogram": {f"{family.name}_bucket"}}.get(
            family.type, {family.name}
        )
    return names


def table_of(families):
    """METRICS.md's rows."""
    lines = ["| Metric | Kind | What it says |", "|---|---|---|"]
    for family in sorted(families, key=lambda each: each.name):
        name = family.name + ("_total" if family.type == "counter" else "")
        lines.append(f"| `{name}` | {family.type} | {family.documentation} |")
    return "\n".join(lines)


def test_every_metric_stands_in_the_reference(families):
    expected = table_of(families)
    assert expected in (KUSTOMIZE / "METRICS.md").read_text(), f"METRICS.md should hold:\n{expected}"


def test_every_alert_asks_for_metrics_that_a_hub_serves_and_names_its_section_of_the_runbook(alerts, families):
    served = served_names(families)
    sections = re.findall(r"^## (\w+)$", (KUSTOMIZE / "RUNBOOK.md").read_text(), re.MULTILINE)
    assert sections == [alert["alert"] for alert in alerts]
    for alert in alerts:
        asked = set(METRIC.findall(alert["expr"]))
        assert asked, alert["alert"]
        assert asked <= served, alert["alert"]
        assert alert["annotations"]["runbook"] == f"RUNBOOK.md#{alert['alert'].lower()}"


def test_reasons_in_alerts_are_reasons_that_hold_a_job(alerts):
    holds = (KUSTOMIZE.parent / "crds" / "HOLDS.md").read_text()
    reasons = {
        reason
        for alert in alerts
        for found in re.findall(r'reason=~?"([^"]+)"', alert["expr"])
        for reason in found.split("|")
    }
    assert len(reasons) > 5
    assert not [reason for reason in reasons if f"| `{reason}` |" not in holds]


def test_the_dashboard_is_as_its_script_makes_it_and_asks_for_what_there_is(things, families):
    spec = importlib.util.spec_from_file_location("dashboard", MONITORING / "dashboard.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    mapped = things["ConfigMap", "carbonfleet-dashboard"]
    assert json.loads(mapped["data"]["carbonfleet.json"]) == script.dashboard()
    assert mapped["metadata"]["labels"]["grafana_dashboard"] == "1"
    queries = [target["expr"] for panel in script.dashboard()["panels"] for target in panel.get("targets", ())]
    assert {name for query in queries for name in METRIC.findall(query)} <= served_names(families)
    assert len(queries) > 10


def test_prometheus_scrapes_the_service_that_the_hub_has(things):
    endpoint = things["ServiceMonitor", "carbonfleet-hub"]["spec"]
    service = things["Service", "carbonfleet-hub-metrics"]
    assert endpoint["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [each["port"] for each in endpoint["endpoints"]] == [port["name"] for port in service["spec"]["ports"]]


def test_the_objects_match_the_prometheus_operator_s_definitions(things):
    crds = conformance_crds("prometheus-operator")
    if not crds:
        pytest.skip("set CARBONFLEET_CONFORMANCE_DIR to the folder with the Prometheus operator's CRDs")
    for name in (("ServiceMonitor", "carbonfleet-hub"), ("PrometheusRule", "carbonfleet")):
        assert schema_problems(crds, things[name]) == []


@pytest.mark.skipif(not prometheus("promtool"), reason="no promtool, of Debian's prometheus (see the Makefile)")
def test_the_rules_warn_of_what_they_are_for_and_of_nothing_else(things, tmp_path):
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(things["PrometheusRule", "carbonfleet"]["spec"]))
    shutil.copy(MONITORING / "rules.test.yaml", tmp_path)
    done = subprocess.run(
        [prometheus("promtool"), "test", "rules", "rules.test.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
