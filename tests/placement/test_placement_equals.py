"""Windows with nearly the least carbon count as equal: of them the cheaper, then the earlier is taken."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbonfleet.placement import Incumbent
from fixtures.placement_world import BARE, HOUR, NOON, forecast, job, policy, spoke, world
from fixtures.placement_world import explained_plan as plan

SHARE = replace(BARE, equal_share=0.01)
OFF = policy("default", residency={"anywhere": True}, tiers=[{"name": "standard", "minimum_gain_percent_per_hour": 0}])


def only(grids, spokes, share=SHARE, **asked):
    """The decision on one job, where a wait need save nothing."""
    (found,) = plan(world([job(**asked)], spokes, grids, policies=[OFF], assumptions=share), NOON)
    return found, found.window.cluster, (found.window.start - NOON) / HOUR


def two(oslo=2.0, quebec=2.0):
    """Two clean places at two prices."""
    return [spoke("oslo", "NO-NO1", price=oslo), spoke("quebec", "CA-QC", price=quebec)]


def test_of_two_equally_clean_places_the_cheaper_is_taken_though_it_is_a_hair_dirtier():
    grids = {"NO-NO1": [100] * 72, "CA-QC": [100.9] * 72}
    found, cluster, _ = only(grids, two(oslo=3.0))
    assert cluster == "quebec"
    assert [(one.cluster, one.reason, one.message) for one in found.candidates] == [
        ("quebec", "Chosen", "Within 1 % of the least carbon of 2 spokes."),
        (
            "oslo",
            "CountsAsEqual",
            "0.900 gCO2e less and 1.00 USD more: within 1 % the cheaper, then the earlier is taken.",
        ),
    ]


def test_a_place_that_is_dirtier_by_more_is_not_taken_for_its_price():
    assert only({"NO-NO1": [100] * 72, "CA-QC": [101.1] * 72}, two(oslo=3.0))[1] == "oslo"


def test_at_one_price_the_earlier_is_taken():
    found, _, hours = only({"NO-NO1": [100.5, 100, 100.9, *[100.2] * 70]}, [spoke("oslo")])
    assert hours == 0
    assert "which counts as equal" in found.message


def test_the_price_comes_before_the_time():
    night = [{"from_hour": 20, "to_hour": 22, "usd_per_gpu_hour": 1.0}]
    grids = {"NO-NO1": [100.5] * 72}
    assert only(grids, [spoke("oslo", prices_by_hour=night)])[2] == 8


COST = {"minimize": "cost"}


def test_who_minds_cost_takes_the_cleaner_of_what_costs_the_same_to_a_cent():
    grids = {"NO-NO1": [100] * 72, "CA-QC": [10] * 72}
    found, cluster, hours = only(grids, two(oslo=2.0, quebec=2.001), objective=COST)
    assert (cluster, hours) == ("quebec", 0)
    assert found.candidates[1].message == (
        "90.0 gCO2e more at the same price: of what costs the same to a cent the cleaner, then the earlier is taken."
    )
    assert only(grids, two(oslo=2.0, quebec=2.01), objective=COST)[1] == "oslo"


def test_who_minds_cost_waits_at_one_price_for_what_a_job_that_minds_carbon_would_wait_for():
    grid = {"NO-NO1": [100, 100, 60, *[59.8] * 10, *[100] * 60]}
    assert only(grid, [spoke("oslo")], objective=COST)[1:] == ("oslo", 2)
    _, _, hours = only({"NO-NO1": [100] * 20 + [99.9] + [100] * 60}, [spoke("oslo")], objective=COST)
    assert hours == 0


def test_a_promised_start_of_a_job_that_minds_cost_is_kept_while_it_is_clean():
    grid = {"NO-NO1": [100, 100, 60, *[100] * 70]}
    promised = Incumbent("oslo", "main", NOON + 2 * HOUR)
    assert only(grid, [spoke("oslo")], objective=COST, incumbent=promised)[2] == 2


@pytest.mark.parametrize("objective", [{}, COST, {"minimize": "composite", "carbon_price_usd_per_tonne": 50}], ids=str)
@pytest.mark.parametrize("usd", [2.0, 2.005, 0.125])
def test_small_changes_of_price_and_forecast_never_move_the_start_of_a_job_that_waits(objective, usd):
    """Prices and grid change by a thousandth from cycle to cycle and hour to hour; 18 to 21 h are clean and as good."""
    grid, dice = np.array([400.0] * 6 + [100.0] * 4 + [400.0] * 62), np.random.default_rng(4)
    starts = []
    for cycle in range(6):
        oslo = spoke("oslo", price=usd, prices_by_hour=by_hour(dice, usd) if objective else ())
        values = (grid * dice.normal(1, 0.001, grid.size))[cycle:]
        now = NOON + cycle * HOUR
        told = forecast("NO-NO1", values, start=now)
        (found,) = plan(world([job(objective=objective)], [oslo], [told], assumptions=SHARE), now)
        starts.append((found.window.start - NOON) / HOUR)
    assert starts == [6.0] * 6


def by_hour(dice, usd):
    """A day's prices by the hour, each off by less than a thousandth."""
    prices = enumerate((usd * dice.uniform(0.9991, 1.0009, 24)).tolist())
    return [{"from_hour": hour, "to_hour": hour + 1, "usd_per_gpu_hour": price} for hour, price in prices]


grams = st.lists(st.sampled_from([90, 99.2, 99.6, 100, 100.4, 101, 300]), min_size=24, max_size=24)


@given(
    st.lists(grams, min_size=3, max_size=3), st.lists(st.sampled_from([1.0, 2.0]), min_size=3, max_size=3), st.data()
)
@settings(max_examples=60)
def test_no_free_window_that_counts_as_equal_is_cheaper_or_as_cheap_and_earlier(days, prices, data):
    zones = ("NO-NO1", "CA-QC", "FR")
    places = [spoke(f"s{n}", zone, gpus=8, price=usd) for n, (zone, usd) in enumerate(zip(zones, prices, strict=True))]
    grids = dict(zip(zones, (day * 4 for day in days), strict=True))
    budget = data.draw(st.sampled_from([{}, {"carbon_budget_kg": 1e6}]))
    hours = data.draw(st.integers(1, 4))
    _, cluster, start = only(grids, places, hours=hours, objective=budget)
    windows = [
        (usd * hours, begin, f"s{n}", sum((grids[zone])[begin : begin + hours]))
        for n, (zone, usd) in enumerate(zip(zones, prices, strict=True))
        for begin in range(25)
    ]
    least = min(total for *_, total in windows)
    _, begin, name, _ = min(window for window in windows if window[3] <= least * 1.01 * (1 + 1e-12))
    assert (cluster, start) == (name, begin)
