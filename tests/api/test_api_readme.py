"""The page on our objects: its examples are read, and it leaves no field out."""

import re
from pathlib import Path

import pytest
import yaml

from carbonfleet.api import JobStatus, crd
from carbonfleet.api.job import Phase

PAGE = (Path(__file__).parents[2] / "crds" / "README.md").read_text(encoding="utf-8")
STATUS_PAGE = (Path(__file__).parents[2] / "crds" / "STATUS.md").read_text(encoding="utf-8")
JOB = yaml.safe_load(crd.generated()["carbontrainingjob.yaml"])["spec"]["versions"][0]
SPEC = JOB["schema"]["openAPIV3Schema"]["properties"]["spec"]
SCHEDULE = yaml.safe_load(crd.generated()["carbontrainingschedule.yaml"])["spec"]["versions"][0]
SCHEDULE_SPEC = SCHEDULE["schema"]["openAPIV3Schema"]["properties"]["spec"]
MODELS = {resource.model.__name__: resource.model for resource in crd.RESOURCES}


def field_names(schema: dict) -> set[str]:
    """The names of all fields below a schema."""
    found = set()
    for name, child in schema.get("properties", {}).items():
        found |= {name} | field_names(child) | field_names(child.get("items", {}))
    return found


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_every_manifest_on_the_page_is_accepted(text):
    manifest = yaml.safe_load(text)
    assert MODELS[manifest["kind"]].model_validate(manifest).spec


@pytest.mark.parametrize("spec", [SPEC, SCHEDULE_SPEC], ids=["job", "schedule"])
def test_every_field_of_the_spec_is_explained(spec):
    words = set(re.findall(r"`(?:spec\.)?([A-Za-z]+)(?:\.spec)?(?:: \w+)?`", PAGE)) | {"spec"}
    assert field_names(spec) - words == set()


def test_every_field_of_the_status_is_explained_by_its_model():
    rows = dict(re.findall(r"^\| `([A-Za-z.\[\]]+)` \| (.+) \|$", STATUS_PAGE, re.MULTILINE))
    assert set(JobStatus.model_json_schema()["properties"]) - rows.keys() == set()
    assert rows["placement.commit"] == "The commit that holds it."
    assert rows["candidates[].verdict"] == "How it fared."


def test_every_phase_is_named():
    assert [phase for phase in Phase if phase.value not in PAGE] == []


@pytest.mark.parametrize("file", [name for name in crd.generated() if name.endswith(".yaml")])
def test_the_tables_on_the_page_have_the_columns_of_kubectl_get(file):
    version = yaml.safe_load(crd.generated()[file])["spec"]["versions"][0]
    columns = [c["name"].upper() for c in version["additionalPrinterColumns"] if not c.get("priority")]
    headers = [re.split(r"\s{2,}", line) for line in PAGE.splitlines() if line.startswith("NAME ")]
    assert ["NAME", *columns] in headers
