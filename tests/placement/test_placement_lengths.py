"""A start is weighed by how long runs like the job's took, where that is not as declared."""

import random
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from carbonfleet.placement import Assumptions, explain, plan
from carbonfleet.placement.search import WindowIndex, WindowSearch, windows_of
from fixtures.placement_world import HOUR, NOON, forecast, job, policy, spoke, world

PROFILE = job().spec.workload.profile
GRID = [900, 900, 10, 100, 900, 900, 150, 150, 150, 150, *[900] * 62]
"""Two hours are cleanest from 14:00 on, one hour likewise; three hours from 18:00 on."""


def two_hours(*took, **more):
    """One job that declares two hours, and what runs like it took."""
    lengths = {(PROFILE, "A100", 1): took} if took else {}
    schedule = {"max_delay": "8h"} | more
    return world([job(hours=2, schedule=schedule)], [spoke("oslo")], {"NO-NO1": GRID}, run_lengths=lengths)


def start_hour(snapshot):
    (decision,) = plan(snapshot, NOON)
    return decision.window.start.hour


def test_a_start_goes_by_the_mean_over_the_lengths_that_runs_took():
    """1 or 3 h: from 14:00 on 10 or 1,010 g, 510 on average; from 18:00 on 150 or 450 g, 300 on average."""
    assert start_hour(two_hours()) == 14
    assert start_hour(two_hours(1.0, 3.0, 1.0, 3.0, 1.0, 3.0)) == 18


def test_a_decision_says_by_which_lengths_its_start_is_weighed():
    def said(snapshot):
        planned = plan(snapshot, NOON)
        return explain(planned, planned.decisions[0]).message

    assert "Its start is weighed by runs of 1 h and 3 h, as such runs took." in said(two_hours(*(1.0, 3.0) * 20))
    assert "Its start is weighed by runs of 3 h, as such runs took." in said(two_hours(*[3.0] * 20))
    assert "Its start is" not in said(two_hours(*[2.0] * 20))


@pytest.mark.parametrize("hours", [1e-9, 1e15])
def test_lengths_that_can_not_be_true_are_weighed_as_far_as_forecasts_reach(hours):
    lengths = plan(two_hours(*[hours] * 5), NOON).index.inputs.demand.lengths_by_kind
    assert lengths.min() >= 1
    assert lengths.max() <= 2 * 60 + 3 * 24 * 60


def test_a_length_that_is_always_off_by_as_much_moves_the_start_and_no_limit():
    always = two_hours(3.0, 3.0, 3.0, 3.0, 3.0, 3.0)
    (decision,) = plan(always, NOON)
    assert (decision.window.start.hour, decision.window.end - decision.window.start) == (18, 2 * HOUR)
    assert decision.window.grams_co2e == pytest.approx(300)
    assert start_hour(two_hours(3.0, 3.0, 3.0, deadline=NOON + 8 * HOUR)) == 18


@pytest.mark.parametrize(
    "took", [(1.0, 3.0), (2.0,) * 9, (1.95, 2.05, 2.0, 2.08)], ids=["two runs", "as told", "nearly"]
)
def test_lengths_that_are_few_or_as_declared_change_nothing(took):
    before, after = (plan(each, NOON) for each in (two_hours(), two_hours(*took)))
    assert before.decisions == after.decisions
    assert after.index.inputs.demand.lengths_by_kind.shape[0] == 1


def test_lengths_of_other_work_other_gpus_and_of_jobs_that_may_be_cut_change_nothing():
    took = (1.0, 3.0) * 3
    for key in (("other", "A100", 1), (PROFILE, "H100", 1), (PROFILE, "A100", 2)):
        assert start_hour(replace(two_hours(), run_lengths={key: took})) == 14
    cut = two_hours(*took, interruptible={"max_pauses": 1})
    assert plan(cut, NOON).decisions == plan(replace(cut, run_lengths={}), NOON).decisions


def drawn(seed):
    """A fleet and a queue by chance, with runs of some jobs' kinds that took all sorts of times."""
    draw = random.Random(seed)
    zones = [f"AA-{number}" for number in range(draw.randint(1, 6))]
    places = [
        spoke(
            zone.lower(),
            zone,
            gpus=draw.randint(2, 9),
            price=draw.choice([0.5, 1.0, 2.0]),
            overhead=draw.choice(["0s", "7m"]),
        )
        for zone in zones
    ]
    grids = [forecast(zone, [draw.randint(20, 900) for _ in range(60)], doubt=draw.choice([0, 30])) for zone in zones]
    jobs = [
        job(
            f"job-{number:02}",
            hours=draw.choice([0.5, 1, 2.7, 6]),
            gpus=draw.choice([1, 2]),
            workload={"model": draw.choice(["acme/base", "acme/large", "acme/new"])},
            schedule={"max_delay": draw.choice(["0s", "5h", "24h"])}
            | draw.choice([{}, {}, {"deadline": NOON + 20 * HOUR}, {"earliest_start": NOON + 3 * HOUR}]),
            objective={"minimize": draw.choice(["carbon", "carbon", "composite"])},
        )
        for number in range(12)
    ]
    took = {
        (PROFILE.replace("acme/base", model), "A100", gpus): tuple(
            draw.choice(hours) for _ in range(draw.randint(2, 30))
        )
        for model, hours in (("acme/base", (0.5, 1.0, 3.0)), ("acme/large", (2.0, 9.0)))
        for gpus in (1, 2)
    }
    tier = {"name": "standard", "max_delay": "24h", "minimum_gain_percent_per_hour": draw.choice([0, 0.01, 1])}
    return world(
        jobs,
        places,
        grids,
        policies=[policy("default", residency={"anywhere": True}, tiers=[tier])],
        assumptions=Assumptions(
            slot=timedelta(minutes=draw.choice([15, 60])), equal_share=0, improvement_cells=2_000_000
        ),
        run_lengths=took,
    ), NOON + timedelta(minutes=draw.choice([0, 7]))


@pytest.mark.parametrize("seed", range(12))
def test_both_evaluators_and_the_forecast_itself_say_the_same(seed):
    """Of every window of every job; the bounds lie below the best that is free."""
    snapshot, now = drawn(seed)
    planned = plan(snapshot, now).index
    inputs, line = planned.inputs, planned.inputs.line
    index = WindowIndex(inputs, planned.capacity)
    for row in range(len(inputs.jobs)):
        windows, search = windows_of(inputs, row), WindowSearch(index, np.array([row]))
        terms = inputs.demand.of(row)
        usable = windows.open & windows.fit(index.capacity.runs_of(inputs.options.capacity_row, terms.gpus))
        assert np.array_equal(search.open_windows(0, index.options), usable)
        least = np.where(usable, windows.scores, np.inf).min(axis=1)
        scores, starts = search.best(0, index.options)
        assert np.array_equal(scores, least)
        assert (search.unhindered[0] <= least).all()
        assert (search.bounds()[0] <= least * (1 + 1e-9)).all()
        for option in np.flatnonzero(np.isfinite(scores)).tolist():
            assert search.best_on(0, option) == (scores[option], starts[option])
            begin = int(starts[option]) * line.slot_minutes
            grid = inputs.carbon[inputs.jobs[row].spec.signal].weighed[inputs.options.zone[option]]
            mean = np.mean([grid[begin + each] - grid[begin] for each in terms.lengths[:, option].tolist()])
            bare = terms.fixed[option] + terms.slope[option] * mean
            assert windows.bare[option, starts[option]] == pytest.approx(bare, rel=1e-12)
