"""A threshold holds over the mean of a run, and what a job does that finds no window below it is its own choice."""

from datetime import timedelta

from carbonfleet.placement import Outcome
from fixtures.placement_world import HOUR, NOON, job, spoke, world
from fixtures.placement_world import explained_plan as plan

SWINGS = [10, 400, 300, 40, 60, 400, *[400] * 60]


def start_of(grids, spokes=None, **schedule):
    """When and where a job of two hours starts that may wait for eight."""
    places = spokes or [spoke("oslo", gpus=8)]
    snapshot = world([job(hours=2, schedule={"max_delay": "8h"} | schedule)], places, grids)
    (decision,) = plan(snapshot, NOON)
    return decision, (decision.window.start - NOON) / HOUR, decision.window.cluster


def test_a_clean_first_hour_does_not_make_up_for_a_run_above_the_threshold():
    decision, hours, _ = start_of({"NO-NO1": SWINGS}, max_intensity_grams_per_kwh=50)
    assert (decision.outcome, hours, decision.window.grams_per_kwh) == (Outcome.WAIT, 3, 50)


def test_a_dirty_hour_within_a_run_below_the_threshold_does_no_harm():
    _, hours, _ = start_of({"NO-NO1": [90, 20, *[400] * 60]}, max_intensity_grams_per_kwh=60)
    assert hours == 0


def test_a_threshold_that_no_window_keeps_makes_the_job_take_the_cleanest():
    decision, hours, _ = start_of({"NO-NO1": SWINGS}, max_intensity_grams_per_kwh=20)
    assert (hours, decision.window.grams_per_kwh) == (3, 50)
    assert "it takes the cleanest" in decision.message


def test_a_job_that_asks_to_wait_for_its_threshold_starts_at_the_end_of_its_delay():
    decision, hours, _ = start_of({"NO-NO1": SWINGS}, max_intensity_grams_per_kwh=20, on_threshold_miss="wait")
    assert (decision.outcome, hours) == (Outcome.WAIT, 8)
    assert "it waits until its latest start" in decision.message


def test_at_the_end_of_a_delay_a_job_goes_where_it_is_cleanest():
    spokes = [spoke("ohio", "US-MIDA-PJM", price=0.1), spoke("oslo", "NO-NO1", price=9.0)]
    grids = {"US-MIDA-PJM": [566] * 72, "NO-NO1": [34] * 72}
    for rule in ("cleanest", "wait"):
        late = job(
            hours=2,
            submitted=NOON - timedelta(hours=8),
            schedule={"max_delay": "8h", "max_intensity_grams_per_kwh": 20, "on_threshold_miss": rule},
            objective={"minimize": "composite"},
        )
        (decision,) = plan(world([late], spokes, grids), NOON)
        assert (decision.outcome, decision.window.cluster) == (Outcome.START, "oslo")


def test_a_job_that_waits_for_its_threshold_takes_a_window_below_it_once_one_is_forecast():
    _, hours, _ = start_of({"NO-NO1": [300, 300, 15, 15, *[300] * 60]}, max_intensity_grams_per_kwh=20)
    _, waited, _ = start_of(
        {"NO-NO1": [300, 300, 15, 15, *[300] * 60]}, max_intensity_grams_per_kwh=20, on_threshold_miss="wait"
    )
    assert hours == waited == 2
