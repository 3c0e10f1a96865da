"""What `validate` and `explain` read: several documents, Lists, folders and the standard input; and how they answer."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from carbonfleet.api.job import NAME_RULE
from carbonfleet.cli import app

ROOT = Path(__file__).parents[2]
FLEET = ROOT / "fleet"
EXAMPLES = ROOT / "crds" / "examples"
MINIMAL = yaml.safe_load((EXAMPLES / "minimal.yaml").read_text())
BLOCKED = yaml.safe_load((EXAMPLES / "blocked.yaml").read_text())


def run(*arguments, stdin=None):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def job(name="minimal", **spec):
    return MINIMAL | {"metadata": {"name": name, "namespace": "team-a"}, "spec": MINIMAL["spec"] | spec}


def test_several_documents_of_one_stream_are_each_checked():
    documents = [job("one"), {"apiVersion": "v1", "kind": "Namespace"}, job("two", review="maybe"), job("tWo")]
    found = run("validate", "-", stdin=yaml.safe_dump_all(documents, sort_keys=False))
    assert (found.exit_code, found.output.splitlines()) == (
        1,
        [
            "<stdin>:33: spec.review: must be 'auto' or 'required'",
            f"<stdin>:38: {NAME_RULE[1].replace(' must', ': must')}",
        ],
    )


def test_a_list_is_read_as_kubectl_writes_it():
    listed = {"apiVersion": "v1", "kind": "List", "items": [job("one"), job("two", gpus=1)]}
    found = run("validate", "-", stdin=json.dumps(listed, indent=1))
    assert (found.exit_code, found.output) == (
        1,
        "<stdin>:47: spec.gpus: no such field (did you mean spec.resources.gpus?)\n",
    )


@pytest.mark.parametrize("metadata", [{"namespace": "team-a"}, {}])
def test_a_name_that_is_missing_is_told_in_words_and_not_as_a_rule(metadata):
    found = run("validate", "-", stdin=json.dumps(job() | {"metadata": metadata}))
    assert (found.exit_code, found.output) == (1, "<stdin>:1: metadata.name: is missing\n")


def test_folders_are_read_without_what_is_hidden_or_of_others(tmp_path):
    (tmp_path / ".git").mkdir()
    for name in (".git/a.yaml", ".hidden.yaml", "values.txt"):
        (tmp_path / name).write_text("kind: CarbonTrainingJob")
    (tmp_path / "chart.yaml").write_text("{{ .Values.broken }}")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "job.json").write_text(json.dumps(job()))
    found = run("validate", tmp_path)
    assert (found.exit_code, found.output) == (
        0,
        "1 file checked: nothing is wrong; 1 hold nothing of carbonfleet's\n",
    )
    (tmp_path / "chart.yaml").write_text("apiVersion: carbonfleet.dev/v1alpha1\nkind: {{ .Values.kind }}")
    assert f"{tmp_path}/chart.yaml:2: " in run("validate", tmp_path).output


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (job() | {"kind": "CarbonTrainningJob"}, "carbonfleet.dev has no kind CarbonTrainningJob; it has Carbon"),
        (job() | {"apiVersion": "carbonfleet.dev/v1"}, "apiVersion must be carbonfleet.dev/v1alpha1"),
        (job() | {"metadata": {"name": "a", "labels": {"team": "a b"}}}, "a valid label must be"),
        (job() | {"metadata": {"name": "a", "namespace": "Team_A"}}, "metadata.namespace: Invalid value"),
        (job(resources={"duration": "3h", "gpus": "1"}), "spec.resources.gpus: must be a number, not text"),
        (job(resources={"duration": 3}), "spec.resources.duration: a duration has a unit: write 3h for hours"),
        (job(schedule={"earliestStart": "2026-01-31"}), "write a time of the years 1970 to 2999 like 2026-01-31T"),
        (job(baselineRegion=None), "spec.baselineRegion: is empty: write a value, or leave the field out"),
        ({"kind": "Namespace"}, "kind is Namespace; write CarbonTrainingJob, CarbonTrainingSchedule, FleetPolicy, or"),
    ],
)
def test_what_the_api_would_refuse_is_said_in_words(document, says):
    found = run("validate", "-", stdin=json.dumps(document))
    assert (found.exit_code, says in found.output) == (1, True), found.output


def test_a_job_without_a_namespace_is_of_the_default_one():
    alone = job() | {"metadata": {"name": "alone"}}
    told = run("explain", "-", "--demo", "--fleet", FLEET, stdin=json.dumps(alone))
    assert told.stdout.startswith("default/alone: ")


def test_a_job_as_the_hub_keeps_it_is_valid():
    kept = job() | {"status": {"phase": "Running", "conditions": []}}
    kept["metadata"] |= {"uid": "a-b", "resourceVersion": "7", "generation": 2, "managedFields": []}
    assert run("validate", "-", stdin=json.dumps(kept)).exit_code == 0


def test_an_empty_field_that_the_api_fills_in_is_doubtful():
    found = run("validate", "-", stdin=json.dumps(job(schedule=None)))
    assert found.output.splitlines() == [
        "<stdin>:1: warning: spec.schedule: is empty: write a value, or leave the field out",
        "1 file checked: nothing is refused",
    ]


def test_a_run_that_ends_before_its_first_checkpoint_is_doubtful():
    workload = MINIMAL["spec"]["workload"] | {"checkpoints": {"every": "7d"}}
    found = run("validate", "-", stdin=json.dumps(job(workload=workload)))
    assert found.exit_code == 0
    assert "spec.workload.checkpoints.every: a run of 1h ends before its first checkpoint" in found.output


UNKNOWN = {
    "dataClass": ({"residency": {"dataClass": "pubilc"}}, "no policy names data class pubilc; did you mean public?"),
    "region": (
        {"residency": {"dataClass": "public", "allowedRegions": ["norwayest", "norwayeast"]}},
        "no cluster is in region norwayest; did you mean norwayeast?",
    ),
    "jurisdiction": (
        {"residency": {"dataClass": "public", "allowedJurisdictions": ["EAA", "NO"]}},
        "no cluster is in EAA; did you mean EEA?",
    ),
    "gpuTypes": (
        {"resources": {"duration": "3h", "gpuTypes": ["A100", "A10"]}},
        "no pool of the fleet has GPU type A10; did you mean A100?",
    ),
    "referenceGpu": (
        {"resources": {"duration": "3h", "referenceGpu": "A900"}},
        "nothing is known of A900; the profiles have T4, L4,",
    ),
    "baseline": ({"baselineRegion": "us-east-22"}, "no grid is known of region us-east-22; did you mean us-east-2?"),
}


@pytest.mark.parametrize(("spec", "says"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_the_fleet_does_not_know_is_a_warning(spec, says):
    found = run("validate", "-", "--fleet", FLEET, stdin=json.dumps(job(**spec)))
    assert any("warning: " in line and says in line for line in found.output.splitlines()), found.output


BLOCKING = {
    "tier": ({"schedule": {"tier": "standrad"}}, 'There is no tier "standrad"'),
    "dataClass": ({"residency": {"dataClass": "pubilc"}}, 'No policy says where data class "pubilc"'),
    "region": ({"residency": {"dataClass": "public", "allowedRegions": ["mars"]}}, "The job allows mars only"),
    "gpuTypes": ({"resources": {"duration": "3h", "gpuTypes": ["B900"]}}, "the job accepts B900"),
    "memory": ({"resources": {"duration": "3h", "gpuMemoryGib": 900}}, "the job needs 900 GiB"),
    "gpus": ({"resources": {"duration": "3h", "gpus": 4096}}, "the job needs 4096"),
    "deadline": ({"schedule": {"deadline": "2020-01-01T00:00:00Z"}}, "after the deadline 2020-01-01 00:00 UTC"),
    "cost": ({"objective": {"maxCostUsd": 0.01}}, "the job's limit is 0.01 USD"),
}


@pytest.mark.parametrize(("spec", "says"), BLOCKING.values(), ids=BLOCKING)
def test_a_job_that_the_fleet_would_block_is_told_before_it_is_applied(spec, says):
    text = json.dumps(job(**spec))
    assert run("validate", "-", stdin=text).exit_code == 0
    checked = run("validate", "-", "--fleet", FLEET, stdin=text)
    assert (checked.exit_code, "blocked: " in checked.output, says in checked.output) == (3, True, True)
    explained = run("explain", "-", "--demo", "--fleet", FLEET, stdin=text)
    assert (explained.exit_code, says in " ".join(explained.output.split())) == (3, True), explained.output


@pytest.mark.parametrize(
    "spec", [{"objective": {"carbonBudgetKg": 0.001}}, {"schedule": {"maxIntensityPercentile": 1}}]
)
def test_what_depends_on_the_grid_is_left_to_explain(spec):
    found = run("validate", "-", "--fleet", FLEET, stdin=json.dumps(job(**spec)))
    assert (found.exit_code, found.output) == (0, "1 file checked: nothing is wrong\n")


@pytest.mark.parametrize(("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_findings_are_written_as_data(output, read):
    stdin = yaml.safe_dump_all([job("one", review="maybe"), BLOCKED], sort_keys=False)
    found = run("validate", "-", "-o", output, "--fleet", FLEET, stdin=stdin)
    wrong, blocked = read(found.output)
    assert found.exit_code == 1
    assert wrong == {
        "severity": "error",
        "path": "<stdin>",
        "line": 15,
        "message": "spec.review: must be 'auto' or 'required'",
    }
    assert (blocked["severity"], blocked["line"]) == ("blocked", 30)


@pytest.mark.parametrize(("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_decisions_are_written_as_data(output, read):
    stdin = yaml.safe_dump_all([job("one"), BLOCKED], sort_keys=False)
    told = run("explain", "-", "--demo", "-o", output, "--fleet", FLEET, stdin=stdin)
    placed, blocked = read(told.stdout)
    assert told.exit_code == 3
    assert (placed["job"], placed["outcome"], placed["cluster"]) == ("team-a/one", "Start", "no-osl-1")
    assert (blocked["job"], blocked["outcome"], len(blocked["candidates"])) == ("team-b/blocked", "Blocked", 3)


def test_explain_plans_the_jobs_of_a_folder_together():
    told = run("explain", EXAMPLES / "minimal.yaml", EXAMPLES / "waits.yaml", "--demo", "--fleet", FLEET)
    heads = [line for line in told.output.splitlines() if line.startswith("team-")]
    assert (told.exit_code, heads) == (
        0,
        ["team-a/minimal: Start (Placed)", "team-a/waits: Wait (WaitingForCleanWindow)"],
    )
    everything = run("explain", EXAMPLES, "--demo", "--fleet", FLEET)
    assert everything.exit_code == 1, "one of the examples is invalid"
    assert f"{EXAMPLES}/invalid.yaml:18: spec.resources.duration: write" in everything.stderr
    assert everything.stdout == ""


def test_explain_says_how_to_give_it_a_grid_where_it_has_none(monkeypatch):
    for name in ("ELECTRICITY_MAPS_TOKEN", "CARBONFLEET_SIGNALS"):
        monkeypatch.delenv(name, raising=False)
    told = run("explain", EXAMPLES / "minimal.yaml", "--fleet", FLEET)
    warning = "warning: nothing is known of the grid: set ELECTRICITY_MAPS_TOKEN, or give --signals FILE or --demo\n"
    assert (told.exit_code, told.stderr) == (0, warning)
    assert "team-a/minimal: Start (Placed)" in told.stdout
    assert run("explain", EXAMPLES / "minimal.yaml", "--demo", "--fleet", FLEET).stderr == ""


@pytest.mark.parametrize(
    "objective",
    [{"minimize": "carbon"}, {"minimize": "cost"}, {"minimize": "carbon", "costTolerancePercent": 10}],
    ids=["carbon", "cost", "tolerance"],
)
def test_cost_against_carbon_marks_the_window_that_was_chosen(objective):
    text = json.dumps(job(resources={"duration": "3h"}, objective=objective))
    (told,) = json.loads(run("explain", "-", "--demo", "--fleet", FLEET, "-o", "json", stdin=text).stdout)
    shown = run("explain", "-", "--demo", "--fleet", FLEET, stdin=text).stdout.partition("Cost against carbon")[2]
    (marked,) = [line.split() for line in shown.splitlines() if line.startswith(" >")]
    start = told["start"].removesuffix(":00Z").split("T")
    assert marked[1] == f"{told['expected']['costUsd']:.2f}"
    assert marked[3:] == [f"{told['cluster']}/{told['pool']}", *start]


def test_what_is_promised_stands_below_the_decision_with_its_doubt():
    text = json.dumps(job(resources={"duration": "3h"}))
    (told,) = json.loads(run("explain", "-", "--demo", "--fleet", FLEET, "-o", "json", stdin=text).stdout)
    promise = told["expected"]["promise"]
    low, middle, high = (promise["gramsCo2e"][name] for name in ("p10", "p50", "p90"))
    assert low < middle < high
    assert promise["runLength"] == {"declaredHours": 3.0, "runs": 0}
    shown = run("explain", "-", "--demo", "--fleet", FLEET, stdin=text).stdout
    assert f"gCO2e ({low:.3g}–{high:.3g})" in " ".join(shown.split())
    assert [line.split() for line in shown.splitlines() if line.startswith(" gCO2e")] == [
        ["gCO2e", *(f"{value:.3g}" for value in (low, middle, high))]
    ]
    assert "The whole run: 3 h declared, not measured yet." in shown
    finish = promise["finish"]["p90"].removesuffix(":00Z").replace("T", " ")
    assert finish[5:] in shown


@pytest.mark.parametrize("text", ["", "apples", "a: 1", "# A proposal\n\nwithout its decision\n"])
def test_what_is_neither_a_manifest_nor_a_proposal_ends_with_what_to_give(text):
    told = run("explain", "-", "--demo", "--fleet", FLEET, stdin=text)
    assert told.exit_code == 2
    assert "the standard input holds neither a job's manifest nor a proposal's text" in told.output


def nightly(template=(), **spec):
    """The example of a schedule, with parts of its spec and of its job's put in place."""
    body = yaml.safe_load((EXAMPLES / "nightly.yaml").read_text())
    body["spec"] |= spec
    body["spec"]["jobTemplate"]["spec"] |= dict(template)
    return yaml.safe_dump(body, sort_keys=False)


