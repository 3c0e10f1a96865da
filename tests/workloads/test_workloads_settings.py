"""What the documents say of settings and exit codes is what the code does."""

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic.alias_generators import to_camel
from workloads.lora.failure import EXIT_CODES, Failure
from workloads.lora.settings import Settings, parse

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.workload import Dataset, Workload
from carbonfleet.fleet.manifests.workload import MOST_WORKERS, config_of
from fixtures.mutated_jobs import of_the_spec, schema

FOLDER = Path(__file__).parents[2] / "workloads/lora"
README = (FOLDER / "README.md").read_text()


@pytest.mark.parametrize("path", sorted((FOLDER / "examples").glob("*.json")), ids=lambda path: path.name)
def test_every_example_is_valid(path):
    assert parse(path.read_text()).digest


def test_the_readme_lists_every_exit_code():
    listed = re.findall(r"^\| (\d+) \| (\w+) \|", README, re.MULTILINE)
    assert {reason: int(code) for code, reason in listed} == EXIT_CODES


def test_the_readme_names_every_setting():
    sections = {name: field.annotation for name, field in Settings.model_fields.items() if not name.startswith("model")}
    names = {f"{section}.{name}" for section, model in sections.items() for name in model.model_fields}
    table = README[README.index("## Settings") : README.index("Rows have")]
    named = {
        f"{s}.{n}"
        for line in table.splitlines()
        for s in re.findall(r"`(\w+)\.\w+`", line)[:1]
        for n in re.findall(r"\.(\w+)`", line)
    }
    assert named == names


def test_the_digest_says_whether_the_result_may_differ():
    base = {"model": "m", "dataset": {"name": "d"}}
    digest = parse(json.dumps(base)).digest
    assert parse(json.dumps({**base, "checkpoint": {"every_steps": 1}, "lora": {"rank": 16}})).digest == digest
    assert parse(json.dumps({**base, "training": {"seed": 1}})).digest != digest


def test_the_training_takes_every_workload_that_the_api_takes():
    taken = 0
    for job in of_the_spec():
        try:
            workload = CarbonTrainingJob.model_validate(job).spec.workload
        except ValidationError:
            continue
        taken += 1
        for gpus in (1, 4096):
            assert parse(config_of(workload, gpus)).model == workload.model
    assert taken > 100


BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "pattern", "maxLength", "maxItems", "enum")
OF_THE_JOB_ALONE = {"dataset.sizeGib", "dataset.region", "checkpoints.every", "checkpoints.uri", "checkpoints.sizeGib"}
OF_THE_SCRIPT_ALONE = {
    "dataset.path",  # in a job it is the name
    "dataset.minimumHelpfulness",
    "training.workers",  # in a job they are its GPUs
    "checkpoint.everyMinutes",
    "checkpoint.keep",
}
WIDER = {
    "dataset.name",  # the script also trains on what somebody's own machine has under any path
    "training.batchSize",  # of all workers together
}


def bounds_of(node: dict, defs: dict) -> dict:
    """What limits a value, however the schema writes it."""
    if "$ref" in node:
        node = defs[node["$ref"].rpartition("/")[2]]
    for each in node.get("anyOf", ()):
        if each.get("type") != "null":
            node = {**node, **each}
    if "const" in node:  # an enum of one
        node = {**node, "enum": [node["const"]]}
    found = {name: node[name] for name in BOUNDS if name in node}
    for name, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if found.get(name) is True:  # as CRDs write it
            found[name] = found.pop(limit)
    if "items" in node:
        found["items"] = bounds_of(node["items"], defs)
    return found


def bounds_of_the_job() -> dict[str, dict]:
    sections = schema()["properties"]["spec"]["properties"]["workload"]["properties"]
    return {
        f"{section}.{name}": bounds_of(field, {})
        for section in ("dataset", "lora", "training", "checkpoints")
        for name, field in sections[section]["properties"].items()
    }


