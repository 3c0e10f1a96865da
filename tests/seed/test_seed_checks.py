"""The seed's checks for three forges run the command that exists."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from carbonfleet.cli import app

ROOT = Path(__file__).parents[2]
WORKFLOWS = (".github/workflows/policy.yaml", ".gitea/workflows/policy.yaml", ".gitlab-ci.yml")


def text_of(path: str) -> str:
    return (ROOT / "fleet" / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", WORKFLOWS)
def test_each_forge_runs_the_policy_check(path):
    commands = re.findall(r"(?:carbonfleet|operator:[\d.]+) (policy check) (?:\.|/fleet)$", text_of(path), re.MULTILINE)
    assert commands == ["policy check"]
    command: Any = typer.main.get_command(app)
    context = command.context_class(command)
    for word in commands[0].split():
        command = command.get_command(context, word)
        assert command is not None, word


@pytest.mark.parametrize("path", WORKFLOWS[:2])
def test_a_workflow_is_bounded_and_only_reads(path):
    document = yaml.safe_load(text_of(path))
    (job,) = document["jobs"].values()
    assert job["timeout-minutes"] <= 10
    # YAML 1.1 reads the key `on` as true.
    assert "pull_request" in document[True]
    assert "pull_request_target" not in document[True]


@pytest.mark.parametrize("path", WORKFLOWS[:2])
def test_no_text_of_a_pull_request_reaches_a_shell(path):
    (job,) = yaml.safe_load(text_of(path))["jobs"].values()
    assert not [step for step in job["steps"] if "${{" in step.get("run", "")]


def test_of_a_fresh_seed_the_check_has_nothing_to_say():
    done = CliRunner().invoke(app, ["policy", "check", str(ROOT / "fleet")])
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.strip().endswith("3 clusters and 0 placements: nothing is wrong")


def test_placements_have_no_owner_so_that_the_hub_may_commit_them():
    lines = [line.split() for line in text_of("CODEOWNERS").splitlines() if line and not line.startswith("#")]
    owners = {line[0]: line[1:] for line in lines}
    assert owners["/clusters/*/jobs/"] == owners["/moves/"] == []
    assert [line[0] for line in lines[-2:]] == ["/clusters/*/jobs/", "/moves/"]
    assert owners["/policies/"]
