"""Processes of the embedded stack: revived when they end, given up when that is in vain."""

import sys

import pytest

from carbonfleet.local.child import MOST_TRIES, Child, ChildError


def test_a_process_that_keeps_ending_is_given_up_with_the_end_of_its_log(tmp_path):
    child = Child("hub", [sys.executable, "-c", "raise SystemExit('no such fleet')"], tmp_path / "hub.log")
    child.start()
    for _ in range(MOST_TRIES):
        child.wait(60)
        child.revive()
    child.wait(60)
    with pytest.raises(ChildError, match="hub ended 4 times") as raised:
        child.revive()
    assert "no such fleet" in str(raised.value)


def test_a_process_that_ended_once_is_started_again(tmp_path):
    child = Child("api", [sys.executable, "-c", "import time; time.sleep(600)"], tmp_path / "api.log")
    child.start()
    first = child.pid
    child.kill()
    child.revive()
    assert child.is_alive
    assert child.pid != first
    child.kill()
