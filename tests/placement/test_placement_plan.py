"""Where and when: the choice itself."""

from dataclasses import replace
from datetime import timedelta

import pytest

from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import History
from carbonfleet.placement import Assumptions, Incumbent, Outcome, Reservation
from fixtures.placement_world import ANYWHERE, BARE, HOUR, LIFECYCLE, NOON, TIERS, forecast, job, policy, spoke, world
from fixtures.placement_world import explained_plan as plan

OSLO, OHIO = spoke("oslo"), spoke("ohio", "US-MIDA-PJM", jurisdictions=("US",), price=1.0)
FLAT = {"NO-NO1": [40] * 60, "US-MIDA-PJM": [500] * 60}


def only(snapshot, now=NOON):
    (decision,) = plan(snapshot, now)
    return decision


def test_the_cleanest_spoke_is_chosen_at_once_when_waiting_gains_nothing():
    decision = only(world([job(hours=2)], [OSLO, OHIO], FLAT))
    assert (decision.outcome, decision.reason) == (Outcome.START, "Placed")
    assert decision.window.cluster == "oslo"
    assert decision.window.segments == ((NOON, NOON + 2 * HOUR),)
    assert decision.window.grams_co2e == pytest.approx(80)
    assert decision.window.energy_kwh == pytest.approx(2)
    assert decision.window.cost_usd == pytest.approx(4)


def test_a_job_waits_for_a_cleaner_hour():
    values = [300, 280, 100, 90, 300] + [300] * 40
    decision = only(world([job(hours=2)], [OSLO], {"NO-NO1": values}))
    assert (decision.outcome, decision.reason) == (Outcome.WAIT, "WaitingForCleanWindow")
    assert decision.window.start == NOON + 2 * HOUR


def test_cost_alone_takes_the_cheapest_and_of_that_the_cleanest():
    values = {"NO-NO1": [300, 10, 10, 10] + [300] * 50, "US-MIDA-PJM": [500, 10] + [500] * 60}
    decision = only(world([job(hours=1, objective={"minimize": "cost"})], [OSLO, OHIO], values))
    assert (decision.window.cluster, decision.window.start) == ("ohio", NOON + HOUR)


@pytest.mark.parametrize(("usd_per_tonne", "cluster"), [(50, "ohio"), (5000, "oslo")])
def test_the_carbon_price_weighs_carbon_against_cost(usd_per_tonne, cluster):
    objective = {"minimize": "composite", "carbon_price_usd_per_tonne": usd_per_tonne}
    decision = only(world([job(objective=objective)], [OSLO, OHIO], FLAT))
    assert decision.window.cluster == cluster
    window = decision.window
    assert window.score_usd == pytest.approx(window.cost_usd + usd_per_tonne * window.grams_co2e / 1e6)


def test_pue_multiplies_the_energy():
    decision = only(world([job()], [spoke("oslo", pue=1.5)], FLAT))
    assert decision.window.operational_grams == pytest.approx(60)
    assert decision.window.energy_kwh == pytest.approx(1)


def test_the_making_of_the_hardware_counts():
    assumptions = replace(BARE, embodied_share=1.0)
    decision = only(world([job(gpus=2)], [OSLO], FLAT, assumptions=assumptions))
    assert decision.window.embodied_grams == pytest.approx(2 * 150_000 / (4 * 365 * 24))


def test_moving_the_data_counts_in_carbon_and_money():
    assumptions = replace(BARE, transfer_kwh_per_gib=0.01)
    data = {"region": "ohio-region", "size_gib": 1000}
    spokes = [OSLO, spoke("ohio", "US-MIDA-PJM", egress_usd_per_gib=0.05)]
    decision = only(world([job(dataset=data, hours=1)], spokes, FLAT, assumptions=assumptions))
    assert decision.window.cluster == "ohio"
    there = next(c.window for c in decision.candidates if c.cluster == "oslo")
    assert there.transfer_grams == pytest.approx(10 * (0.5 * 500 + 0.5 * 40))
    assert there.cost_usd == pytest.approx(2 + 50)


