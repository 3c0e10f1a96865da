"""From a sweep's file to manifests: the grid, the rules, the tiers, and what is refused."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.cluster import GpuPool
from carbonfleet.api.job import EarlyStopping
from carbonfleet.placement.hardware import declared_hours
from carbonfleet.sweep import BASELINE, SWEEP, TIER, SweepError, Threshold, generate, read_sweep
from carbonfleet.sweep.manifests import manifest_text
from carbonfleet.sweep.rules import Rule
from carbonfleet.yaml_reader import read_document

EXAMPLE = Path(__file__).parents[2] / "workloads" / "sweep" / "qwen-coder.yaml"
GRAMS = {"tier-1": (225, "24h"), "tier-2": (175, "48h"), "tier-3": (125, "96h")}
PERCENTILES = {"tier-1": (50, "24h"), "tier-2": (35, "48h"), "tier-3": (20, "96h")}
TABLE = {
    "tier-1": {
        *((16, 32, 1e-4, dropout) for dropout in (0.1, 0.15, 0.05)),
        *((16, 32, rate, 0.1) for rate in (5e-5, 1e-5)),
        *((16, 64, rate, 0.1) for rate in (1e-4, 5e-5)),
        (16, 128, 1e-4, 0.1),
    },
    "tier-2": {(32, 32, 1e-4, 0.1), (32, 64, 1e-4, 0.1), (32, 64, 1e-4, 0.05), (32, 64, 5e-5, 0.1)},
    "tier-3": {
        *((32, 32, rate, 0.15) for rate in (1e-4, 5e-5)),
        *((32, 64, 1e-4, 0.15), (32, 64, 1e-5, 0.1)),
        *((32, 128, 1e-4, dropout) for dropout in (0.1, 0.15, 0.05)),
        *((32, 128, rate, 0.1) for rate in (5e-5, 1e-5)),
    },
}
"""The published experiment's (rank, alpha, learning rate, dropout), by tier."""
BASE = {"rank": 16, "alpha": 32, "learningRate": 1e-4, "dropout": 0.1}


def manifests(folder):
    return [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.iterdir())]


def wanted_tier(workload):
    """The rules as the documents have them, in Python."""
    lora, rate = workload["lora"], workload["training"]["learningRate"]
    if lora["rank"] == 16:
        return "tier-1"
    return "tier-3" if lora["alpha"] == 128 or lora["dropout"] >= 0.15 or rate <= 1e-5 else "tier-2"


def test_the_example_makes_21_jobs_in_three_tiers(command, tmp_path):
    done = command("sweep", "generate", "-f", EXAMPLE, "-o", tmp_path / "jobs")
    assert done.exit_code == 0, done.output
    made = manifests(tmp_path / "jobs")
    tiers = Counter(one["metadata"]["labels"][TIER] for one in made)
    assert tiers == {"tier-1": 8, "tier-2": 4, "tier-3": 9}
    assert [one["metadata"]["labels"][TIER] for one in made] == [wanted_tier(one["spec"]["workload"]) for one in made]
    assert {one["metadata"]["labels"][SWEEP] for one in made} == {"qwen-coder"}
    assert "8 in tier-1, 4 in tier-2, 9 in tier-3" in done.output


def test_the_example_has_the_configurations_of_the_published_experiment():
    found = {tier: set() for tier in TABLE}
    for job in generate(read_sweep(EXAMPLE)):
        lora, rate = job.spec.workload.lora, job.spec.workload.training.learning_rate
        found[job.metadata.labels[TIER]].add((lora.rank, lora.alpha, rate, lora.dropout))
    assert found == TABLE


@pytest.mark.parametrize(("gpu_type", "slower"), [("RTX-3090", 1), ("A5000", 0.42 / 0.38)])
def test_the_example_takes_84_minutes_at_rank_16_and_96_at_32_on_an_rtx_3090(gpu_type, slower):
    pool = GpuPool(name="one", gpu_type=gpu_type, gpus=1, memory_gib=24)
    for job in generate(read_sweep(EXAMPLE)):
        minutes = 84 if job.spec.workload.lora.rank == 16 else 96
        assert declared_hours(job.spec.resources, pool) * 60 == pytest.approx(minutes * slower)


@pytest.mark.parametrize(
    ("options", "field", "limits"),
    [
        ((), "maxIntensityGramsPerKwh", GRAMS),
        (("--threshold", "percentile"), "maxIntensityPercentile", PERCENTILES),
    ],
)
def test_each_tier_waits_as_long_and_for_what_the_file_says(command, tmp_path, options, field, limits):
    command("sweep", "generate", "-f", EXAMPLE, "-o", tmp_path, *options)
    for one in manifests(tmp_path):
        schedule = one["spec"]["schedule"]
        assert (schedule[field], schedule["maxDelay"]) == limits[one["metadata"]["labels"][TIER]]
        assert sum(name.startswith("maxIntensity") for name in schedule) == 1


def test_the_file_itself_may_choose_percentiles(sweep_file):
    jobs = generate(read_sweep(sweep_file(threshold="percentile")))
    assert {job.spec.schedule.max_intensity_percentile for job in jobs} == {50, 35, 20}


