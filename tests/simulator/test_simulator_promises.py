"""Promises made in a replay, and what came of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from carbonfleet.simulator.backtest import OURS, Backtest, our_planner, run_backtest
from carbonfleet.simulator.presets import ZONE_SETS, Case, preset
from carbonfleet.simulator.promises import PromiseRecorder, kept_promises
from carbonfleet.simulator.replay import Planner, every_hour, pools_of, replay
from carbonfleet.simulator.replay.workers import cores
from carbonfleet.simulator.request import with_duration_error, within
from fixtures.made_grids import made_grid

BEGIN = datetime(2022, 1, 29, tzinfo=UTC)
DAYS = 73
"""The first half of the half-year, on which all was chosen."""


def made(days=6, hours=4, slack=24, every=1):
    """A job an hour in two zones, when two months are known."""
    grid = made_grid(zones=2, days=62 + days + 4)
    jobs = every_hour(grid.moment(62 * 24), days * 24, hours, slack)
    return Backtest(grid, (jobs[::every],), pools_of(grid.zones, None), grid.zones[0])


def off_lengths(jobs, doubt):
    """The same jobs with lengths that scatter about the declared one like a lognormal value of such a deviation."""
    ratios = np.exp(np.random.default_rng(1).normal(0, doubt, len(jobs))).tolist()
    return tuple(replace(job, length_ratio=ratio) for job, ratio in zip(jobs, ratios, strict=True))


def test_most_outcomes_lie_within_what_was_promised():
    kept = kept_promises(made(every=2))
    assert kept.jobs == 72
    assert 65 <= kept.grams <= 95
    assert 65 <= kept.saved <= 95
    assert kept.start >= 70
    assert kept.late <= 15


def test_a_promise_knows_nothing_of_what_comes_after_it():
    """The grid is turned upside down from the hour of a job on: it is promised the same as before."""
    backtest = made(days=2)
    first = backtest.scenarios[0][0]
    turned = backtest.grid.grams_per_kwh.copy()
    turned[:, 62 * 24 :] = turned[::-1, 62 * 24 :] * 3
    upside_down = replace(backtest, grid=replace(backtest.grid, grams_per_kwh=turned))
    alone = [replace(each, scenarios=((first,),)) for each in (backtest, upside_down)]
    assert promise_to(alone[0]) == promise_to(alone[1])


def promise_to(backtest):
    """What the only job of a backtest is promised."""
    recorder = our_planner(backtest, PromiseRecorder)
    (job,) = backtest.scenarios[0]
    replay(backtest.grid, (job,), recorder, backtest.pools)
    return recorder.promised[job.name]


def test_lengths_are_learned_as_runs_end():
    """All runs take half as long again as declared: late at first, and then promised as they are."""
    backtest = made(days=8, hours=2, slack=0, every=3)
    jobs = tuple(replace(job, length_ratio=1.5) for job in backtest.scenarios[0])
    late = kept_promises(replace(backtest, scenarios=(jobs,)))
    assert late.late <= 12
    first = kept_promises(replace(backtest, scenarios=(jobs[:3],)))
    assert first.late == 100


def test_jobs_that_run_longer_than_declared_are_planned_as_declared_until_three_have_ended():
    backtest = made(days=1)
    first = backtest.scenarios[0][:3]
    backtest = replace(backtest, scenarios=(first,))
    longer = replace(backtest, scenarios=(tuple(replace(job, length_ratio=1.5) for job in first),))
    told, really = (run_backtest(each, only_ours=True).scenarios[OURS][0].runs for each in (backtest, longer))
    assert [run.begin for run in told] == [run.begin for run in really]
    assert [run.minutes for run in really] == [round(1.5 * run.minutes) for run in told]


class ToldNoLengths(Planner):
    """The planner without what runs took."""

    def snapshot(self, moment):
        return replace(super().snapshot(moment), run_lengths={})


def test_starts_that_go_by_the_lengths_of_earlier_runs_emit_less():
    backtest = with_duration_error(Case("made", made(days=12, hours=24)), 50).backtest
    (jobs,) = backtest.scenarios
    learning, forgetful = (
        sum(
            run.grams(backtest.grid) for run in replay(backtest.grid, jobs, our_planner(backtest, kind), backtest.pools)
        )
        for kind in (Planner, ToldNoLengths)
    )
    assert learning < 0.98 * forgetful


def test_a_duration_error_makes_half_the_jobs_longer_and_half_shorter():
    case = with_duration_error(Case("made", made(days=6)), 50)
    ratios = np.array([job.length_ratio for job in case.backtest.scenarios[0]])
    assert set(ratios) == {0.5, 1.5}
    assert 0.35 < (ratios > 1).mean() < 0.65


@pytest.mark.soak
@pytest.mark.parametrize("doubt", [0.0, 0.2], ids=["as declared", "20 % off"])
def test_four_of_five_outcomes_lie_within_what_was_promised_on_recorded_grids(data_folder, doubt):
    found = {}
    for name in ZONE_SETS:
        for shape in range(3):
            backtest = within(preset(name, data_folder)[shape], BEGIN, BEGIN + timedelta(days=DAYS)).backtest
            scenarios = tuple(off_lengths(jobs[::4], doubt) for jobs in backtest.scenarios)
            found[name, shape] = kept_promises(replace(backtest, scenarios=scenarios))
            print(name, shape, found[name, shape])
    jobs = np.array([kept.jobs for kept in found.values()])

    def pooled(figure):
        return np.array([getattr(kept, figure) for kept in found.values()]) @ jobs / jobs.sum()

    for figure in ("grams", "saved"):
        assert pooled(figure) == pytest.approx(80, abs=3)
        assert [getattr(kept, figure) for kept in found.values()] == pytest.approx([80] * len(found), abs=6)
    if doubt:  # where all runs take as long as declared, a finish is as certain as a start
        assert pooled("finish") == pytest.approx(80, abs=5)
        assert pooled("late") == pytest.approx(10, abs=3)


@pytest.mark.soak
@pytest.mark.parametrize("gain", [None, 0.0], ids=["by default", "to the last gram"])
def test_durations_that_are_off_by_half_lose_at_most_two_points(data_folder, gain):
    """But for runs of 4 and 24 h over apac4, where one that foresees the carbon and both lengths loses 2.7 and 3.5.

    By default day-long runs over apac4 lose 6.1, half of it by what counts as equal: see DECISIONS.
    """
    for name in ZONE_SETS:
        for case in preset(name, data_folder):
            asked = case.backtest if gain is None else replace(case.backtest, minimum_gain=gain)
            short = within(replace(case, backtest=asked), BEGIN, BEGIN + timedelta(days=DAYS))
            right, off = (
                run_backtest(each.backtest, only_ours=True, workers=cores()).of(OURS).share_percent
                for each in (short, with_duration_error(short, 50))
            )
            print(case.title, right, off)
            minutes = case.backtest.scenarios[0][0].minutes
            assert off >= right - (3.5 if name == "apac4" and minutes > 60 else 2)
