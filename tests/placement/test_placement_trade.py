"""What a choice trades is said: cost against carbon, and the carbon price at which it would change."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbonfleet.placement import frontier
from carbonfleet.placement import plan as planned
from fixtures.placement_world import NOON, job, spoke, world
from fixtures.placement_world import explained_plan as plan

ZONES = {"oslo": "NO-NO1", "paris": "FR", "ohio": "US-MIDA-PJM"}


def fleet(prices=(3.0, 2.5, 2.0), grams=(20, 60, 400), **asked):
    """One job and three spokes at constant prices and intensities."""
    places = [spoke(name, zone, price=usd) for (name, zone), usd in zip(ZONES.items(), prices, strict=True)]
    grids = {zone: [value] * 72 for zone, value in zip(ZONES.values(), grams, strict=True)}
    return world([job(**asked)], places, grids)


def test_a_clean_choice_says_below_which_carbon_price_a_cheaper_place_would_be_taken():
    (found,) = plan(fleet(), NOON)
    said = "paris/main would cost 0.50 USD less and emit 40.0 gCO2e more: "
    assert f"{said}the better choice below 12,500 USD a tonne of carbon." in found.message


def test_the_cheapest_choice_says_above_which_carbon_price_a_cleaner_place_would_be_taken():
    (found,) = plan(fleet(objective={"minimize": "cost"}), NOON)
    said = "paris/main would emit 340 gCO2e less and cost 0.50 USD more: "
    assert f"{said}the better choice above 1,471 USD a tonne of carbon." in found.message


def test_a_choice_that_is_cheapest_and_cleanest_says_nothing_of_carbon_prices():
    (found,) = plan(fleet(prices=(1.0, 2.0, 3.0)), NOON)
    assert "a tonne of carbon" not in found.message


@pytest.mark.parametrize(("price", "cluster"), [(12_400, "paris"), (12_600, "oslo"), (1_400, "ohio"), (1_500, "paris")])
def test_at_the_price_that_is_said_the_choice_does_change(price, cluster):
    (found,) = plan(fleet(objective={"minimize": "composite", "carbon_price_usd_per_tonne": price}), NOON)
    assert found.window.cluster == cluster


def test_the_frontier_leads_from_the_cheapest_to_the_cleanest():
    made = planned(fleet(prices=(3.0, 2.5, 2.6), grams=(20, 60, 400)), NOON)
    rows = [(window.cluster, window.cost_usd, window.grams_co2e) for window in frontier(made, made.decisions[0])]
    assert rows == [("paris", 2.5, 60), ("oslo", 3.0, 20)]


figures = st.lists(st.integers(1, 500), min_size=3, max_size=3)


@given(figures, figures)
@settings(max_examples=40)
def test_no_window_of_the_frontier_is_beaten_and_its_ends_are_the_cheapest_and_the_cleanest(cents, grams):
    prices = [cent / 100 for cent in cents]
    made = planned(fleet(prices=prices, grams=grams), NOON)
    rows = [(window.cost_usd, window.grams_co2e) for window in frontier(made, made.decisions[0])]
    assert rows == sorted(rows)
    assert [grams for _, grams in rows] == sorted((grams for _, grams in rows), reverse=True)
    assert rows[0][0] == min(prices)
    assert min(grams) <= rows[-1][1] <= min(grams) / 0.99


def tolerant(grams=(20, 60, 400)):
    """A job that takes the cleanest for at most 30 % more than the cheapest: Oslo is too dear for it."""
    return fleet(grams=grams, objective={"minimize": "carbon", "cost_tolerance_percent": 30})


def test_no_carbon_price_is_named_for_a_place_that_the_cost_tolerance_forbids():
    (found,) = plan(tolerant(), NOON)
    assert found.window.cluster == "paris"
    assert "the better choice below 1,471 USD a tonne of carbon" in found.message
    (found,) = plan(tolerant(grams=(20, 500, 400)), NOON)
    assert found.window.cluster == "ohio"
    assert "a tonne of carbon" not in found.message


def test_no_wait_is_weighed_for_a_window_that_the_cost_tolerance_forbids():
    hours = {"NO-NO1": [20] * 18 + [10] + [20] * 53, "US-MIDA-PJM": [400] * 72}
    places = [spoke("oslo", "NO-NO1", price=3.0), spoke("ohio", "US-MIDA-PJM", price=2.0)]
    asked = {"minimize": "carbon", "cost_tolerance_percent": 10}
    (found,) = plan(world([job(objective=asked)], places, hours), NOON)
    assert found.window.cluster == "ohio"
    assert "No later start" in found.message
    assert "Waiting until" not in found.message