def test_a_schedule_is_refused_with_what_to_write():
    found = run("validate", "-", stdin=nightly(schedule="99 7 * * *", timeZone="Europe/Olso", leadTime="1h"))
    assert (found.exit_code, found.output.splitlines()) == (
        1,
        [
            "<stdin>:6: spec: leadTime must not be shorter than jobTemplate.spec.resources.duration",
            "<stdin>:7: spec.schedule: write minute (0-59), hour (0-23), day of month (1-31), month (1-12, JAN-DEC) and"
            ' day of week (0-7, SUN-SAT), one space apart, such as "0 7 * * 1-5"',
            "<stdin>:8: spec.timeZone: there is no time zone Europe/Olso; did you mean Europe/Oslo?",
        ],
    )


def test_of_a_schedule_its_next_run_is_judged_at_its_lines():
    wrong = {"residency": {"dataClass": "pubilc"}}
    found = run("validate", "-", "--fleet", FLEET, stdin=nightly(wrong))
    assert (found.exit_code, "<stdin>:20: blocked: No policy says where data class" in found.output) == (3, True)
    good = run("explain", "-", "--demo", "--fleet", FLEET, "-o", "json", stdin=nightly())
    (told,) = json.loads(good.stdout)
    assert (told["job"], told["outcome"]) == ("team-a/nightly-202512160600", "Start")


def test_a_run_whose_job_is_not_made_yet_starts_no_earlier_and_meets_its_deadline():
    """The demo's clock stands at 1 UTC, 2 o'clock in Oslo."""
    later = nightly(schedule="0 23 * * *", leadTime="6h")
    (told,) = json.loads(run("explain", "-", "--demo", "--fleet", FLEET, "-o", "json", stdin=later).stdout)
    starts = [each["start"] for each in told["candidates"] if each["start"]]
    assert told["job"] == "team-a/nightly-202512162200"
    assert starts
    assert all("2025-12-16T16:00:00Z" <= each <= "2025-12-16T20:00:00Z" for each in starts)
