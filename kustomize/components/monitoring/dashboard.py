"""Writes Grafana's dashboard of a hub beside itself: `python kustomize/components/monitoring/dashboard.py`."""

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("carbonfleet.json")
WIDTH = 24
"""Columns of Grafana's grid."""
SOURCE = {"type": "prometheus", "uid": "${source}"}
ROWS: tuple[tuple[str, tuple[tuple[str, str, str, str, str], ...]], ...] = (
    # Panels of a row: kind, title, query, legend, unit.
    (
        "Fleet",
        (
            ("stat", "Hub leads", "max(carbonfleet_hub_leading)", "", "bool_yes_no"),
            ("stat", "Spokes that take work", "sum(carbonfleet_spoke_ready)", "", "short"),
            ("bargauge", "Free GPUs", "carbonfleet_spoke_free_gpus", "{{spoke}} {{pool}}", "short"),
            ("timeseries", "Silence of spokes", "carbonfleet_spoke_silent_seconds", "{{spoke}}", "s"),
        ),
    ),
    (
        "Queue",
        (
            ("timeseries", "Jobs by phase", "sum by (phase) (carbonfleet_jobs)", "{{phase}}", "short"),
            ("timeseries", "Jobs held, by reason", "sum by (reason) (carbonfleet_jobs_held)", "{{reason}}", "short"),
            ("stat", "Deadlines in danger", "sum(carbonfleet_jobs_late)", "", "short"),
        ),
    ),
    (
        "Carbon",
        (
            ("table", "What zones are read from", "carbonfleet_zone_link == 1", "{{zone}}: {{link}}", "short"),
            ("gauge", "Month's budgets used", "carbonfleet_budget_used_ratio", "{{policy}} {{unit}}", "percentunit"),
            ("timeseries", "Energy", "sum by (namespace) (carbonfleet_ledger_energy_kwh)", "{{namespace}}", "kwatth"),
        ),
    ),
    (
        "Savings",
        (
            ("stat", "Emitted, gCO2e", "sum(carbonfleet_ledger_emissions_grams)", "", "massg"),
            ("stat", "Saved against the baseline", "sum(carbonfleet_ledger_saved_grams)", "", "massg"),
            (
                "timeseries",
                "Share of the baseline that was saved",
                "sum by (namespace) (carbonfleet_ledger_saved_grams)"
                " / sum by (namespace) (carbonfleet_ledger_baseline_grams)",
                "{{namespace}}",
                "percentunit",
            ),
        ),
    ),
    (
        "Hub",
        (
            (
                "timeseries",
                "Planning cycles, 99th percentile",
                "histogram_quantile(0.99, sum by (le) (rate(carbonfleet_cycle_seconds_bucket[5m])))",
                "",
                "s",
            ),
            (
                "timeseries",
                "Cycles by result",
                "sum by (result) (rate(carbonfleet_cycles_total[5m]))",
                "{{result}}",
                "ops",
            ),
            ("timeseries", "Statuses written", "sum(rate(carbonfleet_status_writes_total[5m]))", "", "ops"),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    for row, (title, members) in enumerate(ROWS):
        top, width = row * 9, WIDTH // len(members)
        panels.append({"type": "row", "title": title, "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1}})
        for column, (kind, name, query, legend, unit) in enumerate(members):
            panels.append(
                {
                    "type": kind,
                    "title": name,
                    "datasource": SOURCE,
                    "gridPos": {"x": column * width, "y": top + 1, "w": width, "h": 8},
                    "targets": [{"refId": "A", "expr": query, "legendFormat": legend, "datasource": SOURCE}],
                    "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
                }
            )
    for number, panel in enumerate(panels, start=1):
        panel["id"] = number
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    return {
        "title": "carbonfleet",
        "uid": "carbonfleet",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": [source]},
        "panels": panels,
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(dashboard(), indent=1) + "\n")
