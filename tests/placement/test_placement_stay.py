"""Stability: who stays, who pauses, who moves."""

from dataclasses import replace
from datetime import timedelta

import pytest

from carbonfleet.placement import Incumbent, Outcome, Reservation
from fixtures.placement_world import BARE, HOUR, NOON, TIERS, forecast, job, policy, spoke, world
from fixtures.placement_world import explained_plan as plan

HALF = {"interruptible": {"overhead": "0s", "minimum_run": "1h", "max_pauses": 4}}


def running(cluster="oslo", hours=10, left=0.5, since=NOON - 3 * HOUR, schedule=HALF, **more):
    """A job that runs on a cluster, and its reservation."""
    incumbent = Incumbent(cluster, "main", since, running=True, since=since, pauses_used=more.pop("pauses_used", 0))
    queued = job("run", hours=hours, incumbent=incumbent, remaining_fraction=left, schedule=schedule, **more)
    end = NOON + timedelta(hours=hours * left)
    return queued, Reservation(queued.uid, "ml", cluster, "main", 1, since, end)


def only(snapshot, now=NOON):
    (decision,) = plan(snapshot, now)
    return decision


def test_an_unstarted_job_keeps_its_window_when_another_is_a_little_better():
    planned = job(hours=1, incumbent=Incumbent("oslo", "main", NOON + 2 * HOUR))
    decision = only(world([planned], [spoke("oslo")], {"NO-NO1": [200, 200, 100, 95, 200] + [200] * 40}))
    assert decision.window.start == NOON + 2 * HOUR
    assert "stays where it was planned" in decision.message


def test_an_unstarted_job_moves_for_a_real_gain():
    planned = job(hours=1, incumbent=Incumbent("oslo", "main", NOON + 2 * HOUR))
    decision = only(world([planned], [spoke("oslo")], {"NO-NO1": [200, 200, 100, 50, 200] + [200] * 40}))
    assert decision.window.start == NOON + 3 * HOUR


def test_a_start_that_is_due_is_put_off_for_any_gain():
    due = job(hours=1, incumbent=Incumbent("oslo", "main", NOON))
    decision = only(world([due], [spoke("oslo")], {"NO-NO1": [100, 97, 100] + [200] * 40}))
    assert (decision.outcome, decision.window.start) == (Outcome.WAIT, NOON + HOUR)


def test_a_start_that_is_due_goes_to_the_cleaner_place():
    due = job(hours=1, incumbent=Incumbent("oslo", "main", NOON))
    spokes = [spoke("oslo"), spoke("quebec", "CA-QC")]
    decision = only(world([due], spokes, {"NO-NO1": [100] * 40, "CA-QC": [98] * 40}))
    assert (decision.outcome, decision.window.cluster) == (Outcome.START, "quebec")


def test_a_job_is_not_kept_waiting_for_what_is_no_longer_better_than_now():
    waits = job(hours=1, incumbent=Incumbent("oslo", "main", NOON + 2 * HOUR))
    decision = only(world([waits], [spoke("oslo")], {"NO-NO1": [97, 100, 100] + [200] * 40}))
    assert (decision.outcome, decision.window.start) == (Outcome.START, NOON)


def test_a_place_that_is_proposed_to_people_is_due_when_it_is_proposed():
    waits = job(hours=1, review="required", incumbent=Incumbent("oslo", "main", NOON + 2 * HOUR))
    decision = only(world([waits], [spoke("oslo")], {"NO-NO1": [200, 200, 100, 97] + [200] * 40}))
    assert decision.window.start == NOON + 3 * HOUR


def test_a_planned_window_that_is_no_longer_free_is_left():
    planned = job(hours=1, gpus=8, incumbent=Incumbent("oslo", "main", NOON + 2 * HOUR))
    taken = Reservation("other", "ml", "oslo", "main", 1, NOON + 2 * HOUR, NOON + 3 * HOUR)
    snapshot = world([planned], [spoke("oslo")], {"NO-NO1": [200, 200, 100, 150] + [200] * 40}, reservations=(taken,))
    assert only(snapshot).window.start == NOON + 3 * HOUR


