"""Amounts of carbon, energy and money: what is nothing is 0, however it was summed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbonfleet.amounts import difference, percent, rounded

SUMS = st.lists(st.floats(0.001, 1e9), min_size=2, max_size=30)


@given(SUMS, st.randoms(use_true_random=False))
def test_sums_of_the_same_terms_differ_by_nothing(terms, random):
    other = terms.copy()
    random.shuffle(other)
    found = difference(sum(terms), sum(other))
    assert (found, math.copysign(1, found)) == (0, 1)


@given(SUMS)
def test_what_differs_by_a_millionth_is_told(terms):
    assert difference(sum(terms), sum(terms) * 1.000001) < 0 < difference(sum(terms) * 1.000001, sum(terms))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_no_figure_is_smaller_than_a_billionth_or_a_negative_zero(amount):
    for found in (rounded(amount), rounded(amount, 2), percent(max(min(amount, 1e9), -1e9), 100.0)):
        assert found == 0 or abs(found) >= 0.99e-9
        assert repr(found) != "-0.0"


@pytest.mark.parametrize(("part", "whole", "share"), [(1, 3, 33.3), (-0.01, 100, 0.0), (-1e-14, 9, 0.0), (5, 0, None)])
def test_a_share_is_in_percent_to_a_tenth(part, whole, share):
    assert repr(percent(part, whole)) == repr(share)
