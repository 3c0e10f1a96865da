"""A month of many attempts: totals against an independent computation, to 1e-9."""

import math
from datetime import timedelta

import numpy as np
import pytest
from ledger_values import HOUR, NOON, many

from carbonfleet.ledger.emissions import EnergyUse, Intensities, emitted_grams, emitted_grams_each
from carbonfleet.ledger.store import By, Ledger, Query

COUNT = 3_000
"""benchmarks/ledger.py does the same with 100,000."""


def grid(hours: int = 31 * 24) -> Intensities:
    values = np.random.default_rng(1).uniform(5, 900, hours)
    return Intensities("NO-NO1", NOON.replace(hour=0), HOUR, values)


def by_hand(start, end, kwh: float, held: Intensities) -> float:
    """Hour by hour with exact fractions of time."""
    total, at, length = [], start, (end - start).total_seconds()
    while at < end:
        after = min(end, at.replace(minute=0, second=0, microsecond=0) + HOUR)
        index = min((at - held.start) // HOUR, held.grams_per_kwh.size - 1)
        total.append(kwh * (after - at).total_seconds() / length * float(held.grams_per_kwh[index]))
        at = after
    return math.fsum(total)


def test_integration_of_many_equals_hour_by_hour():
    entries, held = many(COUNT), grid()
    uses = [EnergyUse.constant(e.start, e.end, e.energy_kwh) for e in entries]
    wanted = np.array([by_hand(e.start, e.end, e.energy_kwh, held) for e in entries])

    assert emitted_grams_each(uses, held) == pytest.approx(wanted, rel=1e-9)


def test_many_at_once_are_each_as_alone():
    held = grid()
    times = NOON.timestamp() + np.array([0.0, 100.0, 5000.0, 5000.0, 9000.0])
    uses = [
        EnergyUse(times, np.array([0.0, 1.0, 1.5, 1.7, 4.0])),
        EnergyUse.constant(NOON, NOON, 3.0),
        EnergyUse.constant(NOON - timedelta(days=9), NOON + timedelta(days=99), 50.0),
    ]

    alone = [emitted_grams(use, held) for use in uses]
    assert emitted_grams_each(uses, held) == pytest.approx(alone, rel=1e-12)
    assert alone[1] == pytest.approx(3.0 * held.grams_per_kwh[12])
    assert emitted_grams_each([], held).size == 0


def test_a_month_in_the_ledger_adds_up(tmp_path):
    ledger, entries = Ledger.at(tmp_path / "ledger.sqlite"), many(COUNT)
    ledger.record_all(entries)
    end = NOON.replace(month=2, day=1, hour=0)
    [total] = ledger.sums(By.ALL, Query(until=end))
    ledger.close()

    inside = [e for e in entries if e.end < end]
    for name in ("grams", "energy_kwh", "operational_grams", "gpu_hours"):
        assert getattr(total, name) == pytest.approx(math.fsum(getattr(e, name) for e in inside), rel=1e-9)
    assert total.baseline_grams == pytest.approx(math.fsum(e.baseline_grams or 0.0 for e in inside), rel=1e-9)
