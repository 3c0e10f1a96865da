"""What the documents say of settings and exit codes is what the code does."""

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from workloads.lora.failure import EXIT_CODES
from workloads.lora.settings import Settings, parse

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.fleet.manifests.workload import config_of
from fixtures.mutated_jobs import of_the_spec

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