def test_a_swing_of_five_percent_for_a_day_moves_nothing():
    incumbent, moves = None, 0
    for tick in range(24 * 6):
        now = NOON + tick * timedelta(minutes=10)
        swing = 1.05 if tick % 2 else 0.95
        forecasts = [
            forecast("NO-NO1", [100 * swing] * 200, start=now - 30 * HOUR, observed_at=now),
            forecast("CA-QC", [100 / swing] * 200, start=now - 30 * HOUR, observed_at=now),
        ]
        waits = job(hours=4, schedule={"earliest_start": NOON + 30 * HOUR, "max_delay": "72h"}, incumbent=incumbent)
        decision = only(world([waits], [spoke("oslo"), spoke("quebec", "CA-QC")], forecasts), now)
        place = (decision.window.cluster, decision.window.start)
        moves += incumbent is not None and place != (incumbent.cluster, incumbent.start)
        incumbent = Incumbent(decision.window.cluster, "main", decision.window.start)
    assert moves == 0


def test_a_swing_of_five_percent_for_a_day_leaves_a_running_job_alone():
    outcomes = set()
    for hour in range(24):
        now, swing = NOON + hour * HOUR, 1.05 if hour % 2 else 0.95
        queued, held = running(hours=48, left=(44 - hour) / 48, schedule=HALF | {"max_delay": "72h"})
        forecasts = [
            forecast("NO-NO1", [100 * swing, 100 / swing] * 60, start=now, observed_at=now),
            forecast("CA-QC", [100 / swing, 100 * swing] * 60, start=now, observed_at=now),
        ]
        held = replace(held, end=now + (44 - hour) * HOUR)
        spokes = [spoke("oslo"), spoke("quebec", "CA-QC")]
        outcomes.add(only(world([queued], spokes, forecasts, reservations=(held,)), now).outcome)
    assert outcomes == {Outcome.KEEP}


def test_a_running_job_that_can_not_checkpoint_stays():
    queued, reservation = running(schedule={})
    snapshot = world(
        [queued],
        [spoke("oslo"), spoke("quebec", "CA-QC")],
        {"NO-NO1": [500] * 60, "CA-QC": [20] * 60},
        reservations=(reservation,),
    )
    decision = only(snapshot)
    assert (decision.outcome, decision.reason) == (Outcome.KEEP, "StaysWhereItRuns")
    assert decision.window.segments == ((NOON, NOON + 5 * HOUR),)


def test_a_running_job_moves_where_the_rest_of_it_is_much_cleaner():
    queued, reservation = running()
    spokes = [spoke("oslo"), spoke("quebec", "CA-QC")]
    snapshot = world([queued], spokes, {"NO-NO1": [500] * 60, "CA-QC": [250] * 60}, reservations=(reservation,))
    decision = only(snapshot)
    assert (decision.outcome, decision.window.cluster) == (Outcome.MOVE, "quebec")
    assert decision.window.start == NOON


@pytest.mark.parametrize("grams", [20, 200, 300])
def test_a_running_job_pauses_for_clean_hours_whether_or_not_they_are_below_its_threshold(grams):
    queued, reservation = running(hours=4, schedule=HALF | {"max_intensity_grams_per_kwh": grams, "max_delay": "20h"})
    grid = {"NO-NO1": [500] * 4 + [250] * 4 + [500] * 60}
    decision = only(world([queued], [spoke("oslo")], grid, reservations=(reservation,)))
    assert (decision.outcome, decision.window.start) == (Outcome.PAUSE, NOON + 4 * HOUR)


