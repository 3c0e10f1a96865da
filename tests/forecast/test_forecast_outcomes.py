"""What became of plans that were made on earlier forecasts."""

from datetime import timedelta

import numpy as np
import pytest

from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import HOUR, Outcomes, PastForecasts, Shape, hindcast, outcomes, profile_forecast
from fixtures.made_grids import START, made_grid

DAYS = 20
NIGHT = np.tile(np.where(np.arange(24) < 6, 100.0, 300.0), DAYS + 6)
"""Clean from midnight to six."""
NOW_OR_NIGHT = Shape(run_hours=2, slack_hours=24, gain=1e-6, equal_share=0.0)


def past(cast=NIGHT, came=NIGHT, doubt=50.0, start=START):
    """A zone's forecasts of the same hours, issued hour by hour for twenty days."""
    rows = np.arange(DAYS * 24)[:, None] + np.arange(72)
    casts = cast[rows].astype(np.float32)
    return PastForecasts(start, casts, np.full((DAYS, 72), doubt, np.float32), came[: DAYS * 24])


def test_forecasts_that_come_true_leave_starts_and_intensities_as_planned():
    found = outcomes([past()], None, NOW_OR_NIGHT)
    waits = np.where(START.hour + np.arange(found.error.size) % 24 < 5, 0, 24 - np.arange(found.error.size) % 24)
    assert found.wait_hours.tolist() == waits.tolist()
    assert not found.shift_hours.any()
    assert not found.error.any()
    assert not found.home_error.any()


def test_an_error_is_that_of_the_planned_window_in_units_of_its_doubt():
    found = outcomes([past(came=NIGHT + 25)], past(came=NIGHT - 10), NOW_OR_NIGHT)
    assert found.error == pytest.approx(0.5)
    assert found.home_error == pytest.approx(-0.2)


def test_a_choice_among_zones_is_followed_to_where_it_ran():
    """Each hour one of two zones seems to be the cleaner one, by luck: the choice is worse than it was said to be."""
    rng = np.random.default_rng(2)
    level, at_once = np.full(NIGHT.size, 200.0), Shape(run_hours=1, slack_hours=0, gain=0.0, equal_share=0.0)
    zones = [past(cast=level + rng.normal(0, 20, level.size), came=level) for _ in range(2)]
    found = outcomes(zones, None, at_once)
    # The mean of the lesser of two standard normal values is -1/sqrt(pi).
    assert float(found.error.mean()) * 50 == pytest.approx(20 / np.sqrt(np.pi), abs=2)


def test_a_plan_that_is_made_again_starts_later_than_first_planned():
    """The next hour is always said to be clean, and never is: the job waits until it may wait no longer."""
    casts = np.full((DAYS * 24, 72), 300, np.float32)
    casts[:, 1] = 100
    known = PastForecasts(START, casts, np.full((DAYS, 72), 50, np.float32), np.full(DAYS * 24, 300.0))
    found = outcomes([known], None, Shape(run_hours=1, slack_hours=5, gain=0.0, equal_share=0.0))
    assert set(found.wait_hours) == {1}
    assert set(found.shift_hours) == {4}
    assert set(found.error) == {4}


def test_only_runs_that_have_ended_count_and_a_week_of_them_is_the_least():
    week = past()
    assert outcomes([week], None, NOW_OR_NIGHT).error.size == DAYS * 24 - 24 - 2 + 1
    short = PastForecasts(
        START, week.grams_per_kwh[:190], week.doubt_grams_per_kwh[:8], week.measured[:190]
    )  # seven days are 168 jobs
    assert outcomes([short], None, NOW_OR_NIGHT) is None
    assert outcomes([week, short], None, NOW_OR_NIGHT) is None


def test_zones_that_begin_at_different_hours_are_compared_hour_by_hour():
    later = PastForecasts(
        START + 48 * HOUR, past().grams_per_kwh[48:], past().doubt_grams_per_kwh[2:], past(came=NIGHT).measured[48:]
    )
    found = outcomes([past(), later], None, NOW_OR_NIGHT)
    assert found.error.size == (DAYS - 2) * 24 - 24 - 2 + 1
    assert not found.error.any()


def test_of_all_outcomes_those_count_most_that_are_recent_and_of_a_like_wait():
    jobs = 2000
    error = np.arange(jobs, dtype=float)
    wait = np.where(np.arange(jobs) % 2, 2.0, 20.0)
    every = Outcomes(wait, error / 100, error, -error, 0.5 ** ((jobs - 1 - error) / 480))
    like = every.like(2)
    assert np.median(like.error) > 1300
    assert set(like.wait_hours) == {2.0, 20.0}
    assert (like.wait_hours == 2).mean() > 0.9
    assert (like.home_error == -like.error).all()
    assert (like.shift_hours == like.error / 100).all()


def test_what_starts_now_is_not_put_off():
    every = Outcomes(np.array([0.0, 3.0]), np.array([0.0, 2.0]), np.zeros(2), np.zeros(2), np.ones(2))
    assert not every.like(0).shift_hours.any()
    assert set(every.like(1).shift_hours) == {2.0}


@pytest.mark.parametrize("issue", [24, 200, 40 * 24 + 5, 70 * 24])
def test_a_replay_has_the_earlier_forecasts_of_the_hub_to_the_last_bit(issue):
    grid = made_grid(zones=1, days=75)
    values = grid.grams_per_kwh[0]
    cast = hindcast(values, START, 24, 72 * 24, 24)
    replayed = cast.past(START + HOUR * issue)
    until = START + HOUR * issue
    hub = profile_forecast("DE", SignalKind.AVERAGE_LIFECYCLE, values[:issue], until, until, timedelta(days=1)).past
    if replayed is None:
        assert not hub.measured.size
        return
    assert (replayed.start, replayed.measured.tolist()) == (hub.start, hub.measured.tolist())
    assert replayed.grams_per_kwh.tobytes() == hub.grams_per_kwh.tobytes()
    days = -(-hub.measured.size // 24)
    assert replayed.doubt_grams_per_kwh[:days].tobytes() == hub.doubt_grams_per_kwh[:days].tobytes()