def test_data_in_a_region_without_a_spoke_leaves_it_at_the_list_price():
    data = {"region": "mars-1", "size_gib": 10}
    decision = only(world([job(dataset=data)], [OSLO], FLAT))
    assert decision.window.cost_usd == pytest.approx(2 + 10 * Assumptions().unknown_egress_usd_per_gib)


def test_a_part_of_an_hour_counts_in_part():
    decision = only(world([job(hours=1.5, schedule={"tier": "urgent"})], [OSLO], {"NO-NO1": [100, 40] + [40] * 40}))
    assert decision.window.grams_co2e == pytest.approx(120)


def test_a_price_by_the_hour_is_paid_hour_by_hour():
    night = {"from_hour": 22, "to_hour": 6, "usd_per_gpu_hour": 0.5}
    cheap = spoke("oslo", prices_by_hour=[night])
    decision = only(world([job(hours=2, objective={"minimize": "cost"})], [cheap], FLAT))
    assert decision.window.start == NOON + 10 * HOUR
    assert decision.window.cost_usd == pytest.approx(1)
    edge = job(
        hours=2, objective={"minimize": "cost"}, schedule={"earliest_start": NOON + 17 * HOUR, "max_delay": "17h"}
    )
    assert only(world([edge], [cheap], FLAT)).window.cost_usd == pytest.approx(2.5)


def test_urgent_jobs_never_wait():
    values = [300, 1] + [300] * 40
    decision = only(world([job(schedule={"tier": "urgent"})], [OSLO], {"NO-NO1": values}))
    assert (decision.outcome, decision.window.start) == (Outcome.START, NOON)


def test_no_start_lies_before_the_earliest_or_after_the_delay():
    values = [1, 300, 200, 100, 50, 1] + [300] * 40
    schedule = {"earliest_start": NOON + HOUR, "max_delay": "3h"}
    decision = only(world([job(schedule=schedule)], [OSLO], {"NO-NO1": values}))
    assert decision.window.start == NOON + 3 * HOUR


def test_the_delay_counts_from_submission():
    values = [300, 200, 100, 50, 1] + [300] * 40
    waited = job(submitted=NOON - 2 * HOUR, schedule={"max_delay": "4h"})
    assert only(world([waited], [OSLO], {"NO-NO1": values})).window.start == NOON + 2 * HOUR


def test_a_deadline_binds_the_finish_with_start_up_included():
    values = [300, 200, 100, 50, 1] + [300] * 40
    slow_start = spoke("oslo", overhead="30m")
    decision = only(world([job(schedule={"deadline": NOON + 4 * HOUR})], [slow_start], {"NO-NO1": values}))
    assert decision.window.end <= NOON + 4 * HOUR
    assert decision.window.start == NOON + 2 * HOUR


def test_a_deadline_that_can_not_be_met_blocks_and_says_when_it_would_end():
    decision = only(world([job(hours=5, schedule={"deadline": NOON + 4 * HOUR})], [OSLO], FLAT))
    assert (decision.outcome, decision.reason) == (Outcome.BLOCKED, "DeadlineUnreachable")
    assert decision.candidates[0].message == (
        "A run here takes 5 h with start-up and would end 2026-01-31 17:00 UTC at the earliest, "
        "after the deadline 2026-01-31 16:00 UTC."
    )


def test_a_job_takes_the_best_start_below_its_threshold():
    schedule = {"max_delay": "4h", "max_intensity_grams_per_kwh": 150}
    below = {"NO-NO1": [300, 200, 149, 120, 140] + [300] * 40}
    decision = only(world([job(schedule=schedule)], [OSLO], below))
    assert decision.window.start == NOON + 3 * HOUR
    assert decision.message.endswith(" It runs only at 150 gCO2e/kWh or less here.")


