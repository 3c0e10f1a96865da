"""Runs that are cut into segments."""

import tracemalloc
from dataclasses import replace
from datetime import timedelta
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from carbonfleet.placement import Assumptions, Outcome, Reservation
from carbonfleet.placement.search import Choice
from carbonfleet.placement.search.interruptible.segment_search import Slots, best_over, least_costs, lengths_of
from carbonfleet.placement.search.interruptible.segments import Cut, cheapest_cut, cheapest_cuts
from fixtures.placement_world import HOUR, NOON, forecast, job, spoke, world
from fixtures.placement_world import explained_plan as plan


def cut_job(hours, delay, name="job", **interruptible):
    asked = {"overhead": "0s", "minimum_run": "1h", "max_pauses": 100} | interruptible
    return job(name, hours=hours, schedule={"max_delay": delay, "interruptible": asked})


def only(snapshot, now=NOON):
    (decision,) = plan(snapshot, now)
    return decision


def hours_of(window):
    """The hours of the day in which the segments begin, and their lengths in hours."""
    return [((begin - NOON) / HOUR, (end - begin) / HOUR) for begin, end in window.segments]


def test_the_cleanest_hours_are_picked_where_pauses_cost_nothing():
    values = [900, 10, 900, 20, 900, 30, 900, 900] + [900] * 20
    decision = only(world([cut_job(3, "5h")], [spoke("oslo")], {"NO-NO1": values}))
    assert hours_of(decision.window) == [(1, 1), (3, 1), (5, 1)]
    assert decision.window.grams_co2e == pytest.approx(60, abs=1e-9)
    assert decision.outcome is Outcome.WAIT
    assert "in 3 parts" in decision.message


def test_no_segment_ends_later_than_an_unbroken_run_would():
    values = [100, 90, 900, 900, 900, 1]
    decision = only(world([cut_job(2, "3h")], [spoke("oslo")], {"NO-NO1": values + [900] * 20}))
    assert hours_of(decision.window) == [(0, 2)]


def test_each_pause_costs_its_overhead():
    values = [100, 900, 100, 900, 900] + [900] * 20
    free = only(world([cut_job(2, "4h")], [spoke("oslo")], {"NO-NO1": values}))
    assert hours_of(free.window) == [(0, 1), (2, 1)]
    costly = only(world([cut_job(2, "4h", overhead="1h")], [spoke("oslo")], {"NO-NO1": values}))
    assert hours_of(costly.window) == [(0, 2)]


def test_a_cheap_overhead_is_run_and_counted():
    values = [100, 900, 100, 900, 900, 900] + [900] * 20
    decision = only(world([cut_job(2, "4h", overhead="6m")], [spoke("oslo")], {"NO-NO1": values}))
    assert hours_of(decision.window) == [(0, 1), (2, 1.1)]
    assert decision.window.energy_kwh == pytest.approx(2.1)
    assert decision.window.grams_co2e == pytest.approx(100 + 100 + 90)


def test_no_segment_is_shorter_than_the_minimum_run():
    values = [900, 10, 900, 20, 30, 900, 900, 900] + [900] * 20
    decision = only(world([cut_job(4, "5h", minimum_run="2h")], [spoke("oslo")], {"NO-NO1": values}))
    assert all(length >= 2 for _, length in hours_of(decision.window))


def test_there_are_no_more_pauses_than_allowed():
    values = [10, 900, 20, 800, 30] + [900] * 20
    three = only(world([cut_job(3, "5h")], [spoke("oslo")], {"NO-NO1": values}))
    assert hours_of(three.window) == [(0, 1), (2, 1), (4, 1)]
    two = only(world([cut_job(3, "5h", max_pauses=1)], [spoke("oslo")], {"NO-NO1": values}))
    assert hours_of(two.window) == [(0, 1), (2, 2)]


def test_segments_run_only_where_gpus_are_free():
    values = [900, 10, 900, 20, 900, 30, 900, 900] + [900] * 20
    taken = Reservation("other", "ml", "oslo", "main", 8, NOON + HOUR, NOON + 2 * HOUR)
    snapshot = world([cut_job(2, "6h")], [spoke("oslo")], {"NO-NO1": values}, reservations=(taken,))
    assert hours_of(only(snapshot).window) == [(3, 1), (5, 1)]


def test_two_cut_jobs_share_the_clean_hours():
    values = [900, 10, 900, 20, 900, 900, 900] + [900] * 20
    jobs = [cut_job(1, "5h", "one"), cut_job(1, "5h", "two")]
    decisions = plan(world(jobs, [spoke("oslo", gpus=1)], {"NO-NO1": values}), NOON)
    assert sorted(hours_of(d.window)[0][0] for d in decisions) == [1, 3]


