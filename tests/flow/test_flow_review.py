"""A placement that a person must agree to: proposed on a branch, merged or refused by a person."""

import os
import subprocess
import sys

from carbonfleet.api.job_status import Phase
from carbonfleet.clock import VARIABLE
from fixtures.hub_process import condition
from fixtures.kubeapi_server import eventually


def review(stack, command: str, proposal: str, *more: str) -> str:
    """The command that a person runs where no forge shows proposals."""
    arguments = [proposal, "--fleet-url", stack.git.url, "--reviewer", "Pat Person <pat@example.org>", *more]
    done = subprocess.run(
        [sys.executable, "-m", "carbonfleet", "review", command, *arguments],
        env=os.environ | {VARIABLE: stack.clock.encode()},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def branch_of(stack, name: str) -> str:
    """The proposal's branch, once it is there."""
    found: list[str] = []

    def look() -> bool:
        lines = stack.git.git("branch", "--list", "--format=%(refname:short)").split()
        found[:] = [line for line in lines if f".{name}/" in line]
        return bool(found)

    eventually(look)
    return found[0]


def test_a_reviewed_placement_waits_for_a_person_and_runs_when_merged(slow_stack):
    slow_stack.submit("asked", review="required")
    job = slow_stack.wait("asked", Phase.PROPOSED)
    assert condition(job, "Approved").reason == "AwaitingReview"
    assert slow_stack.placements("asked") == []
    review(slow_stack, "approve", branch_of(slow_stack, "asked"))
    job = slow_stack.wait("asked", Phase.SUCCEEDED)
    assert condition(job, "Approved").reason == "Merged"
    slow_stack.assert_run_once("asked")


def test_a_rejected_placement_stays_rejected_for_its_generation(slow_stack):
    slow_stack.submit("refused", review="required")
    slow_stack.wait("refused", Phase.PROPOSED)
    review(slow_stack, "reject", branch_of(slow_stack, "refused"), "--why", "too many at once")
    job = slow_stack.wait("refused", Phase.REJECTED)
    assert condition(job, "Approved").reason == "Rejected"
    assert slow_stack.placements("refused") == []