def test_a_job_whose_checkpoint_can_not_be_reached_elsewhere_would_begin_anew_there():
    spokes = [spoke("oslo", store=""), spoke("quebec", "CA-QC")]
    values = {"NO-NO1": [500] * 60, "CA-QC": [250] * 60}
    queued, reservation = running()
    assert only(world([queued], spokes, values, reservations=(reservation,))).outcome is Outcome.KEEP
    queued, reservation = running(workload={"checkpoints": {"uri": "s3://bucket/lora"}})
    assert only(world([queued], spokes, values, reservations=(reservation,))).outcome is Outcome.MOVE


def test_a_running_job_stays_when_the_gain_is_less_than_the_move():
    schedule = {"interruptible": {"overhead": "4h", "minimum_run": "1h"}}
    queued, reservation = running(schedule=schedule)
    spokes = [spoke("oslo"), spoke("quebec", "CA-QC")]
    snapshot = world([queued], spokes, {"NO-NO1": [500] * 60, "CA-QC": [300] * 60}, reservations=(reservation,))
    assert only(snapshot).outcome is Outcome.KEEP


def test_a_running_job_is_left_alone_before_its_dwell_is_over():
    queued, reservation = running(since=NOON - timedelta(minutes=20))
    spokes = [spoke("oslo"), spoke("quebec", "CA-QC")]
    snapshot = world([queued], spokes, {"NO-NO1": [500] * 60, "CA-QC": [20] * 60}, reservations=(reservation,))
    assert only(snapshot).outcome is Outcome.KEEP


def test_a_running_job_does_not_flee_from_a_grid_that_is_not_known():
    queued, reservation = running()
    spokes = [spoke("oslo"), spoke("quebec", "CA-QC")]
    decision = only(world([queued], spokes, {"CA-QC": [20] * 60}, reservations=(reservation,)))
    assert (decision.outcome, decision.window.cluster) == (Outcome.KEEP, "oslo")


def test_a_running_job_pauses_through_dirty_hours():
    queued, reservation = running(left=0.4)
    values = [800, 800, 800, 100, 100, 100, 100] + [800] * 60
    decision = only(world([queued], [spoke("oslo")], {"NO-NO1": values}, reservations=(reservation,)))
    assert decision.outcome is Outcome.PAUSE
    assert decision.window.segments == ((NOON + 3 * HOUR, NOON + 7 * HOUR),)
    assert decision.message.startswith("This saves 2.10 kgCO2e (84 %): to go on at once")
    assert "Pauses at its next checkpoint; goes on 2026-01-31 15:00 UTC" in decision.message


def test_a_job_that_stays_in_its_place_is_paused_there_and_never_moved():
    queued, reservation = running(left=0.4)
    held = replace(queued, stays_because="Policy careful wants review of moves.")
    spokes = [spoke("oslo"), spoke("quebec", "CA-QC")]
    values = {"NO-NO1": [800, 800, 800, 100, 100, 100, 100] + [800] * 60, "CA-QC": [20] * 60}
    decision = only(world([held], spokes, values, reservations=(reservation,)))
    assert (decision.outcome, decision.window.cluster) == (Outcome.PAUSE, "oslo")
    assert [c.reason for c in decision.candidates if c.cluster == "quebec"] == ["StaysInPlace"]


def test_a_surprise_lowers_what_a_pause_must_gain():
    values = [130, 130, 130, 100] + [100] * 60
    calm, reservation = running(hours=20, left=0.5)
    surprised = replace(calm, incumbent=replace(calm.incumbent, surprise=0.3))
    just_below = replace(calm, incumbent=replace(calm.incumbent, surprise=0.19))
    outcomes = [
        only(world([queued], [spoke("oslo")], {"NO-NO1": values}, reservations=(reservation,))).outcome
        for queued in (calm, just_below, surprised)
    ]
    assert outcomes == [Outcome.KEEP, Outcome.KEEP, Outcome.PAUSE]