def test_a_start_in_the_middle_of_a_slot_loses_no_work():
    values = [100, 900, 100, 100] + [900] * 20
    now = NOON + timedelta(minutes=25, seconds=10)
    snapshot = world([cut_job(2, "4h")], [spoke("oslo")], [forecast("NO-NO1", values)])
    window = only(snapshot, now).window
    assert sum((end - begin for begin, end in window.segments), timedelta()) == 2 * HOUR
    assert window.start >= now


def test_quarter_hours_are_used_where_the_grid_changes_by_them():
    values = [900, 900, 10, 10, 900, 900, 10, 10] + [900] * 30
    grid = forecast("NO-NO1", values, step=timedelta(minutes=15))
    asked = {"overhead": "0s", "minimum_run": "30m", "max_pauses": 3}
    queued = job(hours=1, schedule={"max_delay": "1h30m", "interruptible": asked})
    assumptions = Assumptions(transfer_kwh_per_gib=0, embodied_share=0)
    decision = only(world([queued], [spoke("oslo")], [grid], assumptions=assumptions))
    assert hours_of(decision.window) == [(0.5, 0.5), (1.5, 0.5)]


def brute_force(cost, free, cut):
    """All sets of slots, one by one."""
    best = float("inf")
    slots = range(len(cost))
    for count in range(1, len(cost) + 1):
        for chosen in combinations([slot for slot in slots if free[slot]], count):
            runs = np.split(np.array(chosen), np.flatnonzero(np.diff(chosen) > 1) + 1)
            parts = len(runs) + (cut.is_running and chosen[0] != 0)
            if parts > len(cut.slots) or (chosen[0] > cut.latest_begin and not cut.is_running):
                continue
            goes_on = cut.is_running and chosen[0] == 0
            if any(len(run) < cut.minimum_run for run in runs[1 if goes_on else 0 :]):
                continue
            unused = count - cut.slots[parts - 1]
            if 0 <= unused < 1:
                best = min(best, sum(cost[slot] for slot in chosen) - unused * cost[chosen[-1]])
    return best


def obeys(found, cost, free, cut):
    """Whether segments are free, not too short, begin in time and are as long as asked; and cost what is said."""
    parts = len(found.segments) + (cut.is_running and found.segments[0][0] != 0)
    goes_on = cut.is_running and found.segments[0][0] == 0
    lengths = [end - begin for begin, end in found.segments]
    last = found.segments[-1][1] - 1
    unused = sum(lengths) - cut.slots[parts - 1]
    total = sum(cost[begin:end].sum() for begin, end in found.segments) - unused * cost[last]
    return (
        all(free[begin:end].all() for begin, end in found.segments)
        and all(end < begin for (_, end), (begin, _) in pairwise(found.segments))
        and all(length >= cut.minimum_run for length in lengths[1 if goes_on else 0 :])
        and (cut.is_running or found.segments[0][0] <= cut.latest_begin)
        and -1e-9 <= unused < 1
        and found.cost == pytest.approx(total)
    )


@given(
    cost=st.lists(st.integers(0, 50), min_size=20, max_size=60),
    taken=st.sets(st.integers(0, 60), max_size=9),
    length=st.sampled_from([2.0, 5.3, 8.0, 13.0]),
    overhead=st.sampled_from([0.0, 0.3, 1.0, 96.0]),
    pauses=st.integers(0, 100),
    minimum_run=st.integers(1, 4),
    latest=st.integers(0, 60),
    is_running=st.booleans(),
    states=st.sampled_from([1, 3_000, 30_000]),
)
@example([0, 0, 0, 0, 0, 1, *[0] * 14], set(), 5.3, 0.0, 1, 3, 0, False, 3_000)  # the last segment is cut off
def test_with_few_states_a_cut_is_still_one_and_no_dearer_than_an_unbroken_run(
    cost, taken, length, overhead, pauses, minimum_run, latest, is_running, states
):
    lengths = tuple(length + count * overhead for count in range(pauses + 1))
    cut = Cut(lengths, min(minimum_run, int(np.ceil(length))), latest, is_running)
    prices, free = np.array(cost, dtype=float), np.array([slot not in taken for slot in range(len(cost))])
    (found,) = cheapest_cuts(prices[None], free[None], cut, states)
    exact, whole = cheapest_cut(prices, free, cut), cheapest_cut(prices, free, replace(cut, slots=lengths[:1]))
    assert found is not None or whole is None
    if found is not None:
        assert obeys(found, prices, free, cut)
        assert exact.cost <= found.cost + 1e-9
        assert whole is None or found.cost <= whole.cost + 1e-9


def test_pauses_that_there_is_no_time_for_take_no_states():
    cut = Cut(tuple(96.0 + count * 96 for count in range(101)), 4, 96)
    assert cut.within(192).slots == (96.0,)
    assert cut.within(193).slots == (96.0, 192.0)


