"""What a decision promises: P10, P50 and P90 of start, finish, grams and saving."""

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbonfleet.forecast import PastForecasts
from carbonfleet.placement.record import record_of
from fixtures.placement_world import BARE, HOUR, NOON, forecast, job, spoke, world
from fixtures.placement_world import explained_plan as plan

DAYS = 30


def past(error=0.0, doubt=20.0, level=200.0, scatter=0.0):
    """A zone at one level whose forecasts all erred by the same, or by a scatter about it."""
    rng = np.random.default_rng(1)
    hours = DAYS * 24
    casts = level - error + scatter * rng.standard_normal((hours, 1)) * np.ones((hours, 72))
    start = NOON - HOUR * hours
    return PastForecasts(
        start, casts.astype(np.float32), np.full((DAYS, 72), doubt, np.float32), np.full(hours, float(level))
    )


def promised(assumptions=BARE, home_zone="NO-NO1", **given_past):
    """One job of one hour and 1 kW, in one zone at 200 g/kWh with a doubt of 20."""
    known = forecast("NO-NO1", [200] * 72, doubt=20.0)
    if given_past:
        known = replace(known, past=past(**given_past))
    spokes = [spoke("oslo", "NO-NO1")]
    (found,) = plan(
        world([job()], spokes, [known], assumptions=assumptions, default_baseline_region="oslo-region"), NOON
    )
    return found


def test_without_earlier_forecasts_the_doubt_is_a_bell_curve():
    grams = promised().promise.grams
    assert grams == pytest.approx((177, 200, 223), abs=1)


def test_what_forecasts_got_wrong_so_far_is_what_this_one_may_get_wrong():
    """Those before were 10 g/kWh too low each time, half their doubt."""
    assert promised(error=10.0).promise.grams == pytest.approx((210, 210, 210))
    low, middle, high = promised(scatter=20.0).promise.grams
    assert (low, middle, high) == pytest.approx((200 - 1.34 * 20, 200, 200 + 1.34 * 20), abs=5)


def test_a_zone_that_is_new_takes_nothing_from_what_others_know():
    known = replace(forecast("NO-NO1", [200] * 72, doubt=20.0), past=past(error=10.0))
    few = past()
    few = PastForecasts(NOON - 48 * HOUR, few.grams_per_kwh[:48], few.doubt_grams_per_kwh[:2], few.measured[:48])
    new = replace(forecast("FR", [400] * 72, doubt=20.0), past=few)
    spokes = [spoke("oslo", "NO-NO1"), spoke("paris", "FR")]
    (found,) = plan(world([job()], spokes, [known, new]), NOON)
    assert found.promise.grams == pytest.approx((210, 210, 210))


def test_a_saving_beside_the_same_place_and_hour_has_no_doubt():
    assert promised(scatter=20.0).promise.saved_grams == pytest.approx((0, 0, 0))


def test_a_run_that_starts_now_starts_now_and_takes_as_long_as_declared():
    promise = promised(scatter=20.0).promise
    assert promise.start == (NOON, NOON, NOON)
    assert promise.finish == (NOON + HOUR,) * 3


def test_a_declared_duration_is_in_doubt_and_so_are_finish_and_grams():
    found = promised(replace(BARE, duration_doubt=0.2))
    finish = [(each - NOON) / timedelta(minutes=1) for each in found.promise.finish]
    assert finish == pytest.approx([48, 60, 76], abs=2)
    assert found.promise.grams == pytest.approx((150, 200, 265), abs=6)
    assert "ends 13:00, promised by 13:1" in found.message
    assert ": 200 gCO2e (1" in found.message


PROFILE = job().spec.workload.profile, "A100", 1


def with_runs(*hours, key=PROFILE, **more):
    """One job that declares an hour, and how long runs took."""
    return world([job(**more)], [spoke("oslo", "NO-NO1")], {"NO-NO1": [200] * 72}, run_lengths={key: hours})


def test_from_three_runs_on_their_lengths_count_beside_the_declared_one():
    (two,) = plan(with_runs(1.5, 1.5), NOON)
    assert two.promise.finish == (NOON + HOUR,) * 3
    assert two.promise.length.measured_hours is None
    (three,) = plan(with_runs(1.5, 1.6, 1.4), NOON)
    minutes = [(each - NOON) / timedelta(minutes=1) for each in three.promise.finish]
    assert minutes == pytest.approx([60, 70, 96], abs=6)
    (many,) = plan(with_runs(*[1.5] * 97), NOON)
    assert [(each - NOON) / timedelta(minutes=1) for each in many.promise.finish] == pytest.approx([90] * 3, abs=1)