def test_a_pause_of_the_plan_is_kept_for_a_small_gain():
    values = [105, 105, 100, 100] + [105] * 60
    queued, reservation = running(hours=4, left=0.5, since=NOON - timedelta(minutes=30))
    due = replace(queued, incumbent=replace(queued.incumbent, pause_is_due=True))
    snapshots = [
        world([one], [spoke("oslo")], {"NO-NO1": values}, reservations=(reservation,)) for one in (queued, due)
    ]
    assert [only(snapshot).outcome for snapshot in snapshots] == [Outcome.KEEP, Outcome.PAUSE]


def paused(cluster="oslo", left=0.5, used=1, schedule=HALF, **more):
    """A job that has run for half of its ten hours and is paused."""
    since = NOON - 6 * HOUR
    incumbent = Incumbent(cluster, "main", since, paused=True, since=since, pauses_used=used)
    return job("run", hours=10, incumbent=incumbent, remaining_fraction=left, schedule=schedule, **more)


def test_a_paused_job_stays_paused_until_the_clean_hours_and_then_goes_on():
    values = [300, 300, 100, 100, 100, 100, 100, 300] + [300] * 60
    decision = only(world([paused()], [spoke("oslo")], {"NO-NO1": values}))
    assert (decision.outcome, decision.reason) == (Outcome.PAUSE, "PausedForCleanWindow")
    assert decision.window.start == NOON + 2 * HOUR
    then = only(world([paused()], [spoke("oslo")], {"NO-NO1": values}), NOON + 2 * HOUR)
    assert (then.outcome, then.reason) == (Outcome.KEEP, "GoesOnAfterPause")


def test_a_paused_job_finds_its_gpus_taken_and_waits_for_them():
    taken = Reservation("other", "ml", "oslo", "main", 8, NOON, NOON + 3 * HOUR)
    decision = only(world([paused()], [spoke("oslo")], {"NO-NO1": [100] * 90}, reservations=(taken,)))
    assert (decision.outcome, decision.window.start) == (Outcome.PAUSE, NOON + 3 * HOUR)


def test_a_paused_job_goes_on_elsewhere_for_a_real_gain_only():
    spokes = [spoke("oslo"), spoke("quebec", "CA-QC")]
    near = only(world([paused()], spokes, {"NO-NO1": [100] * 90, "CA-QC": [95] * 90}))
    far = only(world([paused()], spokes, {"NO-NO1": [100] * 90, "CA-QC": [50] * 90}))
    assert (near.outcome, near.window.cluster) == (Outcome.KEEP, "oslo")
    assert (far.outcome, far.window.cluster) == (Outcome.MOVE, "quebec")


def test_a_paused_job_whose_time_is_up_goes_on_at_once():
    late = paused(schedule=HALF | {"max_delay": "1h"}, submitted=NOON - 40 * HOUR)
    decision = only(world([late], [spoke("oslo")], {"NO-NO1": [300] * 20 + [100] * 70}))
    assert (decision.outcome, decision.window.start) == (Outcome.KEEP, NOON)


def test_a_running_job_runs_on_through_a_clean_hour_before_it_pauses():
    queued, reservation = running(left=0.4)
    values = [100, 800, 800, 100, 100, 100, 800] + [800] * 60
    decision = only(world([queued], [spoke("oslo")], {"NO-NO1": values}, reservations=(reservation,)))
    assert decision.outcome is Outcome.KEEP
    assert decision.window.segments == ((NOON, NOON + HOUR), (NOON + 3 * HOUR, NOON + 6 * HOUR))


def test_a_running_job_without_pauses_left_stays():
    queued, reservation = running(left=0.4, pauses_used=4)
    values = [800, 800, 800, 100, 100, 100, 100] + [800] * 60
    decision = only(world([queued], [spoke("oslo")], {"NO-NO1": values}, reservations=(reservation,)))
    assert decision.outcome is Outcome.KEEP


