"""What the grid made of generation by fuel is worth beside Electricity Maps', on real hours of five zones."""

import sys
from pathlib import Path

import numpy as np
import pytest

from carbonfleet.simulator.backtest import OURS

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from generation_mix import MADE, ZONES, compared, grids, likeness

MEASURED = {
    "US-MIDA-PJM": (0.978, -59.1),
    "US-MIDW-MISO": (0.960, -79.7),
    "US-CAL-CISO": (0.961, -0.6),
    "US-TEX-ERCO": (0.973, -52.2),
    "US-NY-NYIS": (0.749, -1.5),
}
"""Correlation, and bias in g/kWh: medians rate the coal of the Midwest and Texas low; New York imports a quarter."""


@pytest.fixture(scope="module")
def theirs_and_made(data_folder):
    return grids(data_folder)


def test_made_series_are_like_theirs_by_zone(theirs_and_made):
    theirs, made = theirs_and_made
    for row, zone in enumerate(ZONES):
        found = likeness(made.grams_per_kwh[row], theirs.grams_per_kwh[row])
        assert (found.correlation, found.bias_grams_per_kwh) == (
            pytest.approx(MEASURED[zone][0], abs=0.001),
            pytest.approx(MEASURED[zone][1], abs=0.1),
        )
        assert found.unknown_hours <= 22


def test_hours_that_are_unknown_are_those_that_the_file_leaves_open(theirs_and_made):
    _, made = theirs_and_made
    assert np.isfinite(made.grams_per_kwh).mean() > 0.998


def ratio(theirs_and_made, zones, hours, every) -> float:
    result = compared(*theirs_and_made, zones, hours, 24, every)
    return result.of(MADE).share_percent / result.of(OURS).share_percent


def test_a_plan_on_the_mix_saves_what_one_on_theirs_saves(theirs_and_made):
    assert ratio(theirs_and_made, ZONES[2:3], 4, 97) > 0.95


@pytest.mark.soak
@pytest.mark.parametrize("hours", [1, 4])
def test_over_half_a_year_and_five_zones_too(theirs_and_made, hours):
    assert ratio(theirs_and_made, ZONES, hours, 24) > 0.99


@pytest.mark.soak
@pytest.mark.parametrize("zone", ZONES)
def test_and_within_each_zone_where_imports_are_few(theirs_and_made, zone):
    assert ratio(theirs_and_made, (zone,), 4, 24) > (0.95 if zone != "US-NY-NYIS" else 0.92)
