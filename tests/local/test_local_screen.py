"""What the demo shows fits into a terminal of 80 columns, with every word whole."""

import io

import pytest
from rich.console import Console

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.local.screen import Screen

SPEC = {
    "workload": {"model": "acme/base", "dataset": {"name": "acme/data"}},
    "resources": {"duration": "2h"},
    "residency": {"dataClass": "public"},
}
RAN = {
    "phase": "Succeeded",
    "cluster": "no-osl-1",
    "when": "12-16 03:05",
    "saved": "1.14 kg (92 %)",
    "progress": {"step": 60, "totalSteps": 60, "initialValidationLoss": 6.6358, "validationLoss": 2.1519},
    "actual": {"energyKwh": 2.041, "gramsCo2e": 99.12, "gramsPerKwh": 34.4, "baselineGramsCo2e": 1237},
}
FILTERED = {"verdict": "Filtered", "message": "The job allows us-east-2 only; ca-qc-1 is in ca-central-1."}


def job(name, **status):
    """A job as the hub shows it."""
    body = {"metadata": {"name": name, "namespace": "team-a"}, "spec": SPEC, "status": status}
    return CarbonTrainingJob.model_validate(body)


@pytest.fixture
def shown():
    """A terminal of 80 columns and what is on it."""
    out = io.StringIO()
    return Screen(Console(file=out, width=80, force_terminal=True, color_system=None)), out


def test_the_table_of_jobs_fits(shown):
    screen, out = shown
    screen.results([job("unconstrained", **RAN), job("blocked", phase="Blocked")], "a note")
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert any("no-osl-1 12-16 03:05 6.64>2.15 2.04  99.1    1,237 1.14 kg (92 %)" in line for line in lines), lines
    assert any(line.startswith("blocked       Blocked") for line in lines)


def test_a_candidate_s_figures_are_whole_and_only_its_reason_wraps(shown):
    screen, out = shown
    chosen = {"verdict": "Chosen", "start": "2025-12-16T07:00:00Z", "gramsCo2e": 489.2, "costUsd": 4.17}
    candidates = [{"cluster": "us-oh-1", **chosen}, {"cluster": "ca-qc-1", **FILTERED}]
    screen.decision(job("waits", phase="Waiting", summary="Starts at seven.", candidates=candidates))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "489  4.17" in text
    assert " ".join(text.partition("ca-qc-1")[2].split()).endswith("ca-qc-1 is in ca-central-1.")
