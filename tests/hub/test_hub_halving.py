"""Successive halving on worked examples: who goes on, whatever is known when, and in which order it is read."""

import itertools
import random
from datetime import UTC, datetime, timedelta

import pytest

from carbonfleet.api.job import Halving
from carbonfleet.hub.running.halving import Arrival, kept_of, verdicts_on

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
RULE = Halving(rungs_percent=(10, 30), eta=3, minimum=3)


def arrivals(*losses, percent=10):
    """Jobs a, b, c ... that reach a rung a minute after each other."""
    return [
        Arrival(NOON + timedelta(minutes=percent * 100 + n), percent, name, percent, loss)
        for n, (name, loss) in enumerate(zip("abcdefghijklmnopqrstuvwxyz", losses, strict=False))
    ]


def going_on(given, rule=RULE):
    """The jobs that go on at each arrival."""
    found = verdicts_on(given, rule, {one.job for one in given})
    return [verdict.arrival.job for verdict in found if verdict.goes_on]


@pytest.mark.parametrize(("reached", "kept"), [(1, 1), (3, 3), (4, 2), (6, 2), (7, 3), (20, 7), (21, 7)])
def test_one_in_eta_goes_on_and_all_of_the_first(reached, kept):
    assert kept_of(reached, RULE) == kept


def test_a_job_goes_on_if_it_is_among_the_best_third_so_far():
    # a, b, c are the first; d is the best; e is second of five, of whom two go on; f is third of six, of whom two do.
    assert going_on(arrivals(3.0, 2.9, 2.8, 2.0, 2.1, 2.2)) == ["a", "b", "c", "d", "e"]


def test_a_verdict_says_how_the_job_stood():
    verdict = verdicts_on(arrivals(3.0, 2.0, 2.5, 2.7), RULE, {"d"})[0]
    assert (verdict.rank, verdict.reached, verdict.kept, verdict.cut_loss, verdict.goes_on) == (3, 4, 2, 2.5, False)


def test_equal_losses_are_equally_good():
    assert going_on(arrivals(2.0, 2.0, 2.0, 2.0)) == ["a", "b", "c", "d"]


def test_the_first_of_all_goes_on_with_any_rule():
    assert going_on(arrivals(9.0, 1.0, 5.0), Halving(rungs_percent=(10,), eta=16, minimum=1)) == ["a", "b"]


def test_rungs_are_apart():
    later = [Arrival(NOON + timedelta(days=1), 30, "d", 30, 9.0)]
    assert going_on([*arrivals(1.0, 1.1, 1.2, 0.9), *later]) == ["a", "b", "c", "d", "d"]


def test_a_job_that_is_stopped_reaches_no_rung_after_that():
    late = [Arrival(NOON + timedelta(days=1), 30, "d", 30, 0.1)]
    found = verdicts_on([*arrivals(1.0, 1.1, 1.2, 1.3), *late], RULE, {"d"})
    assert [(one.arrival.percent, one.goes_on) for one in found] == [(10, False)]


def test_what_was_decided_is_not_decided_again_and_others_are_only_rivals():
    found = verdicts_on(arrivals(1.0, 1.1, 1.2, 1.3, 0.9), RULE, {"d", "e"}, {("d", 10)})
    assert [one.arrival.job for one in found] == ["e"]


def test_the_order_in_which_arrivals_are_read_changes_nothing():
    given = arrivals(3.0, 2.9, 2.8, 2.0, 2.1)
    assert len({tuple(going_on(order)) for order in itertools.permutations(given)}) == 1


def test_deciding_step_by_step_and_all_at_once_gives_the_same_verdicts():
    draw = random.Random(15)
    for _ in range(200):
        given = arrivals(*(draw.random() for _ in range(21))) + arrivals(
            *(draw.random() for _ in range(21)), percent=30
        )
        names = {one.job for one in given}
        whole = verdicts_on(given, RULE, names)
        told, stopped = [], set()
        for count in range(1, len(given) + 1):
            seen = [one for one in sorted(given)[:count] if one.job not in stopped or (one.job, one.percent) in told]
            for verdict in verdicts_on(seen, RULE, names - stopped, told):
                told.append((verdict.arrival.job, verdict.arrival.percent))
                stopped |= set() if verdict.goes_on else {verdict.arrival.job}
                assert verdict in whole
        assert len(told) == len(whole)
