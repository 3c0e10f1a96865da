"""Data that must come in takes time, and GPUs of one's own cost their electricity where no price is declared."""

from dataclasses import replace
from datetime import timedelta

import pytest

from carbonfleet.placement import Incumbent, Outcome, Reservation
from fixtures.placement_world import HOUR, NOON, job, spoke, world
from fixtures.placement_world import explained_plan as plan

GRID = {"NO-NO1": [50] * 96, "US-MIDA-PJM": [400] * 96, "FR": [60] * 96}
DATA = {"size_gib": 1000.0, "region": "ohio-region"}


def only(spokes, grids=GRID, **asked):
    """The decision on one job."""
    (found,) = plan(world([job(**asked)], spokes, grids), NOON)
    return found


def lasted(found):
    """How long the run takes."""
    return found.window.end - found.window.start


@pytest.mark.parametrize(
    ("gib_per_hour", "dataset", "hours"),
    [
        (None, DATA, 2),
        (500, DATA, 4),
        (4000, DATA, 2.25),
        (500, {"size_gib": 1000.0}, 4),
        (500, DATA | {"region": "oslo-region"}, 2),
        (500, {}, 2),
    ],
)
def test_data_that_lies_elsewhere_comes_in_before_the_run(gib_per_hour, dataset, hours):
    found = only([spoke("oslo", ingress_gib_per_hour=gib_per_hour)], hours=2, dataset=dataset)
    assert lasted(found) == timedelta(hours=hours)


@pytest.mark.parametrize(("runs", "known"), [(0, "as declared"), (4, "measured over 4 runs")])
def test_a_decision_says_how_long_its_data_takes_and_how_that_is_known(runs, known):
    place = replace(spoke("oslo", ingress_gib_per_hour=250), ingress_runs=runs)
    told = f"Its 1,000 GiB of data come in first: 4 h at 250 GiB an hour, {known}."
    assert told in only([place], hours=2, dataset=DATA).message
    assert "come in first" not in only([place], hours=2).message


def test_a_deadline_counts_the_time_that_data_takes():
    spokes = [spoke("oslo", ingress_gib_per_hour=250), spoke("ohio", "US-MIDA-PJM", ingress_gib_per_hour=250)]
    relaxed = only(spokes, hours=2, dataset=DATA, schedule={"deadline": NOON + 7 * HOUR})
    pressed = only(spokes, hours=2, dataset=DATA, schedule={"deadline": NOON + 5 * HOUR})
    assert (relaxed.window.cluster, lasted(relaxed)) == ("oslo", 6 * HOUR)
    assert (pressed.window.cluster, lasted(pressed)) == ("ohio", 2 * HOUR)
    assert "would end 2026-01-31 18:00 UTC at the earliest" in pressed.candidates[1].message


def test_a_running_job_does_not_fetch_its_data_again():
    cut = {"interruptible": {"minimum_run": "1h", "overhead": "0s"}}
    runs = Incumbent("oslo", "main", NOON - 4 * HOUR, running=True, since=NOON - 4 * HOUR)
    held = Reservation("uid-ml-job", "ml", "oslo", "main", 1, NOON - 4 * HOUR, NOON + 9 * HOUR)
    asked = job(hours=4, schedule=cut, incumbent=runs, remaining_fraction=0.5, dataset=DATA)
    (found,) = plan(world([asked], [spoke("oslo", ingress_gib_per_hour=100)], GRID, reservations=(held,)), NOON)
    assert (found.outcome, lasted(found)) == (Outcome.KEEP, 2 * HOUR)


def test_own_gpus_without_a_price_cost_their_electricity():
    found = only([spoke("oslo", price=None, pue=1.5, electricity_usd_per_kwh=0.2)], hours=3, gpus=2)
    assert found.window.cost_usd == pytest.approx(1.0 * 2 * 3 * 1.5 * 0.2)


def test_a_declared_price_stands_over_that_of_electricity():
    assert only([spoke("oslo", price=4.0, electricity_usd_per_kwh=0.2)]).window.cost_usd == 4.0


def test_the_hours_that_a_price_does_not_cover_cost_their_electricity():
    day = [{"from_hour": 12, "to_hour": 14, "usd_per_gpu_hour": 9.0}]
    at = {"schedule": {"max_delay": "0s"}}
    place = spoke("oslo", price=None, electricity_usd_per_kwh=0.5, prices_by_hour=day)
    assert only([place], hours=3, **at).window.cost_usd == pytest.approx(9.0 * 2 + 0.5)


def test_run_here_now_here_at_night_or_burst_to_a_clean_cloud_is_one_answer():
    """Own GPUs on a dirty grid beside a cloud's on a clean one: three rows of grams and dollars."""
    own = spoke("lab", "US-MIDA-PJM", price=None, electricity_usd_per_kwh=0.1)
    grids = {"US-MIDA-PJM": [400] * 8 + [200] * 8 + [400] * 80, "NO-NO1": [30] * 96}
    urgent = {"schedule": {"max_delay": "0s"}}
    at_once = only([own, spoke("cloud", price=3.0)], grids, objective={"minimize": "cost"}, hours=4, **urgent)
    by_cost = only([own, spoke("cloud", price=3.0)], grids, objective={"minimize": "cost"}, hours=4)
    by_carbon = only([own, spoke("cloud", price=3.0)], grids, hours=4)
    tolerant = only([own, spoke("cloud", price=3.0)], grids, hours=4, objective={"cost_tolerance_percent": 50})
    assert [(found.window.cluster, found.window.start) for found in (at_once, by_carbon, by_cost, tolerant)] == [
        ("lab", NOON),
        ("cloud", NOON),
        ("lab", NOON + 8 * HOUR),
        ("lab", NOON + 8 * HOUR),
    ]


def test_a_job_that_minds_cost_may_use_gpus_that_cost_their_electricity():
    found = only([spoke("oslo", price=None)], objective={"minimize": "cost"})
    priced = only([spoke("oslo", price=None, electricity_usd_per_kwh=0.1)], objective={"minimize": "cost"})
    assert (found.outcome, priced.outcome) == (Outcome.BLOCKED, Outcome.START)


def test_whoever_begins_where_hosts_may_sleep_is_planned_with_the_time_that_they_take_to_wake():
    def slow(place):
        pools = tuple(pool.model_copy(update={"wake_time": timedelta(minutes=30)}) for pool in place.facts.pools)
        return replace(place, facts=place.facts.model_copy(update={"pools": pools}))

    deadline = {"deadline": NOON + 2.25 * HOUR}
    assert lasted(only([slow(spoke("oslo"))], hours=2)) - lasted(only([spoke("oslo")], hours=2)) == timedelta(
        minutes=30
    )
    spokes = [slow(spoke("oslo")), spoke("ohio", "US-MIDA-PJM")]
    assert only(spokes, hours=2).window.cluster == "oslo"
    assert only(spokes, hours=2, schedule=deadline).window.cluster == "ohio"