def test_the_tiers_stand_in_the_fleet_that_comes_with_the_project():
    fleet = yaml.safe_load((EXAMPLE.parents[2] / "fleet" / "policies" / "tiers.yaml").read_text(encoding="utf-8"))
    known = {tier["name"] for tier in fleet["spec"]["tiers"]}
    assert {job.spec.schedule.tier for job in generate(read_sweep(EXAMPLE))} <= known


def test_one_job_is_the_baseline():
    (job,) = (job for job in generate(read_sweep(EXAMPLE)) if BASELINE in job.metadata.labels)
    lora = job.spec.workload.lora
    assert (lora.rank, lora.alpha, lora.dropout) == (16, 32, 0.1)
    assert job.spec.workload.training.learning_rate == 1e-4
    assert job.metadata.name == "qwen-coder-r16-a32-lr1e-4-d0p1"


def test_kubectl_takes_the_folder(hub, kube, command, tmp_path):
    assert hub.kubectl("create", "namespace", "takes").returncode == 0
    command("sweep", "generate", "-f", EXAMPLE, "-o", tmp_path / "jobs")
    done = hub.kubectl("apply", "-n", "takes", "-f", str(tmp_path / "jobs"))
    assert done.returncode == 0, done.stderr
    got = hub.kubectl("get", "ctj", "-n", "takes", "-l", f"{SWEEP}=qwen-coder,{TIER}=tier-3", "-o", "name")
    assert len(got.stdout.split()) == 9
    one = kube.get("/apis/carbonfleet.dev/v1alpha1/namespaces/takes/carbontrainingjobs/qwen-coder-r32-a64-lr1e-5-d0p1")
    assert one["spec"]["workload"]["training"]["learningRate"] == 1e-5


def test_early_stopping_in_the_file_is_in_each_job_with_the_validations_that_it_needs(sweep_file):
    jobs = generate(read_sweep(sweep_file(earlyStopping={"rungsPercent": [20, 50], "eta": 4})))
    rule = EarlyStopping(sweep="qwen-coder", rungs_percent=(20, 50), eta=4, minimum=2)
    assert {(job.spec.early_stopping, job.spec.workload.training.validations) for job in jobs} == {(rule, 10)}


def test_a_rung_without_a_validation_is_refused(sweep_file):
    job = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))["job"]
    job["spec"]["workload"]["training"]["validations"] = 4
    with pytest.raises(SweepError, match="rungsPercent must lie where validations do"):
        generate(read_sweep(sweep_file(job=job, earlyStopping={"rungsPercent": [25, 60]})))


def test_generating_twice_gives_the_same_bytes(command, tmp_path):
    def made(folder):
        assert command("sweep", "generate", "-f", EXAMPLE, "-o", folder).exit_code == 0
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    first = made(tmp_path / "one")
    assert made(tmp_path / "two") == first
    assert made(tmp_path / "one") == first


def test_what_is_written_reads_back_as_the_same_job(command, tmp_path):
    command("sweep", "generate", "-f", EXAMPLE, "-o", tmp_path, "-n", "team-a")
    read = {job.metadata.name: job for job in map(CarbonTrainingJob.model_validate, manifests(tmp_path))}
    assert read == {job.metadata.name: job for job in generate(read_sweep(EXAMPLE), namespace="team-a")}


@pytest.mark.parametrize("revision", ["12e4", "08", "y", "0o17", "1_0", "null", "a1b2c3"])
def test_text_that_kubectl_would_read_as_something_else_is_quoted(revision):
    workload = {"model": "acme/base", "modelRevision": revision, "dataset": {"name": "acme/data"}}
    spec = {"workload": workload, "resources": {"duration": "2h"}, "residency": {"dataClass": "public"}}
    job = CarbonTrainingJob.model_validate({"metadata": {"name": "a", "namespace": "team-a"}, "spec": spec})
    text = manifest_text(job)
    assert read_document("a.yaml", text).data["spec"]["workload"]["modelRevision"] == revision


def test_long_names_are_cut_and_still_differ(sweep_file):
    jobs = generate(read_sweep(sweep_file(name="a-very-long-name-for-a-sweep-that-fills-all-the-room-there-is-1")))
    names = {job.metadata.name for job in jobs}
    assert len(names) == 21
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name) for name in names)


def test_a_name_does_not_depend_on_the_rows_order(sweep_file):
    rows = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))["grid"]
    turned = generate(read_sweep(sweep_file(grid=rows[::-1])))
    assert {job.metadata.name for job in turned} == {job.metadata.name for job in generate(read_sweep(EXAMPLE))}


def test_a_row_with_lists_makes_every_combination(sweep_file):
    jobs = generate(read_sweep(sweep_file(grid=[{"rank": [16, 32], "alpha": [32, 64], "seed": 7}, BASE])))
    found = [
        (one.spec.workload.lora.rank, one.spec.workload.lora.alpha, one.spec.workload.training.seed) for one in jobs
    ]
    assert found == [(16, 32, 7), (16, 64, 7), (32, 32, 7), (32, 64, 7), (16, 32, 42)]


