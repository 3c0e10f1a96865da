"""The table of RayJob states: complete, and terminal only where KubeRay has really given up."""

from itertools import product

import pytest

from carbonfleet.api.rayjob import (
    DEPLOYMENT_STATES,
    JOB_STATES,
    RAYJOB_STATES,
    UNKNOWN_STATE,
    Health,
    rayjob_state,
)
from carbonfleet.api.report import AttemptPhase as Phase

PAIRS = list(product(DEPLOYMENT_STATES, JOB_STATES))
TERMINAL = {"Complete", "Failed", "ValidationFailed"}


@pytest.mark.parametrize(("deployment", "job"), PAIRS)
def test_every_state_of_kuberay_has_a_row_and_ends_only_where_it_ends(deployment, job):
    row = rayjob_state(deployment, job)
    assert row.phase.is_terminal <= (deployment in TERMINAL)
    assert row is not UNKNOWN_STATE or deployment == "Complete"


def test_a_state_of_a_later_kuberay_is_unknown():
    assert rayjob_state("Hibernating", "RUNNING").phase is Phase.UNKNOWN


def test_success_needs_both_states_to_say_so():
    succeeded = [pair for pair in PAIRS if rayjob_state(*pair).phase is Phase.SUCCEEDED]
    assert succeeded == [("Complete", "SUCCEEDED")]


def test_validation_failed_is_terminal():
    assert {rayjob_state("ValidationFailed", job).phase for job in JOB_STATES} == {Phase.FAILED}


def test_no_row_is_hidden_by_one_above_it():
    for index, row in enumerate(RAYJOB_STATES):
        pairs = [pair for pair in PAIRS if row.matches(*pair)]
        assert any(not any(above.matches(*pair) for above in RAYJOB_STATES[:index]) for pair in pairs), row


def test_what_failed_is_degraded():
    for row in RAYJOB_STATES:
        if row.phase is Phase.FAILED:
            assert row.health is Health.DEGRADED
