"""A placement that a person must agree to: proposed on a branch, merged or refused by a person."""

import json
import os
import subprocess
import sys

from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from carbonfleet.api.job_status import Phase
from carbonfleet.cli import app
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


def shown_plainly_and_as_data(stack, branch):
    """What `review` shows a person: no Markdown on a terminal, whole names in a pipe, and data by their schemas."""
    terminal = {"TTY_COMPATIBLE": "1", "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}

    def run(*words, **environment):
        done = CliRunner().invoke(app, ["review", *words, "--fleet-url", stack.git.url], env=environment)
        assert done.exit_code == 0, done.output
        return done.stdout

    told = run("show", branch, **terminal)
    assert "Policies:" in told
    for mark in ("**", "|---", "```", "\\"):
        assert mark not in told.partition("The file:")[0]
    assert max(map(len, run("list", **terminal).splitlines())) <= 80
    assert run("list", "-o", "name") == f"{branch}\n"
    assert f"{branch}  " in run("list")
    assert "```yaml carbon-placement" in run("show", branch)  # what `carbonfleet explain -` reads
    for command, words in {"review list": ("list",), "review show": ("show", branch)}.items():
        schema = json.loads(CliRunner().invoke(app, ["schema", *command.split()]).output)
        found = json.loads(run(*words, "-o", "json"))
        Draft202012Validator(schema).validate(found)
        assert (found[0] if isinstance(found, list) else found)["name"] == branch


def test_a_reviewed_placement_waits_for_a_person_and_runs_when_merged(slow_stack):
    slow_stack.submit("asked", review="required")
    job = slow_stack.wait("asked", Phase.PROPOSED)
    assert condition(job, "Approved").reason == "AwaitingReview"
    assert slow_stack.placements("asked") == []
    shown_plainly_and_as_data(slow_stack, branch_of(slow_stack, "asked"))
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