@pytest.mark.parametrize(
    ("test", "values", "holds"),
    [
        (16, {"rank": 16}, True),
        (16, {"rank": 32}, False),
        ("<= 1e-5", {"rank": 1e-5}, True),
        ("<= 1e-5", {"rank": 1.1e-5}, False),
        ("< 16", {"rank": 16}, False),
        (">= 0.15", {"rank": 0.15}, True),
        ("> 16", {"rank": 17}, True),
        ("!= 16", {"rank": 16}, False),
        ([8, 16], {"rank": 16}, True),
        ([8, 16], {"rank": 32}, False),
        (16, {"alpha": 16}, False),
        ("linear", {"rank": "linear"}, True),
        ("> 1", {"rank": "linear"}, False),
        ("1e-5", {"rank": 1e-5}, True),
    ],
)
def test_a_rule_compares(test, values, holds):
    assert Rule.model_validate({"match": {"rank": test}, "tier": "t"}).takes(values) is holds


def test_a_rule_without_match_takes_every_configuration():
    assert Rule.model_validate({"tier": "t"}).takes(BASE)


def test_edited_rules_hold(sweep_file):
    jobs = generate(read_sweep(sweep_file(rules=[{"match": {"alpha": "> 64"}, "tier": "tier-2"}, {"tier": "tier-1"}])))
    assert Counter(job.metadata.labels[TIER] for job in jobs) == {"tier-1": 15, "tier-2": 6}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": [{"rank": 16}, BASE]}, "grid row 2 repeats the configuration rank 16, alpha 32"),
        (
            {"grid": [{"rank": 8}]},
            "the baseline rank 16, alpha 32, learningRate 0.0001, dropout 0.1 is not in the grid",
        ),
        ({"rules": [{"match": {"rank": 32}, "tier": "tier-1"}]}, "no rule gives qwen-coder-r16-a32-lr1e-4-d0p1 a tier"),
        ({"grid": [BASE, {"dropout": 1.5}]}, "d1p5 is not valid: spec.workload.lora.dropout: "),
        ({"grid": [{"seed": list(range(2000))}, BASE]}, "more than 1000 jobs at row 1"),
        ({"tiers": [{"name": "tier-1", "maxDelay": "1h"}], "rules": [{"tier": "tier-1"}]}, "has no maxIntensityGrams"),
    ],
)
def test_a_sweep_that_makes_no_sense_writes_nothing(command, sweep_file, tmp_path, changes, message):
    done = command("sweep", "generate", "-f", sweep_file(**changes), "-o", tmp_path / "jobs")
    assert done.exit_code == 2
    assert message in done.output
    assert not (tmp_path / "jobs").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": [{"rnak": 16}]}, "rnak is nothing that a sweep varies; there is rank, alpha"),
        ({"rules": [{"match": {"dropout": ">= x"}, "tier": "tier-1"}]}, "compares with nothing"),
        ({"rules": [{"match": {}, "tier": "tier-9"}]}, "a rule gives tier tier-9; there is tier-1, tier-2, tier-3"),
        ({"name": "../../etc"}, "name: "),
        ({"job": {"labels": {"team": "a b"}, "spec": {}}}, "job.labels.team"),
        ({"more": 1}, "more: no such field"),
        ({"grid": [BASE, {"dropout": True}]}, "grid[1].dropout: must be a number or a word, not True"),
        ({"grid": [BASE, {"rank": []}]}, "grid[1].rank: is an empty list"),
    ],
)
def test_a_file_with_a_mistake_is_refused_with_its_line(command, sweep_file, tmp_path, changes, message):
    path = sweep_file(**changes)
    done = command("sweep", "generate", "-f", path, "-o", tmp_path / "jobs")
    assert done.exit_code == 2
    assert message in done.output
    assert re.search(rf"{re.escape(str(path))}:\d+: ", done.output)
    assert not (tmp_path / "jobs").exists()


def test_a_folder_with_other_manifests_is_left_alone(command, tmp_path):
    (tmp_path / "old.yaml").write_text("kind: Other\n", encoding="utf-8")
    done = command("sweep", "generate", "-f", EXAMPLE, "-o", tmp_path)
    assert done.exit_code == 2
    assert "holds old.yaml, which is not of this sweep" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["old.yaml"]


def test_a_tier_without_the_chosen_figure_is_named(sweep_file):
    path = sweep_file(
        tiers=[{"name": "tier-1", "maxDelay": "1h", "maxIntensityGramsPerKwh": 100}], rules=[{"tier": "tier-1"}]
    )
    with pytest.raises(SweepError, match="tier-1 has no maxIntensityPercentile, which the threshold percentile asks"):
        generate(read_sweep(path), Threshold.PERCENTILE)


def test_a_threshold_that_does_not_exist_is_named(command, tmp_path):
    done = command("sweep", "generate", "-f", EXAMPLE, "-o", tmp_path / "jobs", "--threshold", "ounces")
    assert (done.exit_code, "write grams or percentile" in done.output) == (2, True)
