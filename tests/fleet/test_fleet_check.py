"""`policy check` and `policy test`: every mistake in a checkout with file, line and what to do."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from carbonfleet.cli.files.policy import app
from carbonfleet.fleet.check import read_checkout, read_files
from fixtures.fleet_values import SEED, facts_of, job_spec, place
from fixtures.git_server import git

LLAMA = "clusters/us-oh-1/jobs/ml/llama.yaml"


def render_into(folder, intent):
    from carbonfleet.fleet import render

    file = folder / intent.path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(render(intent.decision, intent.spec, intent.record, facts_of(intent.window.cluster)))


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "fleet"
    shutil.copytree(SEED, folder)
    render_into(folder, place("llama", "us-oh-1"))
    return folder


def edit(file, old, new):
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def problems(folder):
    return [str(problem) for problem in read_checkout(read_files(folder)).problems]


def test_a_good_checkout_has_no_problem(checkout):
    assert problems(checkout) == []


def test_a_placement_against_residency_is_named_with_its_line(checkout):
    render_into(checkout, place("qwen", "us-oh-1", spec=job_spec("personal")))
    file = checkout / "clusters/us-oh-1/jobs/ml/qwen.yaml"
    lines = enumerate(file.read_text().splitlines(), 1)
    line = max(number for number, text in lines if 'carbonfleet.dev/data-class: "personal"' in text)  # the RayJob's
    assert problems(checkout) == [
        f"clusters/us-oh-1/jobs/ml/qwen.yaml:{line}: data class personal may not run here: Policy eu-only allows EU, "
        "EEA; us-oh-1 is in US. Remove this file"
    ]


def test_a_label_changed_by_hand_is_judged_as_changed(checkout):
    edit(checkout / LLAMA, 'data-class: "public"', 'data-class: "personal"')
    assert [line.split(": ")[1] for line in problems(checkout)] == ["data class personal may not run here"]


def test_a_policy_that_shuts_placements_out_names_them(checkout):
    edit(checkout / "policies/default.yaml", "{anywhere: true}", "{regions: [ca-central-1]}")
    assert [line.split(":")[0] for line in problems(checkout)] == [LLAMA]


@pytest.mark.parametrize(
    ("path", "old", "new", "wanted"),
    [
        ("policies/eu-only.yaml", "name: eu-only", "name: eu", "policies/eu-only.yaml:3: metadata.name is eu, but the"),
        ("policies/eu-only.yaml", "kind: FleetPolicy", "kind: FleetPolicy\nkind: x", ":3: kind is written twice"),
        ("policies/eu-only.yaml", "residency:", "residence:", "policies/eu-only.yaml:6: spec.residence: no such field"),
        ("clusters/no-osl-1/cluster.yaml", '"NO-NO1"', "NO", "clusters/no-osl-1/cluster.yaml:8: zone: "),
        ("clusters/no-osl-1/cluster.yaml", "name: no-osl-1", "name: no-osl-2", "the folder is no-osl-1"),
        ("clusters/no-osl-1/cluster.yaml", "kind: ConfigMap", "kind: Secret", ":2: must be a ConfigMap"),
        ("clusters/us-oh-1/cluster.yaml", "name: a100,", "name: h100,", f"{LLAMA}:1: us-oh-1 has no pool a100"),
        ("clusters/us-oh-1/cluster.yaml", "gpus: 1024,", "gpus: 1,", f"{LLAMA}:1: 2 GPUs are more than a100 has"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_cure(checkout, path, old, new, wanted):
    edit(checkout / path, old, new)
    assert any(wanted in line for line in problems(checkout)), problems(checkout)


def test_a_job_in_two_clusters_is_named(checkout):
    render_into(checkout, place("llama", "no-osl-1"))
    assert problems(checkout) == [
        f"{LLAMA}:1: job ml/llama is in clusters/no-osl-1/jobs/ml/llama.yaml too, and would run twice; remove one"
    ]


def test_a_link_is_no_policy(checkout):
    (checkout / "policies/secret.yaml").symlink_to("/etc/hostname")
    assert {line.split(":")[0] for line in problems(checkout)} == {"policies/secret.yaml"}


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_check_ends_with_zero_or_one(checkout):
    good = run("check", checkout)
    assert (good.exit_code, "nothing is wrong" in good.output) == (0, True)
    edit(checkout / "policies/default.yaml", "kind: FleetPolicy", "kind: [")
    bad = run("check", checkout)
    assert bad.exit_code == 1
    assert "policies/default.yaml:4: not YAML" in bad.output


def test_check_says_what_a_wrong_folder_lacks(tmp_path):
    result = run("check", tmp_path)
    assert result.exit_code == 2
    assert "neither policies/ nor clusters/" in result.output


NO_FIELD = "spec.residence: no such field (did you mean residency?)"


def test_check_writes_annotations_and_json(checkout):
    edit(checkout / "policies/eu-only.yaml", "residency:", "residence:")
    lines = run("check", checkout, "--format", "github").output.splitlines()
    assert f"::error file=policies/eu-only.yaml,line=6::{NO_FIELD}" in lines
    found = json.loads(run("check", checkout, "--format", "json").output)
    assert {"severity": "error", "path": "policies/eu-only.yaml", "line": 6, "message": NO_FIELD} in found


def test_a_diff_is_blamed_for_its_own_files_alone(checkout):
    (checkout / "clusters/no-osl-1/jobs/old.txt").parent.mkdir(parents=True)
    (checkout / "clusters/no-osl-1/jobs/old.txt").write_text("old mess")
    git(checkout, "init", "--quiet")
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "-m", "before")
    (checkout / "clusters/us-oh-1/jobs/ml/new.yaml").write_text("kind: RayJob\n")
    git(checkout, "add", "--all")
    result = run("check", checkout, "--since", "HEAD")
    assert result.exit_code == 1
    assert [line.split(":")[0] for line in result.output.splitlines()] == ["clusters/us-oh-1/jobs/ml/new.yaml"]
    edit(checkout / "policies/default.yaml", "public", "internal")
    assert "old.txt" in run("check", checkout, "--since", "HEAD").output


def test_an_unknown_commit_to_compare_with_is_an_error(checkout):
    git(checkout, "init", "--quiet")
    assert run("check", checkout, "--since", "--output=/tmp/x").exit_code == 2


def programs(marker: Path) -> dict[str, str]:
    """Git settings that name a program, each of which would leave a mark."""
    script = marker.with_name("program")
    script.write_text(f"#!/bin/sh\necho ran >> {marker}\ncat\n")
    script.chmod(0o755)
    names = (
        "core.fsmonitor core.sshCommand core.pager core.editor core.askPass core.gitProxy core.alternateRefsCommand "
        "diff.external diff.x.command diff.x.textconv filter.x.clean filter.x.smudge filter.x.process merge.x.driver "
        "credential.helper gpg.program gpg.ssh.program uploadpack.packObjectsHook sequence.editor "
        "interactive.diffFilter remote.origin.uploadpack submodule.x.update log.showSignature"
    )
    return dict.fromkeys(names.split(), str(script)) | {"submodule.x.update": f"!{script}", "core.hooksPath": "hooks"}


@pytest.mark.parametrize("arguments", [(), ("--since", "HEAD"), ("--since", "HEAD~0^{commit}")])
def test_nothing_that_a_checkout_names_is_run(checkout, tmp_path, arguments):
    marker = tmp_path / "ran"
    git(checkout, "init", "--quiet")
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "-m", "All")
    edit(checkout / "policies/default.yaml", "public", "internal")
    (checkout / ".gitattributes").write_text("* filter=x diff=x merge=x\n")
    (checkout / ".git/info").mkdir(exist_ok=True)
    (checkout / ".git/info/attributes").write_text("* filter=x diff=x\n")
    for name, value in programs(marker).items():
        git(checkout, "config", name, value)
    more = tmp_path / "more"
    more.write_text((checkout / ".git/config").read_text())
    git(checkout, "config", "include.path", str(more))
    hooks = checkout / "hooks"
    hooks.mkdir()
    for hook in ("post-index-change", "fsmonitor-watchman", "post-checkout", "reference-transaction"):
        (hooks / hook).symlink_to(tmp_path / "program")
    run("check", checkout, *arguments)
    assert not marker.exists()
    with contextlib.suppress(AssertionError):
        git(checkout, "diff", "--name-only", "HEAD")
    assert marker.exists(), "git itself would have run them"


def test_policy_test_answers_where_and_why_not(checkout):
    result = run("test", "--data-class", "personal", "--namespace", "ml", checkout)
    assert result.exit_code == 0
    answers = {line.split()[0]: line.split()[1] for line in result.output.splitlines() if "-1 " in line}
    assert answers == {"ca-qc-1": "no", "no-osl-1": "yes", "us-oh-1": "no"}
    assert "eu-only" in result.output


def test_policy_test_ends_with_one_where_a_job_may_run_nowhere(checkout):
    assert run("test", "--data-class", "secret", "--namespace", "ml", checkout).exit_code == 1


@pytest.mark.parametrize(
    ("file", "old", "new", "note"),
    [
        (
            "policies/eu-only.yaml",
            "{jurisdictions: [EU, EEA]}",
            "{clusters: [no-osl1]}",
            "no cluster is called no-osl1; did you mean no-osl-1?",
        ),
        (
            "clusters/us-oh-1/cluster.yaml",
            "US-MIDA-PJM",
            "US-MIDA",
            "us-oh-1 declares zone US-MIDA; region us-east-2 usually draws from US-MIDA-PJM",
        ),
        (
            "clusters/us-oh-1/cluster.yaml",
            "gpuType: A100",
            "gpuType: A1000",
            "no hardware profile is of A1000; did you mean A100?",
        ),
        (
            "clusters/us-oh-1/cluster.yaml",
            "region: us-east-2",
            "region: us-eastt-2",
            "no grid is known of region us-eastt-2; did you mean us-east-2?",
        ),
        (
            "policies/default.yaml",
            "spec:",
            "spec:\n  stores: [{name: lora, uri: 's3://lora', region: eu-nort-1, jurisdictions: [EU]}]",
            "store lora: no grid is known of region eu-nort-1; did you mean eu-north-1?",
        ),
        (
            "policies/default.yaml",
            "spec:",
            "spec:\n  stores: [{name: lora, uri: lora-eu/jobs, region: us-east-2, jurisdictions: [US]}]",
            "store lora: lora-eu/jobs is no address and no path, so that it covers nothing; did you mean "
            "s3://lora-eu/jobs?",
        ),
    ],
    ids=["cluster", "zone", "GPU type", "region", "store's region", "store's address"],
)
def test_a_name_that_nothing_is_known_of_is_noted_and_no_mistake(tmp_path, file, old, new, note):
    folder = tmp_path / "fleet"
    shutil.copytree(SEED, folder)
    before = run("check", folder).stderr.splitlines()
    edit(folder / file, old, new)
    found = run("check", folder)
    assert (found.exit_code, set(found.stderr.splitlines()) - set(before)) == (0, {f"note: {file}:1: {note}"})