@pytest.mark.parametrize("hours", [1e-9, 1e15])
def test_lengths_that_can_not_be_true_move_a_promise_by_no_more_than_they_may(hours):
    (found,) = plan(with_runs(*[hours] * 5), NOON)
    assert NOON + HOUR / 20 <= found.promise.finish[0] <= found.promise.finish[2] <= NOON + 20 * HOUR


def test_a_decision_says_by_how_much_a_declared_duration_is_off():
    (found,) = plan(with_runs(1.5, 1.6, 1.4), NOON)
    said = (
        "3 such runs took 1 h 30 min on 1 GPU of this type, 50 % longer than the 1 h declared: correct spec.resources."
    )
    assert said in found.message
    figures = record_of(found.decision, found.explanation, NOON).expected
    assert figures.promise.run_length.to_wire() == {"declaredHours": 1.0, "measuredHours": 1.5, "runs": 3}
    (shorter,) = plan(with_runs(0.5, 0.5, 0.5), NOON)
    assert "3 such runs took 30 min on 1 GPU of this type, 50 % shorter than the 1 h declared" in shorter.message
    (right,) = plan(with_runs(1.05, 0.97, 1.02), NOON)
    assert "such runs" not in right.message


@pytest.mark.parametrize(
    "other",
    [
        ("acme/other, all samples of acme/data, 3 epochs", "A100", 1),
        (PROFILE[0].replace("all", "200"), "A100", 1),
        (PROFILE[0], "H100", 1),
        (PROFILE[0], "A100", 2),
    ],
    ids=["model", "samples", "GPU type", "GPUs"],
)
def test_runs_of_another_kind_say_nothing(other):
    (found,) = plan(with_runs(2, 2, 2, key=other), NOON)
    assert found.promise.finish == (NOON + HOUR,) * 3


def test_what_is_declared_for_a_gpu_type_is_compared_with_runs_on_it():
    option = {"gpu_type": "a100", "gpus": 1, "duration": timedelta(hours=3)}
    (found,) = plan(with_runs(3, 3, 3, resources={"options": [option]}), NOON)
    assert "such runs" not in found.message
    assert found.promise.length.declared_hours == 3


def test_the_record_holds_what_is_promised():
    found = promised(error=10.0)
    figures = record_of(found.decision, found.explanation, NOON).expected
    assert figures.promise.to_wire() == {
        "start": dict.fromkeys(("p10", "p50", "p90"), "2026-01-31T12:00:00Z"),
        "finish": dict.fromkeys(("p10", "p50", "p90"), "2026-01-31T13:00:00Z"),
        "gramsCo2e": dict.fromkeys(("p10", "p50", "p90"), 210.0),
        "savedGramsCo2e": dict.fromkeys(("p10", "p50", "p90"), 0.0),
        "runLength": {"declaredHours": 1.0, "runs": 0},
    }
    assert ": 210 gCO2e at" in found.message


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 500), st.floats(0, 300), st.floats(-100, 100), st.floats(0, 1), st.floats(0.05, 60), st.booleans())
def test_percentiles_are_in_order_and_finite(level, doubt, error, duration_doubt, hours, is_known):
    values = np.linspace(level, 0, 96)
    known = forecast("NO-NO1", values, doubt=doubt)
    if is_known:
        known = replace(known, past=past(error=error, doubt=doubt, level=level, scatter=5))
    asked = job(hours=hours, schedule={"max_delay": "20h"})
    assumptions = replace(BARE, duration_doubt=duration_doubt)
    spokes = [spoke("oslo", "NO-NO1")]
    more = {"assumptions": assumptions, "default_baseline_region": "oslo-region"}
    (found,) = plan(world([asked], spokes, [known], **more), NOON)
    promise = found.promise
    for spread in (promise.start, promise.finish, promise.grams, promise.saved_grams):
        assert list(spread) == sorted(spread)
    assert all(math.isfinite(value) for value in (*promise.grams, *promise.saved_grams))
    assert promise.grams[0] >= 0
    assert NOON <= promise.start[0] <= promise.start[2] <= NOON + 20 * HOUR