def test_a_running_job_must_leave_where_policy_no_longer_lets_it_be():
    queued, reservation = running(schedule={})
    only_us = policy("default", residency={"jurisdictions": ["US"]}, tiers=TIERS)
    spokes = [spoke("oslo"), spoke("ohio", "US-MIDA-PJM", jurisdictions=("US",))]
    values = {"NO-NO1": [20] * 60, "US-MIDA-PJM": [500] * 60}
    decision = only(world([queued], spokes, values, policies=[only_us], reservations=(reservation,)))
    assert (decision.outcome, decision.window.cluster) == (Outcome.MOVE, "ohio")
    decision = only(world([queued], spokes[:1], values, policies=[only_us], reservations=(reservation,)))
    assert (decision.outcome, decision.window, decision.reason) == (Outcome.PAUSE, None, "NoRegionAllowed")


def test_a_step_of_half_moves_a_running_job_exactly_once():
    cluster, since, moves, used = "oslo", NOON - 3 * HOUR, 0, 0
    for hour in range(8):
        now = NOON + hour * HOUR
        left = (20 - hour) / 20
        incumbent = Incumbent(cluster, "main", since, running=True, since=since, pauses_used=used)
        queued = job("run", hours=20, incumbent=incumbent, remaining_fraction=left, schedule=HALF)
        quebec = 300 if hour < 4 else 150
        forecasts = [
            forecast("NO-NO1", [300] * 90, start=now, observed_at=now),
            forecast("CA-QC", [quebec] * 90, start=now, observed_at=now),
        ]
        held = Reservation(queued.uid, "ml", cluster, "main", 1, since, now + (20 - hour) * HOUR)
        snapshot = world([queued], [spoke("oslo"), spoke("quebec", "CA-QC")], forecasts, reservations=(held,))
        decision = only(snapshot, now)
        if decision.outcome is Outcome.MOVE:
            moves, cluster, since, used = moves + 1, decision.window.cluster, now, used + 1
    assert (moves, cluster) == (1, "quebec")


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_what_counts_as_a_real_gain_can_be_set(share):
    planned = job(hours=1, incumbent=Incumbent("oslo", "main", NOON + 2 * HOUR))
    assumptions = replace(BARE, stability_share=share)
    values = {"NO-NO1": [200, 200, 100, 80, 200] + [200] * 40}
    decision = only(world([planned], [spoke("oslo")], values, assumptions=assumptions))
    assert decision.window.start == NOON + (2 if share else 3) * HOUR


MEANS = {"link": "annual"}
"""All that is known of a zone is its mean of a year."""


@pytest.mark.parametrize(("home", "there"), [({}, MEANS), (MEANS, {}), (MEANS, MEANS)])
@pytest.mark.parametrize("paused", [False, True])
def test_a_job_under_way_is_not_moved_onto_or_off_an_annual_mean(home, there, paused):
    queued, held = running()
    if paused:
        queued = replace(queued, incumbent=replace(queued.incumbent, running=False, paused=True))
    forecasts = [forecast("NO-NO1", [400] * 60, **home), forecast("CA-QC", [30] * 60, **there)]
    snapshot = world([queued], [spoke("oslo"), spoke("quebec", "CA-QC")], forecasts)
    decision = only(snapshot if paused else replace(snapshot, reservations=(held,)))
    assert (decision.outcome, decision.window.cluster) == (Outcome.KEEP, "oslo")


def test_a_job_that_must_leave_goes_where_an_annual_mean_is_all_that_is_known():
    queued, held = running()
    in_canada = policy("default", residency={"jurisdictions": ["CA"]}, tiers=TIERS)
    forecasts = [forecast("NO-NO1", [400] * 60), forecast("CA-QC", [30] * 60, **MEANS)]
    spokes = [spoke("oslo"), spoke("quebec", "CA-QC", jurisdictions=("CA",))]
    decision = only(world([queued], spokes, forecasts, (in_canada,), reservations=(held,)))
    assert (decision.outcome, decision.window.cluster) == (Outcome.MOVE, "quebec")