def test_where_no_start_below_the_threshold_is_forecast_the_cleanest_of_the_delay_is_taken():
    schedule = {"max_delay": "4h", "max_intensity_grams_per_kwh": 150}
    never = {"NO-NO1": [300, 200, 250, 220, 400] + [300] * 40}
    decision = only(world([job(schedule=schedule)], [OSLO], never))
    assert (decision.reason, decision.window.start) == ("WaitingForCleanWindow", NOON + HOUR)
    assert decision.message.endswith(
        " No free run until 2026-01-31 16:00 UTC is forecast at its threshold (here 150 gCO2e/kWh) or below: "
        "it takes the cleanest."
    )


def test_a_threshold_that_nothing_meets_does_not_wait_for_a_dirtier_grid():
    schedule = {"max_delay": "12h", "max_intensity_grams_per_kwh": 20}
    spokes = [spoke("oslo"), spoke("ohio", "US-MIDA-PJM", price=1.0)]
    grids = {"NO-NO1": [34] + [35] * 60, "US-MIDA-PJM": [580] * 12 + [566] * 50}
    for minimize in ("carbon", "cost", "composite"):
        decision = only(world([job(schedule=schedule, objective={"minimize": minimize})], spokes, grids))
        assert (decision.outcome, decision.window.cluster, decision.window.start) == (Outcome.START, "oslo", NOON)
        assert [c.message for c in decision.candidates] == [
            "The least carbon of 2 spokes.",
            f"{566 - 34} gCO2e more and 1.00 USD less: only carbon counts for this job.",
        ]