def test_a_long_run_with_many_pauses_takes_little_memory():
    random = np.random.default_rng(1)
    slots = 44 * 96
    cut = Cut(tuple(29 * 96 + count * 0.7 for count in range(101)), 4, 14 * 96)
    costs, free = random.random((4, slots)), np.ones((4, slots), dtype=np.bool_)
    tracemalloc.start()
    try:
        cuts = list(cheapest_cuts(costs, free, cut))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert all(obeys(found, *row, cut) for found, *row in zip(cuts, costs, free, strict=True))
    assert peak < 64 * 2**20


@given(
    cost=st.lists(st.integers(0, 50), min_size=5, max_size=9),
    taken=st.sets(st.integers(0, 8), max_size=3),
    length=st.sampled_from([2.0, 2.6, 3.0, 4.0]),
    overhead=st.sampled_from([0.0, 0.3, 1.0]),
    pauses=st.integers(0, 2),
    minimum_run=st.integers(1, 2),
    latest=st.integers(0, 8),
    is_running=st.booleans(),
)
def test_the_cut_is_the_cheapest_of_all(cost, taken, length, overhead, pauses, minimum_run, latest, is_running):
    lengths = tuple(length + count * overhead for count in range(pauses + 1))
    cut = Cut(lengths, minimum_run, latest, is_running)
    prices = np.array(cost, dtype=float)
    free = np.array([slot not in taken for slot in range(len(cost))])
    found = cheapest_cut(prices, free, cut)
    expected = brute_force(cost, free, cut)
    assert (found is None) == (expected == float("inf"))
    if found is not None:
        assert found.cost == pytest.approx(expected)
        assert all(free[begin:end].all() for begin, end in found.segments)


def test_what_begins_within_a_minute_is_over_when_its_last_slot_is():
    held = Reservation("other", "ml", "oslo", "main", 1, NOON + 5 * HOUR, NOON + 6 * HOUR)
    cut = {"overhead": "10m", "minimum_run": "1h", "max_pauses": 2}
    queued = job(hours=5, schedule={"interruptible": cut, "max_delay": "12h"})
    snapshot = world([queued], [spoke("oslo", gpus=1)], {"NO-NO1": [1.0] * 6 + [9.0] * 60}, reservations=(held,))
    (decision,) = plan(snapshot, NOON + timedelta(seconds=7))
    (_, first_end), *rest = decision.window.segments
    assert rest
    assert first_end <= held.start
    assert sum((end - begin for begin, end in decision.window.segments), timedelta()) == timedelta(hours=5, minutes=10)


@st.composite
def lanes_with_cuts(draw):
    """Slots of several options, some of them alike, and what is asked for on each."""
    slots, count = draw(st.integers(8, 40)), draw(st.integers(1, 8))
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    kinds = random.integers(0, draw(st.integers(2, 30)), (count, slots)).astype(float)
    row = draw(st.lists(st.integers(0, count - 1), min_size=count, max_size=count))
    free = random.random((count, slots)) < draw(st.sampled_from([0.7, 0.95, 1.0]))
    once = draw(st.lists(st.sampled_from([0.0, 0.5, 3.0]), min_size=count, max_size=count))
    lengths = draw(st.lists(st.sampled_from([2.0, 3.3, 9.0]), min_size=count, max_size=count))
    latest = draw(st.integers(0, slots))
    pauses, overhead = draw(st.integers(0, 9)), draw(st.sampled_from([0.0, 0.4, 2.0]))
    minimum_run = draw(st.integers(1, 9))
    cuts = {
        option: Cut(
            tuple(length + pause * overhead for pause in range(pauses + 1)),
            min(minimum_run, int(np.ceil(length))),
            latest,
        )
        for option, length in enumerate(lengths)
    }
    return Slots(kinds[row], np.array(once), free[row]), cuts


@given(asked=lanes_with_cuts(), dearest=st.sampled_from([None, 20.0]))
def test_the_search_over_lanes_finds_what_all_of_them_have_best(asked, dearest):
    slots, cuts = asked

    def choice_at(option, found):
        score = found.cost + float(slots.once[option])
        return Choice(option, found.segments[0][0], score) if dearest is None or score >= dearest else None

    each = {option: cheapest_cut(slots.score[option], slots.free[option], cut) for option, cut in cuts.items()}
    choices = [choice_at(option, found) for option, found in each.items() if found is not None]
    best = min(
        (choice for choice in choices if choice is not None),
        key=lambda choice: (choice.score, choice.start, choice.option),
        default=None,
    )
    assert best_over(slots, cuts, choice_at) == best


@given(asked=lanes_with_cuts(), price=st.floats(0, 40))
def test_a_bound_is_never_above_what_it_bounds(asked, price):
    slots, cuts = asked
    loosest = Cut((), min(cut.minimum_run for cut in cuts.values()), cuts[0].latest_begin)
    prices = np.full(len(cuts), price)
    bounds = least_costs(slots.score, slots.free, lengths_of(list(cuts.values())), loosest, prices)
    for option, cut in cuts.items():
        found = cheapest_cut(slots.score[option], slots.free[option], cut)
        assert found is None or bounds[option] <= found.cost
