"""Forecasts from history alone, corrected and continued ones, and their doubt."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import Forecast, complete, extend, hindcast, profile_forecast
from carbonfleet.forecast.seasonal import Seasonal
from carbonfleet.simulator.replay.baselines import level_profile
from fixtures.made_grids import START, made_grid

HOUR = timedelta(hours=1)
KIND = SignalKind.AVERAGE_LIFECYCLE


def issue(values, *, link: str = "forecast", start=START, doubt: float = 5.0, zone: str = "DE") -> Forecast:
    values = np.array(values, dtype=float)
    return Forecast(zone, KIND, start, HOUR, values, np.full(values.size, doubt), "test", link, start - HOUR)


def test_it_errs_less_than_the_seven_day_profile():
    grid = made_grid(zones=2, days=60)
    for row in range(2):
        cast = hindcast(grid.grams_per_kwh[row], START, 28 * 24, grid.slots - 72, 24)
        ours, theirs = [], []
        for i in range(cast.grams_per_kwh.shape[0]):
            hour = cast.first + i
            actual = grid.grams_per_kwh[row, hour : hour + 24]
            ours.append(cast.grams_per_kwh[i] - actual)
            theirs.append(level_profile(grid, hour, 24)[row] - actual)
        assert np.square(ours).mean() < np.square(theirs).mean()


def test_a_day_that_repeats_itself_is_forecast_as_it_is():
    day = 300 + 80 * np.cos(2 * np.pi * np.arange(24) / 24)
    values = np.tile(day, 40)
    cast = hindcast(values, START, 700, 800, 48)
    for row in (0, 50, 100):
        expected = np.tile(day, 60)[cast.first + row :][:48]
        assert cast.grams_per_kwh[row] == pytest.approx(expected, rel=0.01)


def test_weeks_that_repeat_themselves_are_forecast_as_they_are():
    hours = np.arange(42 * 24)
    values = 5 + 0.3 * np.cos(2 * np.pi * hours / 24) - 0.4 * (hours % 168 >= 120)
    seasonal = Seasonal(values)
    issues = np.arange(38 * 24, 39 * 24)
    expected = values[issues[:, None] + np.arange(72)]
    assert seasonal.forecast(issues) == pytest.approx(expected)


@pytest.mark.parametrize(("stays", "ahead"), [(0.999, 24), (0.0, 6)], ids=["for weeks", "for an hour"])
def test_how_long_a_departure_from_the_week_lasts_is_learned(stays, ahead):
    rng = np.random.default_rng(5)
    values = rng.normal(0, 0.1, 120 * 24)
    for hour in range(1, values.size):
        values[hour] += stays * values[hour - 1]
    learned, guessed = Seasonal(values), Seasonal(values)
    for end in range(11 * 24, 90 * 24 + 1, 24):
        learned.learn_day(end)
    assert learned.fit()
    assert guessed.fit()
    issues = np.arange(90 * 24, 116 * 24)
    errors = [seasonal.forecast(issues)[:, ahead] - values[issues + ahead] for seasonal in (learned, guessed)]
    assert np.square(errors[0]).mean() < 0.95 * np.square(errors[1]).mean()


@given(
    days=st.integers(2, 40),
    hours_since=st.integers(1, 72),
    noise=st.sampled_from([0.0, 0.02, 0.1, 0.3]),
    leap=st.sampled_from([1.5, 3.0, 7.0]),
    seed=st.integers(0, 9),
)
@settings(max_examples=40)
def test_after_a_leap_to_a_dirty_level_nothing_reads_clean(days, hours_since, noise, leap, seed):
    """The grid never fell by more than its noise, so no hour is forecast lower than that below the latest."""
    level = np.concatenate([np.full(days * 24, 60.0), np.full(hours_since, 60.0 * leap)])
    values = level * (1 + noise * np.random.default_rng(seed).uniform(-1, 1, level.size))
    forecast = profile_forecast("DE", KIND, values, START, START, 96 * HOUR)
    assert forecast.grams_per_kwh.min() >= values[-1] * (1 - noise) / (1 + noise) * 0.999


def test_a_grid_that_was_as_clean_before_may_be_forecast_so_again():
    values = np.tile(np.repeat([400.0, 60.0], 12), 30)[:-10]
    forecast = profile_forecast("DE", KIND, values, START, START, 24 * HOUR)
    assert forecast.grams_per_kwh.min() < 80


def test_doubt_is_the_error_of_earlier_forecasts_and_grows_with_distance():
    grid = made_grid(zones=1, days=90)
    values = grid.grams_per_kwh[0]
    cast = hindcast(values, START, 60 * 24, 80 * 24, 48)
    doubt = cast.doubt_grams_per_kwh.mean(axis=0)
    rows = np.arange(cast.grams_per_kwh.shape[0])
    for ahead in (0, 6, 24):
        error = values[cast.first + rows + ahead] - cast.grams_per_kwh[rows, ahead]
        assert 0.6 < doubt[ahead] / np.sqrt(np.square(error).mean()) < 1.7
    assert doubt[0] < doubt[6] < doubt[24]


def test_what_is_issued_at_an_hour_does_not_depend_on_how_many_later_ones_are_asked_for():
    values = made_grid(zones=1, days=50).grams_per_kwh[0]
    short, long = hindcast(values, START, 900, 900 + 48, 48), hindcast(values, START, 900, 900 + 240, 48)
    assert long.grams_per_kwh[:49] == pytest.approx(short.grams_per_kwh)


def test_hours_beyond_the_third_day_repeat_it():
    values = made_grid(zones=1, days=40).grams_per_kwh[0]
    cast = hindcast(values, START, 800, 801, 120).grams_per_kwh
    assert cast[:, 72:96] == pytest.approx(cast[:, 48:72])
    assert cast[:, 96:] == pytest.approx(cast[:, 48:72])


@pytest.mark.parametrize("hours", [24, 30, 100, 200, 250, 350, 500])
def test_a_short_history_still_gives_a_forecast(hours):
    values = made_grid(zones=1, days=30).grams_per_kwh[0, :hours]
    until = START + HOUR * hours
    forecast = profile_forecast("XA", KIND, values, until, until, timedelta(hours=96))
    assert forecast.start == until
    assert forecast.grams_per_kwh.size == 96
    assert forecast.link == "profile"
    assert forecast.observed_at == until - HOUR
    assert forecast.grams_per_kwh.min() > 0.5 * values.min()
    assert forecast.grams_per_kwh.max() < 1.5 * values.max()
    assert forecast.doubt_grams_per_kwh.min() > 0


def test_a_history_that_ends_some_hours_ago_is_carried_up_to_now():
    values = made_grid(zones=1, days=30).grams_per_kwh[0]
    until = START + HOUR * values.size
    fresh = profile_forecast("XA", KIND, values, until, until, timedelta(hours=10))
    later = profile_forecast("XA", KIND, values, until, until + timedelta(hours=3, minutes=20), timedelta(hours=7))
    assert later.start == until + 3 * HOUR
    assert later.grams_per_kwh == pytest.approx(fresh.grams_per_kwh[3:])


def test_an_hour_that_is_measured_already_is_not_in_doubt():
    values = made_grid(zones=1, days=30).grams_per_kwh[0]
    until = START + HOUR * values.size
    forecast = profile_forecast("XA", KIND, values, until, until - timedelta(minutes=30), timedelta(hours=24))
    assert forecast.start == until - HOUR
    assert (forecast.grams_per_kwh[0], forecast.doubt_grams_per_kwh[0]) == (values[-1], 0)


def test_gaps_take_the_day_before_and_too_many_are_refused():
    values = made_grid(zones=1, days=10).grams_per_kwh[0].copy()
    values[100:104] = np.nan
    whole = complete("XA", values)
    assert whole[100:104].tolist() == values[76:80].tolist()
    values[100:180] = np.nan
    with pytest.raises(ValueError, match="160 of 240 hours"):
        complete("XA", values)


@pytest.mark.parametrize("bad", [-1.0, np.inf])
def test_values_that_are_no_intensities_are_refused(bad):
    values = made_grid(zones=1, days=10).grams_per_kwh[0].copy()
    values[7] = bad
    with pytest.raises(ValueError, match="negative or infinite"):
        complete("XA", values)


def test_a_history_from_the_future_is_refused():
    values = made_grid(zones=1, days=10).grams_per_kwh[0]
    until = START + HOUR * values.size
    with pytest.raises(ValueError, match="later than now"):
        profile_forecast("XA", KIND, values, until, until - 5 * HOUR, timedelta(hours=24))


def test_a_forecast_that_ends_early_is_carried_on_by_the_profile_and_says_so():
    whole = extend(issue([100, 110, 120]), issue([90, 95, 100, 100, 100], link="profile", doubt=20))
    assert whole.link == "forecast+profile"
    assert whole.grams_per_kwh[:3].tolist() == [100, 110, 120]
    assert 100 < whole.grams_per_kwh[4] < whole.grams_per_kwh[3] < 120
    assert whole.doubt_grams_per_kwh.tolist() == [5, 5, 5, 20, 20]


def test_a_forecast_is_not_carried_on_by_another_zones_or_across_a_gap():
    with pytest.raises(ValueError, match="can't be carried on"):
        extend(issue([1, 2]), issue([1, 2, 3], zone="FR"))
    with pytest.raises(ValueError, match="does not meet"):
        extend(issue([1, 2]), issue([1, 2, 3], start=START + 3 * HOUR))


def test_a_forecast_long_enough_stays_as_it_is():
    whole = issue([1, 2, 3])
    assert extend(whole, issue([1, 2], link="profile")) is whole
