"""No free window is passed over: gaps of exactly a run's length, and GPUs that were given back, count for every job."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbonfleet.placement import Reservation, plan
from carbonfleet.placement.assign import index_of
from carbonfleet.placement.inputs import MINUTE
from carbonfleet.placement.plan_inputs import plan_inputs
from carbonfleet.placement.rules import tiers
from carbonfleet.placement.search import Choice, WindowSearch
from fixtures.placement_world import HOUR, NOON, job, spoke, world

HOURS = 30
CHANGES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20), st.integers(1, 12), st.integers(1, 4)), max_size=12)


def some_index(grids, gpus=8):
    """Jobs of whole slots and of slots and a part."""
    hours = (0.5, 2, 2.5, 3)
    jobs = [job(f"job-{n}", hours=hours[n], gpus=1 + n % 3, schedule={"max_delay": "20h"}) for n in range(4)]
    spokes = [spoke(f"s{row}", zone, gpus=gpus) for row, zone in enumerate(grids)]
    snapshot = world(jobs, spokes, grids)
    return index_of(plan_inputs(snapshot, snapshot.jobs, tiers(snapshot.policies), NOON))


@given(CHANGES, st.integers(0, 1000))
def test_no_free_window_scores_below_its_bound_whatever_was_taken_and_given_back(changes, seed):
    random = np.random.default_rng(seed)
    index = some_index({"AA-0": random.integers(20, 700, HOURS * 2), "AA-1": random.integers(20, 700, HOURS * 2)})
    search = WindowSearch(index, np.arange(4))
    per_hour = HOUR // (index.inputs.line.slot_minutes * MINUTE)
    taken = []
    for row, gpus in enumerate(random.integers(0, 8, 2).tolist()):  # all but a gap
        gap = int(random.integers(1, 18))
        index.capacity.take(row, gpus, 0, gap)
        index.capacity.take(row, gpus, gap + int(random.integers(1, 5)), index.inputs.line.slots)
    for row, hour, hours, gpus in changes:
        taken.append((row, gpus, hour * per_hour, (hour + hours) * per_hour))
        index.capacity.take(*taken[-1])
        search.bounds()  # a block of jobs looked while these were taken
        if random.random() < 0.6:
            row, gpus, first, end = taken.pop(int(random.integers(len(taken))))
            index.capacity.take(row, -gpus, first, end)
    bounds = search.bounds()
    for row in range(4):
        scores, _ = search.best(row, np.arange(2))
        assert (bounds[row] <= scores).all()


@pytest.mark.parametrize(("hours", "waits"), [(2, 4), (1, 4), (1.5, 4), (2.5, 0)])
def test_a_run_takes_a_clean_gap_that_is_just_long_enough(hours, waits):
    busy = [Reservation("a", "ml", "s0", "main", 8, NOON - HOUR, NOON + 4 * HOUR)]
    busy.append(Reservation("b", "ml", "s0", "main", 8, NOON + 6 * HOUR, NOON + 60 * HOUR))
    clean_and_dirty = {"AA-0": [100] * 80, "AA-1": [300] * 80}
    spokes = [spoke("s0", "AA-0"), spoke("s1", "AA-1")]
    snapshot = world(
        [job(hours=hours, schedule={"max_delay": "20h"})], spokes, clean_and_dirty, reservations=tuple(busy)
    )
    (decision,) = plan(snapshot, NOON).decisions
    assert decision.window.start == NOON + waits * HOUR
    assert decision.window.cluster == ("s0" if waits else "s1")


@pytest.mark.parametrize("back", [timedelta(hours=5), timedelta(hours=2)])
def test_a_later_block_takes_the_clean_hours_that_an_earlier_one_gave_back(back):
    clean = int(back / HOUR)
    grid = {"AA-0": [300] * clean + [20] * 4 + [300] * 50}
    index = some_index(grid, gpus=4)
    per_hour = HOUR // (index.inputs.line.slot_minutes * MINUTE)
    window = (0, 4, clean * per_hour, (clean + 4) * per_hour)
    index.capacity.take(*window)
    search = WindowSearch(index, np.arange(4))
    while_taken = search.bounds()
    index.capacity.take(0, -4, *window[2:])
    free = search.bounds()
    assert (free[:, 0] < while_taken[:, 0]).all()
    _, starts = search.best(0, np.array([0]))
    assert clean * per_hour <= starts[0] < (clean + 4) * per_hour


def test_a_choice_stays_where_the_bounds_leave_nothing_that_counts_as_equal():
    index = some_index({"AA-0": [300] * 60})
    search = WindowSearch(index, np.array([0]))
    scores, starts = search.best(0, np.array([0]))
    choice = Choice(0, int(starts[0]), float(scores[0]))
    assert search.preferred_to(0, choice, np.array([np.inf])) == choice


@given(CHANGES, st.integers(0, 1000))
def test_one_row_alone_and_rows_together_prefer_the_same_of_equal_windows(changes, seed):
    random = np.random.default_rng(seed)
    grids = {f"AA-{n}": np.repeat(random.choice([100, 100.5, 101, 200], HOURS), 2) for n in range(3)}
    index = some_index(grids)
    per_hour = HOUR // (index.inputs.line.slot_minutes * MINUTE)
    for row, hour, hours, gpus in changes:
        index.capacity.take(row, gpus, hour * per_hour, (hour + hours) * per_hour)
    search = WindowSearch(index, np.arange(4))
    option = int(random.integers(3))
    scores, starts = search.best(np.arange(4), np.full(4, option))
    rows = np.flatnonzero(np.isfinite(scores))
    choices = [Choice(option, int(starts[row]), float(scores[row])) for row in rows]
    bounds = search.bounds()
    together = search.preferred(rows, choices, bounds[rows]) if rows.size else []
    alone = [search.preferred_to(int(row), choice, bounds[row]) for row, choice in zip(rows, choices, strict=True)]
    assert alone == together