def test_the_threshold_of_a_cut_job_that_nothing_meets_leaves_it_the_cleanest_hours():
    schedule = {"max_delay": "6h", "max_intensity_grams_per_kwh": 20, "interruptible": {"overhead": "0s"}}
    grid = {"NO-NO1": [30, 90, 90, 40, 90, 90, 90, 90] + [90] * 60}
    decision = only(world([job(hours=2, schedule=schedule)], [OSLO], grid))
    hours = [(begin - NOON) // HOUR for begin, _ in decision.window.segments]
    assert (hours, decision.window.grams_co2e) == ([0, 3], 70)


def test_a_promised_start_stays_as_forecasts_swing_about_its_threshold():
    schedule = {"max_delay": "12h", "max_intensity_grams_per_kwh": 150}
    planned, starts = None, []
    for tick in range(16):
        swing = (0, 3)[tick % 2]
        grid = {"NO-NO1": [300] * 6 + [149 + swing, 151 + swing, 151 + swing] + [300] * 40}
        waits = job(schedule=schedule, incumbent=planned)
        window = only(world([waits], [OSLO], grid)).window
        planned = Incumbent("oslo", "main", window.start)
        starts.append((window.start - NOON) // HOUR)
    assert starts == [6] * 16


def test_a_start_below_the_threshold_comes_before_a_cheaper_one_at_the_end_of_the_delay():
    schedule = {"max_delay": "90h", "max_intensity_grams_per_kwh": 150}
    objective = {"minimize": "composite", "carbon_price_usd_per_tonne": 50}
    decision = only(world([job(schedule=schedule, objective=objective)], [OSLO, OHIO], FLAT))
    assert (decision.window.cluster, decision.window.start) == ("oslo", NOON)
    assert decision.candidates[1].reason == "AboveThreshold"


def test_with_no_gpus_free_below_the_threshold_the_cleanest_free_start_is_taken():
    held = Reservation("other", "ml", "oslo", "main", 8, NOON, NOON + 3 * HOUR)
    schedule = {"max_delay": "4h", "max_intensity_grams_per_kwh": 150}
    values = {"NO-NO1": [100, 100, 100, 220, 400] + [300] * 40}
    decision = only(world([job(schedule=schedule)], [OSLO], values, reservations=(held,)))
    assert decision.window.start == NOON + 3 * HOUR


def test_a_percentile_threshold_is_of_the_zone_s_own_history():
    histories = {("NO-NO1", LIFECYCLE): History("NO-NO1", LIFECYCLE, tuple(range(100)))}
    schedule = {"max_delay": "4h", "max_intensity_percentile": 20}
    values = {"NO-NO1": [60, 40, 22, 19, 18] + [60] * 40}
    decision = only(world([job(schedule=schedule)], [OSLO], values, histories=histories))
    assert decision.window.start == NOON + 4 * HOUR
    assert "19.8 gCO2e/kWh or less" in decision.message
    gated = {"max_delay": "2h", "max_intensity_percentile": 20}
    decision = only(world([job(schedule=gated)], [OSLO], {"NO-NO1": [21, 25, 90] + [60] * 40}, histories=histories))
    assert decision.window.start == NOON


def test_a_tier_carries_threshold_and_delay():
    tier = {"name": "green", "max_delay": "3h", "max_intensity_grams_per_kwh": 50}
    tiers = policy("default", residency={"anywhere": True}, tiers=[tier])
    values = {"NO-NO1": [60, 60, 60, 50, 10] + [60] * 40}
    decision = only(world([job(schedule={"tier": "green"})], [OSLO], values, policies=[tiers]))
    assert decision.window.start == NOON + 3 * HOUR


def test_four_fast_gpus_for_three_hours_beat_eight_slow_ones_for_five():
    resources = {
        "gpus": 8,
        "duration": timedelta(hours=5),
        "options": [
            {"gpu_type": "H100", "gpus": 4, "duration": timedelta(hours=3)},
            {"gpu_type": "A100", "gpus": 8, "duration": timedelta(hours=5)},
        ],
    }
    new = spoke("new", gpu_type="H100", peak_watts=700)
    old = spoke("old", peak_watts=400)
    decision = only(world([job(resources=resources)], [new, old], FLAT))
    assert decision.window.cluster == "new"
    assert [c.window.energy_kwh for c in decision.candidates] == [pytest.approx(8.4), pytest.approx(16.0)]


def test_a_faster_gpu_shortens_the_run():
    fast = spoke("oslo", gpu_type="H100")
    window = only(world([job(hours=2.2)], [fast], FLAT)).window
    assert window.end - window.start == HOUR


def test_spot_is_chosen_when_allowed_and_its_reclaims_are_paid_for():
    cheap = spoke("oslo", spot_usd_per_gpu_hour=0.5, spot_reclaims_per_hour=0.1)
    cost = {"minimize": "cost"}
    dear = only(world([job(objective=cost)], [cheap], FLAT)).window
    assert (dear.spot, dear.cost_usd) == (False, pytest.approx(2))
    window = only(world([job(objective=cost, resources={"spot": True})], [cheap], FLAT)).window
    assert window.spot
    # Ten minutes and a half: 0.1 reclaims in an hour, each losing a quarter of an hour of work.
    assert window.end - window.start == timedelta(minutes=62)
    assert window.cost_usd == pytest.approx(0.5 * 62 / 60)


def test_spot_that_is_reclaimed_all_the_time_is_not_worth_it():
    flaky = spoke("oslo", spot_usd_per_gpu_hour=1.9, spot_reclaims_per_hour=5, overhead="30m")
    window = only(world([job(objective={"minimize": "cost"}, resources={"spot": True})], [flaky], FLAT)).window
    assert not window.spot


def test_gpu_type_memory_and_count_filter_spokes():
    spokes = [
        spoke("fits"),
        spoke("small", gpus=1),
        spoke("tiny", memory_gib=16),
        spoke("other", gpu_type="T4"),
    ]
    asked = job(gpus=2, resources={"gpu_types": ["A100"], "gpu_memory_gib": 40})
    decision = only(world([asked], spokes, FLAT))
    assert {c.cluster: c.reason for c in decision.candidates} == {
        "fits": "Chosen",
        "other": "GpuType",
        "small": "GpuCount",
        "tiny": "GpuMemory",
    }


def test_spokes_that_are_ill_or_were_just_left_are_out():
    spokes = [
        spoke("fine"),
        spoke("gone", healthy=False, reason="Unreachable", message="gone was last heard 40 minutes ago"),
        spoke("shut", maintenance=True),
        spoke("left"),
    ]
    decision = only(world([job(excluded_clusters=frozenset({"left"}))], spokes, FLAT))
    assert {c.cluster: c.reason for c in decision.candidates} == {
        "fine": "Chosen",
        "gone": "Unreachable",
        "left": "RecentlyLeft",
        "shut": "Maintenance",
    }
    assert "last heard 40 minutes ago" in decision.candidates[1].message


def test_a_spoke_without_a_price_is_refused_to_jobs_that_mind_cost():
    bare = spoke("bare", price=None)
    decision = only(world([job(objective={"minimize": "composite"})], [bare], FLAT))
    assert (decision.outcome, decision.candidates[0].reason) == (Outcome.BLOCKED, "NoPrice")
    assert only(world([job()], [bare], FLAT)).outcome is Outcome.START


def test_a_cost_limit_filters_before_any_score():
    decision = only(world([job(hours=2, objective={"max_cost_usd": 3})], [OSLO, OHIO], FLAT))
    assert decision.window.cluster == "ohio"
    assert decision.candidates[1].message == "It would cost 4.00 USD at least; the job's limit is 3.00 USD."


def test_a_carbon_budget_of_the_job_filters():
    decision = only(world([job(hours=2, objective={"carbon_budget_kg": 0.05})], [OSLO, OHIO], FLAT))
    assert (decision.outcome, decision.reason) == (Outcome.BLOCKED, "CarbonBudget")


def test_signal_kinds_never_mix():
    marginal = forecast("NO-NO1", [10] * 60, signal=SignalKind.MARGINAL)
    snapshot = world([job(signal="marginal")], [OSLO, OHIO], [marginal, forecast("US-MIDA-PJM", [5] * 60)])
    decision = only(snapshot)
    assert decision.window.cluster == "oslo"
    assert decision.candidates[1].reason == "NoSignal"


def test_a_baseline_is_the_same_run_at_once_in_its_region():
    decision = only(world([job(hours=2)], [OSLO, OHIO], FLAT, default_baseline_region="ohio-region"))
    assert decision.baseline.cluster == "ohio"
    assert decision.baseline.grams_co2e == pytest.approx(1000)


def test_a_baseline_region_without_a_spoke_is_known_by_its_zone():
    grids = [forecast("NO-NO1", [40] * 60), forecast("PL", [700] * 60)]
    snapshot = world([job(baseline_region="pl-1")], [OSLO], grids, region_zones={"pl-1": "PL"})
    assert only(snapshot).baseline.grams_co2e == pytest.approx(700)


def test_a_job_under_review_is_proposed_ahead_of_its_start():
    values = {"NO-NO1": [300, 300, 300, 50] + [300] * 40}
    reviewed = policy("default", residency={"anywhere": True}, review={"mode": "required"}, tiers=TIERS)
    snapshot = world([job()], [OSLO], values, policies=[reviewed])
    early = only(snapshot)
    assert (early.outcome, early.review_required) == (Outcome.WAIT, True)
    assert early.recheck_at == NOON + HOUR
    later = only(snapshot, NOON + HOUR)
    assert (later.outcome, later.window.start) == (Outcome.START, NOON + 3 * HOUR)
    assert "Policy default wants review" in later.message
    assert later.recheck_at > NOON + HOUR  # people take their time: it is not decided on again and again


def test_what_lies_beyond_the_forecast_repeats_its_last_day():
    day = [100 + hour for hour in range(24)]
    decision = only(world([job(hours=30, schedule={"tier": "urgent"})], [OSLO], {"NO-NO1": day}))
    assert decision.window.grams_co2e == pytest.approx(sum(day) + sum(day[:6]))


def test_a_forecast_s_doubt_is_carried_and_weighed():
    grid = forecast("NO-NO1", [100, 90] + [100] * 40, doubt=[0, 20] + [20] * 40)
    trusting = only(world([job()], [OSLO], [grid]))
    assert (trusting.window.start, trusting.window.doubt_grams) == (NOON + HOUR, pytest.approx(20))
    careful = only(world([job()], [OSLO], [grid], assumptions=replace(BARE, doubt_weight=1.0)))
    assert careful.window.start == NOON
    assert careful.window.grams_co2e == pytest.approx(100)


def test_a_later_start_must_gain_more_than_a_tenth_of_an_issued_forecast_s_doubt():
    """One from history is low already where it is in doubt."""
    for link, begin in (("forecast", NOON), ("cached", NOON), ("forecast+profile", NOON), ("profile", NOON + HOUR)):
        grid = forecast("NO-NO1", [100, 99] + [100] * 40, doubt=[0, 20] + [20] * 40, link=link)
        assert only(world([job()], [OSLO], [grid])).window.start == begin


def test_a_decision_says_how_far_its_forecast_is_the_one_that_was_issued():
    said = "24 h ahead 40 % issued and 60 % our own, off by 30 and 24 g/kWh so far"
    oslo = forecast("NO-NO1", [40] * 60, link="forecast blend", blend=said)
    ohio = forecast("US-MIDA-PJM", [500] * 60, link="forecast blend", blend="another")
    decision = only(world([job()], [OSLO, OHIO], [oslo, ohio]))
    assert f"The forecast of NO-NO1: {said}." in decision.message
    assert "another" not in decision.message
    assert decision.candidates[0].link == "forecast blend"


def test_a_start_within_a_slot_begins_now():
    now = NOON + timedelta(minutes=20, seconds=30)
    decision = only(
        world([job(submitted=now, schedule={"tier": "urgent"})], [OSLO], {"NO-NO1": [60, 120] + [9] * 40}), now
    )
    assert decision.window.segments == ((now, now + HOUR),)
    assert decision.window.grams_co2e == pytest.approx(60 * 40 / 60 + 120 * 20 / 60)


def test_an_empty_queue_and_an_empty_fleet_are_no_problem():
    assert plan(world([], [OSLO], FLAT), NOON).decisions == ()
    decision = only(world([job()], [], FLAT))
    assert (decision.outcome, decision.candidates) == (Outcome.BLOCKED, ())
    assert "carbonfleet spoke join" in decision.message


def test_a_run_of_many_weeks_is_refused_with_a_reason():
    decision = only(world([job(hours=24 * 60)], [OSLO], FLAT))
    assert (decision.outcome, decision.candidates[0].reason) == (Outcome.BLOCKED, "RunTooLong")


def test_a_running_reservation_ends_and_its_gpus_are_free_again():
    held = Reservation("other", "ml", "oslo", "main", 8, NOON - HOUR, NOON + 90 * timedelta(minutes=1))
    decision = only(world([job(schedule={"tier": "urgent"})], [OSLO], FLAT, reservations=(held,)))
    assert (decision.outcome, decision.reason) == (Outcome.WAIT, "WaitingForCapacity")
    assert decision.window.start == NOON + 2 * HOUR


def test_policies_without_residency_only_add_tiers():
    tiers = policy("tiers", tiers=TIERS)
    allowed = policy("place", residency={"regions": ["oslo-region"]})
    assert only(world([job()], [OSLO, OHIO], FLAT, policies=[tiers, allowed])).window.cluster == "oslo"
    assert ANYWHERE.spec.tiers


def test_a_queue_that_policy_refuses_as_a_whole_gets_a_reason_for_each_job_and_spoke():
    closed = policy("default", residency={"jurisdictions": ["CA"]}, tiers=TIERS)
    queue = [job(f"job-{number}", data_class="secret") for number in range(3)]
    for policies in ([closed], []):
        decisions = plan(world(queue, [OSLO, OHIO], FLAT, policies=policies), NOON).decisions
        assert [decision.outcome for decision in decisions] == [Outcome.BLOCKED] * 3
        for decision in decisions:
            assert decision.reason
            assert decision.message
            assert [c.verdict.value for c in decision.candidates] == ["Filtered"] * 2
            assert all(candidate.reason and candidate.message for candidate in decision.candidates)
