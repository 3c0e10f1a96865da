"""Energy times intensity, against sums done another way."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbonfleet.ledger.emissions import EnergyUse, Intensities, emitted_grams, mean_grams_per_kwh

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def intensities(*values: float, start: datetime = NOON) -> Intensities:
    return Intensities("NO-NO1", start, HOUR, np.array(values, dtype=float))


def test_constant_power_weighs_each_hour_by_its_part():
    use = EnergyUse.constant(NOON + HOUR / 2, NOON + 2 * HOUR, kwh=3.0)

    assert emitted_grams(use, intensities(100, 200, 900)) == pytest.approx(1.0 * 100 + 2.0 * 200)


def test_pue_multiplies_the_machines_energy():
    use = EnergyUse.constant(NOON, NOON + HOUR, kwh=2.0)

    assert emitted_grams(use, intensities(50), pue=1.5) == pytest.approx(150)


def test_energy_that_was_used_in_a_dirty_hour_counts_as_dirty():
    times = np.array([0, 3600, 7200]) + NOON.timestamp()
    use = EnergyUse(times, np.array([0.0, 0.5, 3.0]))

    assert emitted_grams(use, intensities(100, 400)) == pytest.approx(0.5 * 100 + 2.5 * 400)
    assert mean_grams_per_kwh(use, intensities(100, 400)) == pytest.approx((50 + 1000) / 3)


def test_time_beyond_the_data_is_not_free():
    use = EnergyUse.constant(NOON - HOUR, NOON + 3 * HOUR, kwh=4.0)

    assert emitted_grams(use, intensities(100, 300)) == pytest.approx(100 + 100 + 300 + 300)


@given(
    st.lists(st.floats(0, 1000), min_size=1, max_size=48),
    st.floats(0, 40),
    st.floats(0.1, 30),
    st.floats(0, 100),
)
def test_integration_equals_a_minute_by_minute_sum(values, begin_hours, length_hours, kwh):
    start = NOON + timedelta(minutes=round(begin_hours * 60))
    minutes = max(1, round(length_hours * 60))
    use = EnergyUse.constant(start, start + timedelta(minutes=minutes), kwh)

    each = [min(int((start - NOON) / HOUR + m / 60), len(values) - 1) for m in range(minutes)]
    by_minute = sum(values[i] for i in each) * kwh / minutes

    assert emitted_grams(use, intensities(*values)) == pytest.approx(by_minute, rel=1e-6, abs=1e-6)
