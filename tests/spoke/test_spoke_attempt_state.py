"""What the agent does with an attempt, and what it says of it."""

from itertools import product

import pytest
from spoke_values import known, run, wanted

from carbonfleet.api.report import AttemptPhase as Phase
from carbonfleet.spoke.attempt_state import MOST_RESTARTS, Action, AttemptState, AttemptStatus, action_of, status_of

LIVE = (Phase.PENDING, Phase.RUNNING, Phase.UNKNOWN)
ENDED = (Phase.STOPPED, Phase.SUCCEEDED, Phase.FAILED)


def state(want=None, runs=None, knows=None, **more) -> AttemptState:
    return AttemptState(want, runs, knows, **more)


def test_what_is_wanted_and_does_not_run_is_started():
    assert action_of(state(wanted())) is Action.START


@pytest.mark.parametrize("phase", LIVE)
def test_what_runs_and_is_wanted_is_left_alone(phase):
    assert action_of(state(wanted(), run(phase), known(phase))) is Action.NOTHING


@pytest.mark.parametrize("phase", LIVE)
def test_what_runs_and_is_not_wanted_is_stopped(phase):
    assert action_of(state(None, run(phase), known(phase))) is Action.STOP


@pytest.mark.parametrize("phase", LIVE)
def test_what_runs_and_is_to_be_suspended_is_suspended(phase):
    assert action_of(state(wanted(suspended=True), run(phase), known(phase))) is Action.SUSPEND


def test_what_was_committed_suspended_is_not_started():
    assert action_of(state(wanted(suspended=True))) is Action.NOTHING
    assert status_of(state(wanted(suspended=True))) == AttemptStatus(Phase.SUSPENDED, "Suspended")


@pytest.mark.parametrize("ended", [Phase.STOPPED, Phase.SUSPENDED])
def test_what_was_suspended_is_taken_up_again(ended):
    assert action_of(state(wanted(), run(ended), known(Phase.SUSPENDED))) is Action.START


@pytest.mark.parametrize("phase", [*ENDED, Phase.REFUSED])
def test_what_is_over_is_never_started_again(phase):
    for runs in (None, *(run(ended) for ended in ENDED)):
        again = state(wanted(), runs, known(phase, "Why"))
        assert action_of(again) is Action.NOTHING
        assert status_of(again).phase is phase


@pytest.mark.parametrize("phase", ENDED)
def test_an_ended_run_that_nobody_remembers_is_not_started_again(phase):
    assert action_of(state(wanted(), run(phase))) is Action.NOTHING
    assert status_of(state(wanted(), run(phase))).phase is phase


def test_a_finished_output_is_not_trained_again():
    again = state(wanted(), is_done=True)
    assert action_of(again) is Action.NOTHING
    assert status_of(again) == AttemptStatus(Phase.SUCCEEDED)


@pytest.mark.parametrize("phase", LIVE)
def test_what_git_no_longer_shows_goes_on(phase):
    hidden = state(None, run(phase), known(phase), goes_on=True)
    assert action_of(hidden) is Action.NOTHING
    assert status_of(hidden).phase is phase


def test_what_neither_git_nor_the_runtime_shows_stays_as_it_was():
    hidden = state(None, None, known(Phase.RUNNING), goes_on=True)
    assert action_of(hidden) is Action.NOTHING
    assert status_of(hidden).phase is Phase.RUNNING


def test_an_attempt_that_the_runtime_lost_is_taken_up_again():
    lost = state(wanted(), None, known(Phase.RUNNING))
    assert action_of(lost) is Action.START
    assert status_of(lost).reason == "Restarting"


def test_an_attempt_that_is_lost_again_and_again_fails():
    lost = state(wanted(), None, known(Phase.RUNNING, restarts=MOST_RESTARTS))
    assert action_of(lost) is Action.NOTHING
    assert status_of(lost).phase is Phase.FAILED
    assert status_of(lost).reason == "RuntimeLost"


def test_an_attempt_that_never_started_and_is_removed_is_stopped():
    assert status_of(state(None, None, known(Phase.PENDING, session=""))).phase is Phase.STOPPED


def test_stopping_is_not_yet_stopped():
    assert status_of(state(None, run(Phase.RUNNING), known(Phase.RUNNING))) == AttemptStatus(
        Phase.RUNNING, "Stopping", "removed from Git; saves itself and stops"
    )


def test_a_deletion_that_hangs_says_so():
    stuck = run(Phase.RUNNING, "DeletingStuck", message="for 12 minutes")
    assert status_of(state(None, stuck, known(Phase.RUNNING))).reason == "DeletingStuck"


def test_a_stop_that_nobody_asked_for_is_reported_as_such():
    stopped = state(wanted(), run(Phase.STOPPED), known(Phase.RUNNING))
    assert status_of(stopped).reason == "StoppedOnSpoke"
    assert action_of(stopped) is Action.NOTHING


def test_a_machine_that_goes_away_interrupts_and_does_not_fail():
    gone = state(wanted(), run(Phase.FAILED, "Stopped"), known(Phase.RUNNING))
    assert status_of(gone).phase is Phase.STOPPED
    assert status_of(gone).reason == "Interrupted"


def test_what_may_not_start_says_why():
    held = AttemptStatus(Phase.PENDING, "WaitingForGpus", "none free")
    assert status_of(state(wanted()), held) == held


def test_unknown_is_never_failed():
    """Over every combination: Failed is said only of what the runtime calls failed, or what was lost for good."""
    wants = (None, wanted(), wanted(suspended=True))
    runs = (None, *(run(phase) for phase in Phase if phase is not Phase.REFUSED))
    knows = (None, *(known(phase) for phase in Phase if not phase.is_terminal))
    for want, runs_now, knows_now, goes_on in product(wants, runs, knows, (False, True)):
        if want is None and runs_now is None and knows_now is None:
            continue
        seen = state(want, runs_now, knows_now, goes_on=goes_on)
        failed = runs_now is not None and runs_now.phase is Phase.FAILED
        assert (status_of(seen).phase is Phase.FAILED) == failed


def test_only_what_is_wanted_and_not_over_is_ever_started():
    for want, phase, runs_now in product(
        (None, wanted(), wanted(suspended=True)), Phase, (None, *(run(phase) for phase in Phase))
    ):
        seen = state(want, runs_now, known(phase))
        if action_of(seen) is Action.START:
            assert want is not None
            assert not want.placement.suspended
            assert not phase.is_terminal
            assert runs_now is None or not runs_now.is_live
