"""Carbon intensity from generation by fuel, on tiny worked mixes."""

import numpy as np
import pytest

from carbonfleet.api.signal import SignalKind
from carbonfleet.signals.sources.generation.mix import (
    DIRECT_GRAMS_PER_KWH,
    LIFECYCLE_GRAMS_PER_KWH,
    Fuel,
    mix_intensity,
)

LIFECYCLE, DIRECT = SignalKind.AVERAGE_LIFECYCLE, SignalKind.AVERAGE_DIRECT
NAN = float("nan")


def grams(kind=LIFECYCLE, **energy) -> list[float | None]:
    found = mix_intensity([Fuel(name) for name in energy], np.array(list(energy.values()), dtype=float), kind)
    return [None if np.isnan(value) else round(float(value), 6) for value in found]


def test_a_mix_weighs_each_fuels_factor_by_its_energy():
    assert grams(coal=[30, 0], nuclear=[70, 100]) == [(30 * 820 + 70 * 12) / 100, 12.0]


def test_direct_emissions_leave_out_what_building_and_fuel_supply_cause():
    assert grams(DIRECT, gas=[50], hydro=[50]) == [185.0]


def test_a_marginal_intensity_follows_from_no_mix():
    with pytest.raises(KeyError):
        grams(SignalKind.MARGINAL, gas=[1])


def test_net_output_below_zero_counts_as_zero():
    assert grams(gas=[100, 100], solar=[-5, 100]) == [490.0, (490 + 48) / 2]


def test_an_hour_in_which_plants_draw_as_much_as_others_make_is_unknown():
    """Signs that are turned would leave what little had the other one."""
    assert grams(gas=[100, -100, -20], solar=[-5, 5, 100]) == [490.0, None, 48.0]


def test_a_fuel_that_cannot_be_read_matters_by_what_was_usual_whatever_the_rest_is_counted_in():
    found = mix_intensity([Fuel.COAL, Fuel.HYDRO], np.array([[NAN], [9e6]]), LIFECYCLE, np.array([1e4, 9e3]))
    assert np.isnan(found).all()


def test_an_hour_without_a_fuel_that_matters_is_unknown_rather_than_clean():
    assert grams(coal=[50, NAN, 50], hydro=[50, 50, 50]) == [422.0, None, 422.0]


def test_a_fuel_that_hardly_matters_may_be_missing():
    assert grams(gas=[100, 100, 100], oil=[0.5, 0.5, NAN])[2] == 490.0


def test_an_hour_mostly_of_unnamed_fuels_is_unknown():
    assert grams(other=[20, 30], hydro=[80, 70]) == [(20 * 655 + 80 * 24) / 100, None]


def test_an_hour_far_below_the_usual_output_lacks_plants():
    """Zeros that stand for reports that have not come."""
    assert grams(coal=[40, 40, 40, 0], hydro=[60, 60, 60, 20])[3] is None


def test_an_hour_without_any_output_is_unknown():
    assert grams(coal=[0, 10]) == [None, 820.0]


def test_no_fuel_and_no_hour_give_nothing():
    assert mix_intensity([], np.empty((0, 0)), LIFECYCLE).size == 0
    assert grams(coal=[]) == []


def test_every_fuel_has_both_factors_and_direct_never_exceeds_lifecycle():
    assert set(LIFECYCLE_GRAMS_PER_KWH) == set(DIRECT_GRAMS_PER_KWH) == set(Fuel)
    assert all(DIRECT_GRAMS_PER_KWH[fuel] <= LIFECYCLE_GRAMS_PER_KWH[fuel] for fuel in Fuel)


def test_a_mix_lies_between_its_cleanest_and_its_dirtiest_fuel_whatever_is_missing():
    random = np.random.default_rng(7)
    for _ in range(300):
        fuels = random.choice(list(Fuel), size=random.integers(1, 9), replace=False)
        energy = {}
        for fuel in fuels:
            values = random.normal(50, 60, 48)
            values[random.random(48) < 0.1] = random.choice([NAN, 0.0, -1e6, 1e7])
            energy[Fuel(fuel)] = values
        for kind, factors in ((LIFECYCLE, LIFECYCLE_GRAMS_PER_KWH), (DIRECT, DIRECT_GRAMS_PER_KWH)):
            found = mix_intensity(list(energy), np.array(list(energy.values())), kind)
            bounds = [factors[fuel] for fuel in energy]
            known = found[np.isfinite(found)]
            assert found.shape == (48,)
            assert ((known >= min(bounds) - 1e-6) & (known <= max(bounds) + 1e-6)).all()
