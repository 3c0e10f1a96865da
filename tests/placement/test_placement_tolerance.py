"""A cost tolerance: the cleanest window that costs at most so much more than the cheapest that is free."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbonfleet.placement import Incumbent, Outcome, Reservation
from fixtures.placement_world import HOUR, NOON, TIERS, job, policy, spoke, world
from fixtures.placement_world import explained_plan as plan

PRICES = {"oslo": 3.0, "paris": 2.1, "ohio": 2.0}
ZONES = {"oslo": "NO-NO1", "paris": "FR", "ohio": "US-MIDA-PJM"}
GRIDS = {"NO-NO1": [30] * 96, "FR": [60] * 96, "US-MIDA-PJM": [400] * 96}


def fleet(gpus=8):
    """A clean dear place, a dirty cheap one, and one between."""
    return [spoke(name, ZONES[name], price=usd, gpus=gpus) for name, usd in PRICES.items()]


def placed(*jobs, policies=(), **more):
    """The clusters of the jobs by name."""
    rules = [policy("default", residency={"anywhere": True}, tiers=TIERS), *policies]
    return {found.name: found for found in plan(world(jobs, fleet(), GRIDS, policies=rules, **more), NOON)}


@pytest.mark.parametrize(
    ("percent", "cluster"), [(None, "oslo"), (0, "ohio"), (4, "ohio"), (5, "paris"), (49, "paris"), (50, "oslo")]
)
def test_the_cleanest_place_within_the_tolerance_is_taken(percent, cluster):
    found = placed(job(objective={"cost_tolerance_percent": percent}))["job"]
    assert found.window.cluster == cluster


def test_a_place_beyond_the_tolerance_says_so():
    found = placed(job(objective={"cost_tolerance_percent": 10}))["job"]
    oslo = next(candidate for candidate in found.candidates if candidate.cluster == "oslo")
    assert (oslo.reason, oslo.message) == (
        "CostTolerance",
        "It would cost 3.00 USD, over 10 % more than the cheapest that is free for it.",
    )


def test_the_cheapest_is_that_which_is_free():
    full = Reservation("other", "ml", "ohio", "main", 8, NOON, NOON + 72 * HOUR)
    found = placed(job(objective={"cost_tolerance_percent": 3}), reservations=(full,))["job"]
    assert (found.outcome, found.window.cluster) == (Outcome.START, "paris")


def test_of_the_tolerances_of_job_and_policies_the_least_holds():
    limits = [
        policy("money", scope={"namespaces": ["ml"]}, objective={"cost_tolerance_percent": 6}),
        policy("other", scope={"namespaces": ["elsewhere"]}, objective={"cost_tolerance_percent": 0}),
    ]
    jobs = [job(f"job-{percent}", objective={"cost_tolerance_percent": percent}) for percent in (None, 1, 60)]
    found = placed(*jobs, policies=limits)
    assert {name: one.window.cluster for name, one in found.items()} == {
        "job-None": "paris",
        "job-1": "ohio",
        "job-60": "paris",
    }


@pytest.mark.parametrize(
    ("own", "said", "cluster"),
    [
        (None, "cost", "ohio"),
        ("carbon", "cost", "oslo"),
        (None, "carbon", "oslo"),
        (None, None, "oslo"),
        ("cost", None, "ohio"),
    ],
)
def test_what_a_job_leaves_open_its_policies_say(own, said, cluster):
    found = placed(job(objective={"minimize": own}), policies=[policy("aim", objective={"minimize": said})])["job"]
    assert found.window.cluster == cluster


def test_a_carbon_price_of_a_policy_counts_where_the_job_names_none():
    aim = policy("aim", objective={"minimize": "composite", "carbon_price_usd_per_tonne": 100_000})
    found = placed(
        job("theirs", objective={"minimize": None}),
        job("own", objective={"minimize": "composite", "carbon_price_usd_per_tonne": 1}),
        policies=[aim],
    )
    assert {name: one.window.cluster for name, one in found.items()} == {"theirs": "oslo", "own": "ohio"}


def test_a_spoke_without_a_price_is_out_where_a_tolerance_holds():
    places = [*fleet(), spoke("quebec", "CA-QC", price=None)]
    (found,) = plan(world([job(objective={"cost_tolerance_percent": 50})], places, GRIDS | {"CA-QC": [1] * 96}), NOON)
    assert found.window.cluster == "oslo"


def test_a_cut_run_keeps_the_tolerance_too():
    cut = {"max_delay": "12h", "interruptible": {"minimum_run": "1h", "overhead": "0s"}}
    grids = GRIDS | {"NO-NO1": [200, 1] * 48, "FR": [90, 80] * 48}
    jobs = [job("cut", hours=2, schedule=cut, objective={"cost_tolerance_percent": 10})]
    (found,) = plan(world(jobs, fleet(), grids), NOON)
    assert found.window.cluster == "paris"


def test_a_running_job_moves_to_no_place_beyond_its_tolerance():
    cut = {"interruptible": {"minimum_run": "1h", "overhead": "0s"}}
    runs = Incumbent("ohio", "main", NOON - 3 * HOUR, running=True, since=NOON - 3 * HOUR)
    held = Reservation("uid-ml-job", "ml", "ohio", "main", 1, NOON - 3 * HOUR, NOON + 9 * HOUR)

    def moved(percent):
        asked = job(
            hours=12,
            schedule=cut,
            incumbent=runs,
            remaining_fraction=0.75,
            objective={"cost_tolerance_percent": percent},
        )
        (found,) = plan(world([asked], fleet(), GRIDS, reservations=(held,)), NOON)
        return found.window.cluster

    assert [moved(percent) for percent in (0, 20, 100)] == ["ohio", "paris", "oslo"]


prices = st.floats(0.5, 5).map(lambda usd: round(usd, 2))


@given(st.lists(prices, min_size=3, max_size=3), st.lists(st.integers(1, 900), min_size=3, max_size=3), st.data())
@settings(max_examples=60)
def test_no_job_of_a_crowded_queue_costs_more_than_its_tolerance_allows_beside_any_free_place(usd, grams, data):
    places = [spoke(name, ZONES[name], price=price, gpus=2) for name, price in zip(PRICES, usd, strict=True)]
    grids = {zone: [gram] * 96 for zone, gram in zip(ZONES.values(), grams, strict=True)}
    percents = data.draw(st.lists(st.sampled_from([0, 5, 30, 200]), min_size=1, max_size=8))
    jobs = [job(f"job-{n}", hours=2, objective={"cost_tolerance_percent": p}) for n, p in enumerate(percents)]
    for found, percent in zip(plan(world(jobs, places, grids), NOON), percents, strict=True):
        feasible = [candidate.window.cost_usd for candidate in found.candidates if candidate.window is not None]
        assert found.window.cost_usd <= min(feasible) * (1 + percent / 100) + 0.011
