"""Commands that look at files alone: `validate`, `explain` of a manifest, and how wrong paths end."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from carbonfleet.cli import app

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "crds" / "examples"


def run(*arguments):
    """Run a command from the checkout's root."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_validate_reads_a_folder_of_jobs(tmp_path):
    shutil.copytree(EXAMPLES, tmp_path / "jobs")
    found = run("validate", tmp_path / "jobs")
    assert found.exit_code == 1
    assert f"{tmp_path}/jobs/invalid.yaml:18: spec.resources.duration: write" in found.output
    (tmp_path / "jobs" / "invalid.yaml").unlink()
    good = run("validate", tmp_path / "jobs")
    assert (good.exit_code, good.output) == (0, "8 files checked: nothing is wrong\n")


def test_validate_names_the_field_that_was_meant(tmp_path):
    text = (EXAMPLES / "waits.yaml").read_text()
    (tmp_path / "job.yaml").write_text(text.replace("maxDelay", "maxDelai"))
    found = run("validate", tmp_path / "job.yaml")
    assert found.output.startswith(f"{tmp_path}/job.yaml:")
    assert "spec.schedule.maxDelai: no such field (did you mean maxDelay?)" in found.output


def test_validate_judges_a_checkout_of_the_fleet(tmp_path):
    shutil.copytree(ROOT / "fleet", tmp_path / "fleet")
    assert run("validate", tmp_path / "fleet").exit_code == 0
    policy = tmp_path / "fleet" / "policies" / "eu-only.yaml"
    policy.write_text(policy.read_text().replace("jurisdictions:", "jurisdiction:"))
    assert "(did you mean jurisdictions?)" in run("validate", tmp_path / "fleet").output


TIER_OF_OTHERS = (
    'Policy keeps tier "urgent" from data class public of namespace team-c, which may use flexible, patient,'
)


@pytest.fixture
def presuming(tmp_path) -> Path:
    """A job that names a tier which the seed keeps for others."""
    file = tmp_path / "job.yaml"
    text = (EXAMPLES / "unconstrained.yaml").read_text()
    assert "namespace: team-a" in text
    file.write_text(text.replace("namespace: team-a", "namespace: team-c"))
    return file


def test_validate_holds_a_job_against_the_fleets_policies(presuming):
    assert run("validate", presuming).exit_code == 0
    found = run("validate", presuming, "--fleet", ROOT / "fleet")
    assert (found.exit_code, f": blocked: {TIER_OF_OTHERS}" in found.output) == (3, True)
    may = run("validate", EXAMPLES / "unconstrained.yaml", "--fleet", ROOT / "fleet")
    assert (may.exit_code, may.output) == (0, "1 file checked: nothing is wrong\n")


def test_validate_with_policies_finds_data_that_no_spoke_may_have():
    found = run("validate", EXAMPLES / "blocked.yaml", "--fleet", ROOT / "fleet")
    assert found.exit_code == 3
    assert "blocked: No spoke can take the job: policy allows none of 3 spokes. Policy de-only" in found.output


def test_explain_says_that_a_tier_is_for_others(presuming):
    told = run("explain", presuming, "--demo", "--fleet", ROOT / "fleet")
    assert TIER_OF_OTHERS in " ".join(told.output.split())


@pytest.mark.parametrize(
    ("path", "what"), [("nowhere.yaml", "can't be read"), (".", "holds no .yaml, .yml, .json file")]
)
def test_validate_says_what_a_wrong_path_lacks(tmp_path, path, what):
    found = run("validate", tmp_path / path)
    assert (found.exit_code, what in found.output) == (1, True)


def test_explain_needs_no_cluster():
    told = run("explain", EXAMPLES / "waits.yaml", "--demo", "--fleet", ROOT / "fleet")
    assert told.exit_code == 0, told.output
    assert "waiting saves" in " ".join(told.output.split())
    assert "us-oh-1" in told.output


def test_the_least_that_a_job_can_say_runs_at_once_where_it_is_clean():
    told = run("explain", EXAMPLES / "minimal.yaml", "--demo", "--fleet", ROOT / "fleet")
    assert "team-a/minimal: Start (Placed)" in told.output
    assert "on 1 GPU of no-osl-1/a100" in told.output


def test_explain_names_the_spokes_that_policy_forbids():
    told = run("explain", EXAMPLES / "blocked.yaml", "--demo", "--fleet", ROOT / "fleet")
    assert "policy allows none of 3 spokes" in told.output
    assert "ResidencyPolicy" not in told.output


def test_explain_names_what_is_wrong_with_the_checkout_that_it_plans_with(tmp_path):
    shutil.copytree(ROOT / "fleet", tmp_path / "fleet")
    cluster = tmp_path / "fleet" / "clusters" / "no-osl-1" / "cluster.yaml"
    cluster.write_text(cluster.read_text().replace("    pue: 1.1", "    pue: 0.1"))
    told = run("explain", EXAMPLES / "minimal.yaml", "--demo", "--fleet", tmp_path / "fleet")
    assert told.exit_code == 0, told.output
    problem = "pue: must be greater than or equal to 1"
    assert told.stderr == f"{cluster}:24: warning: {problem}\n"
    assert "the least carbon of 2 spokes." in told.stdout
    row = next(line for line in told.stdout.splitlines() if "x  no-osl-1" in line)
    assert f"clusters/no-osl-1/cluster.yaml:24: {problem}" in row


@pytest.mark.parametrize("what", ["nope", "/nope", "team-a/", "a/b/c", "nope.yaml"])
def test_explain_of_what_is_no_file_says_what_to_give(what):
    found = run("explain", what)
    assert (found.exit_code, "namespace/name" in found.output) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["hub", "run", "--fleet-url", "https://x/y", "--state", "{}", "--log-level", "loud"], "no log level loud"),
        (["policy", "check", "{}"], "neither policies/ nor clusters/"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_what_can_not_work_ends_with_one_line_that_says_what_to_give(tmp_path, arguments, what):
    done = run(*(argument.format(tmp_path) for argument in arguments))
    assert done.exit_code == 2
    assert len(done.output.splitlines()) == 1
    assert what in done.output
