"""Checks are made one after another, and none hides another."""

import pytest

from carbonfleet.doctor import CheckResult, CheckState, examine
from carbonfleet.doctor.check import Once, missing, ok
from fixtures.any_error import ANY_ERROR


def fine(_context):
    yield ok("fine", "it is there")


@pytest.mark.parametrize("error", ANY_ERROR, ids=repr)
def test_a_check_that_fails_is_unknown_with_what_it_found_before_and_the_others_go_on(error):
    def fails(_context):
        yield ok("first half", "it is there")
        raise error

    found = list(examine({"fails": fails, "fine": fine}, None))
    assert [(each.name, each.state) for each in found] == [
        ("first half", CheckState.OK),
        ("fails", CheckState.UNKNOWN),
        ("fine", CheckState.OK),
    ]
    assert found[1].advice


def test_no_secret_in_an_address_is_shown_whoever_says_it():
    def tells(_context):
        yield missing("told", "https://me:hunter2@git.example/x failed", "ask https://me:hunter2@git.example/x")
        raise ValueError("postgresql://me:hunter2@db.example/x")

    found = list(examine({"tells": tells}, None))
    assert found[0] == CheckResult(
        "told",
        CheckState.MISSING,
        "https://[hidden]@git.example/x failed",
        "ask https://[hidden]@git.example/x",
    )
    assert "hunter2" not in str(found)


def test_what_several_checks_need_is_got_once_and_so_is_the_error():
    asked = []

    def get():
        asked.append(1)
        raise OSError("away")

    value = Once(get)
    for _ in range(3):
        with pytest.raises(OSError, match="away"):
            value()
    assert asked == [1]
    assert Once(lambda: None)() is None