def bounds_of_the_script() -> dict[str, dict]:
    whole = Settings.model_json_schema()
    return {
        f"{section}.{to_camel(name)}": bounds_of(field, whole["$defs"])
        for section, model in (
            ("dataset", "Dataset"),
            ("lora", "Lora"),
            ("training", "Training"),
            ("checkpoint", "Checkpoint"),
        )
        for name, field in whole["$defs"][model]["properties"].items()
    }


def test_jobs_and_settings_have_one_set_of_bounds():
    job = {
        name.replace("checkpoints.", "checkpoint."): found
        for name, found in bounds_of_the_job().items()
        if name not in OF_THE_JOB_ALONE
    }
    script = {name: found for name, found in bounds_of_the_script().items() if name not in OF_THE_SCRIPT_ALONE}
    assert set(job) == set(script)
    assert {name: found for name, found in job.items() if name not in WIDER} == {
        name: found for name, found in script.items() if name not in WIDER
    }
    assert script["training.batchSize"] == {**job["training.batchSize"], "maximum": 65_536 * MOST_WORKERS}


def test_models_and_revisions_have_one_set_of_bounds():
    workload, whole = (
        schema()["properties"]["spec"]["properties"]["workload"]["properties"],
        Settings.model_json_schema(),
    )
    ours, theirs = bounds_of(workload["modelRevision"], {}), bounds_of(whole["properties"]["model_revision"], {})
    assert ours == theirs


@pytest.mark.parametrize("field", ["config", "split", "revision"])
def test_a_part_of_a_dataset_is_not_of_a_file(field):
    for name in ("/data", "s3://data/train", "x.jsonl", "x.json.gz", "x.ndjson", "x.csv", "x.parquet"):
        with pytest.raises(ValidationError, match="is of a dataset by name, not of a file"):
            Dataset.model_validate({"name": name, field: "x"})
        with pytest.raises(Failure, match=f"BadConfig: dataset: .*a {field} is of a dataset by name"):
            parse(json.dumps({"model": "m", "dataset": {"path": name, field: "x"}}))


def test_config_split_and_share_of_a_job_reach_the_training():
    asked = {"name": "acme/data", "config": "main", "split": "train[:10%]+validation", "maxDroppedPercent": 12.5}
    workload = Workload.model_validate({"model": "acme/base", "dataset": asked})
    settings = parse(config_of(workload, 1))
    dataset = settings.dataset
    assert (dataset.config, dataset.split, dataset.max_dropped_percent) == ("main", "train[:10%]+validation", 12.5)


@pytest.mark.parametrize(
    "asked",
    [
        {"model": "/models/base", "model_revision": "v1"},
        {"model": "./base", "model_revision": "v1"},
        {"model": "carbonfleet/tiny-qwen2", "model_revision": "v1"},
        *(
            {"dataset": {"name": "carbonfleet/tiny-instructions", field: "x"}}
            for field in ("config", "split", "revision")
        ),
    ],
)
def test_what_has_no_versions_is_refused_one(asked):
    with pytest.raises(Failure, match=r"^BadConfig: .*(have none|has no)"):
        parse(json.dumps({"model": "m", "dataset": {"name": "d"}, **asked}))


@pytest.mark.parametrize("half", ["\\ud83d", "\\udc00x"])
def test_half_of_a_surrogate_pair_in_settings_is_refused(half):
    for text in (
        f'{{"model": "{half}", "dataset": {{"name": "d"}}}}',
        f'{{"model": "m", "dataset": {{"path": "{half}"}}}}',
    ):
        with pytest.raises(Failure, match=r"^BadConfig: "):
            parse(text)


@pytest.mark.parametrize("said", ['"rank": true', '"rank": "8"', '"alpha": true', '"dropout": "0.1"'])
def test_what_only_looks_like_a_number_is_refused(said):
    """True would train rank 1."""
    with pytest.raises(Failure, match=r"^BadConfig: lora\.(rank|alpha|dropout): Input should be a valid"):
        parse(f'{{"model": "m", "dataset": {{"name": "d"}}, "lora": {{{said}}}}}')
