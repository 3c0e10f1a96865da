"""What is unforeseen in one item of many ends there, whatever it is."""

import pytest

from carbonfleet.faults import LONGEST_FAULT, only, said
from fixtures.any_error import ANY_ERROR


@pytest.mark.parametrize("error", ANY_ERROR, ids=lambda error: type(error).__name__)
def test_any_error_of_one_item_is_told_in_a_printable_line_and_the_others_go_on(error):
    done, told = [], []
    for item in range(3):
        with only(f"item {item}", told.append):
            if item == 1:
                raise error
            done.append(item)
    assert (done, told) == ([0, 2], [f"item 1: {said(error)}"])
    assert said(error).isprintable()
    assert said(error).startswith(type(error).__name__)
    assert len(said(error)) <= LONGEST_FAULT + 40


def test_errors_that_are_not_the_items_are_raised():
    told = []
    with pytest.raises(KeyError), only("item", told.append, but=KeyError):
        raise KeyError("elsewhere")
    assert told == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)], ids=["interrupt", "exit"])
def test_an_end_that_was_asked_for_is_no_fault(error):
    with pytest.raises(type(error)), only("item"):
        raise error
