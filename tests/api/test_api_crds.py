"""The generated CustomResourceDefinitions: they never drift, and hold what a production CRD must."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from carbonfleet.api import crd
from carbonfleet.cli.files.crds import app

ROOT = Path(__file__).parents[2]
MANIFESTS = {path: yaml.safe_load(text) for path, text in crd.generated().items() if path.endswith(".yaml")}
SCHEMAS = {path: manifest["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for path, manifest in MANIFESTS.items()}


def nodes(schema: dict, path: str = "") -> Iterator[tuple[str, dict]]:
    """Every schema inside a schema, with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


def own_nodes() -> list:
    """All schemas of spec and status; the metadata is Kubernetes' own."""
    return [
        pytest.param(node, id=f"{file}{path}")
        for file, schema in SCHEMAS.items()
        for part in ("spec", "status")
        if part in schema["properties"]
        for path, node in nodes(schema["properties"][part], f".{part}")
    ]


def job_schema(path: str) -> dict:
    schema = SCHEMAS["carbontrainingjob.yaml"]
    for name in path.split("."):
        schema = schema["properties"][name]
    return schema


def test_committed_files_equal_what_the_models_say():
    assert crd.differing(ROOT / "crds") == (), "run `make crds` and commit the result"


def test_check_names_the_file_that_drifted(tmp_path):
    crd.write(tmp_path)
    (tmp_path / "spokecluster.yaml").write_text("something else\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["generate", "--out", str(tmp_path), "--check"])
    assert result.exit_code == 1
    assert "spokecluster.yaml differs from the models: run `make crds`" in result.output


def test_generating_twice_writes_nothing_the_second_time(tmp_path):
    assert set(crd.write(tmp_path)) == set(crd.generated())
    assert crd.write(tmp_path) == ()


def test_no_schema_holds_what_kubernetes_refuses_in_a_structural_one():
    text = json.dumps(list(MANIFESTS.values()))
    for word in ("$ref", "$defs", "anyOf", "oneOf", "allOf", "additionalProperties", '"title"', '"null"'):
        assert word not in text


@pytest.mark.parametrize("node", own_nodes())
def test_every_value_has_a_type_and_every_string_and_list_a_bound(node):
    assert node["type"] in {"object", "array", "string", "integer", "number", "boolean"}
    if node["type"] == "string":
        assert "enum" in node or node["maxLength"] <= 1024
    if node["type"] == "array":
        assert 1 <= node["maxItems"] <= 512


@pytest.mark.parametrize("path", SCHEMAS)
def test_kubectl_explain_has_a_sentence_for_every_field(path):
    silent = [
        where
        for part in ("spec", "status")
        for where, node in nodes(SCHEMAS[path]["properties"].get(part, {"description": "none"}), part)
        if not node.get("description") and not where.endswith("[]")
    ]
    assert silent == []


@pytest.mark.parametrize("node", own_nodes())
def test_every_default_fits_its_own_schema(node):
    if "default" not in node:
        return
    plain = {
        key: value
        for key, value in node.items()
        if key in {"type", "enum", "pattern", "maxLength", "maxItems", "properties", "items", "required"}
    }
    Draft202012Validator(plain).validate(node["default"])


def test_the_status_has_no_defaults_since_only_the_hub_writes_it():
    status = SCHEMAS["carbontrainingjob.yaml"]["properties"]["status"]
    assert [path for path, node in nodes(status) if "default" in node] == []


def test_an_open_bound_is_written_as_kubernetes_writes_it():
    alpha = job_schema("spec.workload.lora.alpha")
    assert (alpha["minimum"], alpha["exclusiveMinimum"], alpha["maximum"]) == (0, True, 4096)
    assert "exclusiveMaximum" not in alpha


def test_conditions_are_a_map_by_type():
    conditions = job_schema("status.conditions")
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]


def test_residency_may_not_change():
    (rule,) = job_schema("spec.residency")["x-kubernetes-validations"]
    assert rule["rule"] == "self == oldSelf"


def test_a_nested_default_is_an_empty_object_that_its_fields_fill():
    assert job_schema("spec.schedule")["default"] == {}
    assert job_schema("spec.schedule.tier")["default"] == "standard"


@pytest.mark.parametrize(
    ("file", "scope", "short_name"),
    [
        ("carbontrainingjob.yaml", "Namespaced", "ctj"),
        ("carbontrainingschedule.yaml", "Namespaced", "cts"),
        ("spokecluster.yaml", "Cluster", "spoke"),
        ("trainingreport.yaml", "Namespaced", "trep"),
    ],
)
def test_names_and_scope(file, scope, short_name):
    spec = MANIFESTS[file]["spec"]
    assert spec["scope"] == scope
    assert spec["names"]["shortNames"] == [short_name]
    assert spec["names"]["categories"] == ["carbon"]
    assert MANIFESTS[file]["metadata"]["name"] == f"{spec['names']['plural']}.carbonfleet.dev"


def test_kubectl_get_shows_the_job_in_one_narrow_row():
    columns = MANIFESTS["carbontrainingjob.yaml"]["spec"]["versions"][0]["additionalPrinterColumns"]
    narrow = [column["name"] for column in columns if not column.get("priority")]
    assert narrow == ["Phase", "Cluster", "gCO2/kWh", "Start", "Saved", "Age"]


def test_a_crd_is_small_enough_for_client_side_apply():
    sizes = {path: len(json.dumps(manifest)) for path, manifest in MANIFESTS.items()}
    assert max(sizes.values()) < 100_000, sizes


@pytest.mark.parametrize("name", ["fleet-policy", "cluster-facts"])
def test_editor_schemas_are_valid_json_schema(name):
    schema = json.loads(crd.generated()[f"schemas/{name}.json"])
    Draft202012Validator.check_schema(schema)
    assert "x-kubernetes" not in json.dumps(schema)
