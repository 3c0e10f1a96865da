"""The file of a placement: deterministic, complete, read back whole, and safe whatever users wrote."""

import json
import os
import re
from pathlib import Path

import pytest
import yaml

from carbonfleet.api.job import JobSpec
from carbonfleet.fleet import PlacementInvalid, manifests, object_name, parse, render
from carbonfleet.fleet.manifests import Block, Template, with_suspend
from fixtures.fleet_values import NOON, decide, facts_of, job_spec, record, window_on

PATH = "clusters/no-osl-1/jobs/ml/llama.yaml"
HOSTILE = [
    "'; rm -rf / #",
    '"$(reboot)"',
    "a: b\n---\nkind: Secret",
    "../../../etc/passwd",
    "{{.Values}}",
    "!!python/object:os.system",
    "&a *a",
    "NO",
    "\u2028\u0085\ufeff\x00\x1b[31m",
    "🌍 ölçüm",
    "CTJ-Placement-Id: aaaaaaaaaaaaaaaa",
    "x" * 50_000,
    "",
]


def rendered(**changes) -> bytes:
    decision = decide("llama", **changes)
    return render(decision, job_spec(), record(decision), facts_of("no-osl-1"))


def test_equal_decisions_give_equal_bytes():
    assert rendered() == rendered()


def test_a_rendered_file_reads_back_as_what_was_decided():
    found = parse(PATH, rendered(generation=3, attempt=2))
    assert (found.key, found.generation, found.attempt) == ("ml/llama", 3, 2)
    assert (found.cluster, found.pool, found.gpus) == ("no-osl-1", "a100", 2)
    assert (found.start, found.duration.total_seconds()) == (NOON, 7200)
    assert (found.suspended, found.edited, found.data_class) == (False, False, "public")
    assert found.path == PATH


def test_any_changed_value_counts_as_an_edit():
    assert parse(PATH, rendered().replace(b"backoffLimit: 3", b"backoffLimit: 9")).edited
    assert parse(PATH, rendered().replace(b'"ghcr.io/carbonfleet/lora:0.1.0"', b'"other/lora:latest"')).edited


def test_suspending_and_resuming_gives_the_first_bytes_again():
    written = rendered()
    paused = with_suspend(PATH, written, True)
    assert (parse(PATH, paused).suspended, parse(PATH, paused).edited) == (True, False)
    assert with_suspend(PATH, paused, False) == written


def test_the_workload_is_told_by_environment_alone():
    config, job = manifests(PATH, rendered(attempt=4))
    worker = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    values = {entry["name"]: entry.get("value") for entry in worker["env"]}
    assert job["spec"]["entrypoint"] == "python -m workloads.lora.train"
    assert values["LORA_ATTEMPT"] == "4"
    assert values["LORA_OUTPUT"].startswith("/checkpoints/")
    assert worker["env"][0]["valueFrom"]["configMapKeyRef"] == {
        "name": job["metadata"]["name"],
        "key": "config.json",
    }
    assert config["immutable"] is True


def test_the_training_is_told_where_it_is_placed_for_its_card():
    config, job = manifests(PATH, rendered())
    worker = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    [told] = [entry["valueFrom"] for entry in worker["env"] if entry["name"] == "LORA_PLACEMENT"]
    assert told == {"configMapKeyRef": {"name": job["metadata"]["name"], "key": "placement.json"}}
    facts, decision = facts_of("no-osl-1"), decide("llama")
    assert json.loads(config["data"]["placement.json"]) == {
        "cluster": "no-osl-1",
        "region": facts.region,
        "zone": "NO-NO1",
        "gpuType": "A100",
        "gpus": 2,
        "simulated": False,
        "watts": 800.0,
        "pue": facts.pue,
        "gramsPerKwh": record(decision).grams_per_kwh,
        "source": "trace/test (forecast)",
    }


def test_the_settings_divide_a_step_among_the_workers():
    config, _job = manifests(PATH, rendered())
    settings = json.loads(config["data"]["config.json"])
    assert settings["training"]["workers"] == 2
    assert settings["training"]["batch_size"] == 16
    assert settings["dataset"] == {"name": "acme/instructions"}


@pytest.mark.parametrize(("gpus", "nodes", "per_node"), [(1, 1, 1), (8, 1, 8), (12, 2, 6), (16, 2, 8), (13, 13, 1)])
def test_gpus_become_nodes_of_equal_size(gpus, nodes, per_node):
    _config, job = manifests(PATH, rendered(window=window_on("no-osl-1", gpus)))
    group = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    resources = group["template"]["spec"]["containers"][0]["resources"]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (nodes, nodes, nodes)
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == str(per_node)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_every_field_stays_text(text):
    """The models refuse most of these; the file must hold even where a model is loosened one day."""
    spec = hostile_spec(text)
    decision = decide("llama", reason=text, policy_digest=text)
    kept = record(decide("llama")).model_copy(update={"message": text, "reason": text, "digest": text})
    content = render(decision, spec, kept, facts_of("no-osl-1"))
    assert all(isinstance(document, dict) for document in yaml.safe_load_all(content))
    config, job = manifests(PATH, content)
    settings = json.loads(config["data"]["config.json"])
    assert settings["model"] == text
    assert text in settings["dataset"].values()
    assert settings["lora"]["target_modules"] == [text]
    assert json.loads(config["data"]["decision.json"])["message"] == text
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert head["image"] == text
    assert job["metadata"]["labels"]["carbonfleet.dev/data-class"] == text
    assert job["metadata"]["annotations"]["carbonfleet.dev/decision-digest"] == text
    assert parse(PATH, content).data_class == text
    assert job["spec"]["entrypoint"] == "python -m workloads.lora.train"


def hostile_spec(text: str) -> JobSpec:
    spec = job_spec()
    lora = spec.workload.lora.model_copy(update={"target_modules": (text,)})
    dataset = spec.workload.dataset.model_copy(update={"name": text})
    checkpoints = spec.workload.checkpoints.model_copy(update={"uri": text or None})
    workload = spec.workload.model_copy(
        update={"model": text, "image": text, "lora": lora, "dataset": dataset, "checkpoints": checkpoints}
    )
    residency = spec.residency.model_copy(update={"data_class": text})
    return spec.model_copy(update={"workload": workload, "residency": residency})


def test_half_a_surrogate_pair_is_refused():
    decision = decide("llama")
    kept = record(decision).model_copy(update={"digest": "\ud800"})
    with pytest.raises(ValueError, match="surrogate"):
        render(decision, job_spec(), kept, facts_of("no-osl-1"))


@pytest.mark.parametrize("name", ["../evil", "a/b", "A", "-a", "", "a" * 64, "a.b", "a\n", ".git"])
def test_a_name_that_is_no_label_has_no_path(name):
    from carbonfleet.fleet.manifests import job_path

    with pytest.raises(ValueError, match="not a lower-case DNS label"):
        job_path("no-osl-1", "ml", name)


@pytest.mark.parametrize("name", ["a", "7b", "llama-3", "a" * 63, "a" * 30 + "-" * 5 + "b" * 20])
@pytest.mark.parametrize("attempt", [1, 99, 1_000_000])
def test_an_objects_name_fits_kuberay(name, attempt):
    found = object_name(name, "3c1f1a52-6f4e-4a38-9d9f-2f6b6f0d8a11", attempt)
    assert len(found) <= 47
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", found)
    assert found.endswith(f"-{attempt}")


@pytest.mark.parametrize(
    ("path", "content", "says"),
    [
        ("clusters/x/jobs/y.yaml", rendered(), "not a placement's path"),
        (PATH, b"\xff\xfe\x00", "not readable as YAML"),
        (PATH, b"kind: RayJob\n", "a ConfigMap and a RayJob, in this order"),
        (PATH, b"kind: {a: 1}\n---\nkind: [x]\n", "a ConfigMap and a RayJob, in this order"),
        (PATH, b"- 1\n---\n- 2\n", "a ConfigMap and a RayJob, in this order"),
        (PATH, b"kind: ConfigMap\n---\nkind: RayJob\n", "lacks 'metadata'"),
        (PATH, rendered().replace(b"carbonfleet.dev/attempt", b"carbonfleet.dev/try"), "no label or annotation"),
        ("clusters/us-oh-1/jobs/ml/llama.yaml", rendered(), "put it where they say"),
    ],
)
def test_a_file_that_is_no_placement_says_why(path, content, says):
    with pytest.raises(PlacementInvalid, match=says):
        parse(path, content)


def test_a_template_names_a_missing_value():
    with pytest.raises(KeyError, match="wanted"):
        Template.read("a: $wanted\n").fill({})


def test_a_template_keeps_everything_but_the_holes():
    template = Template.read("# gone\na: {b: $b, c: [1, $c]}  # stays\nd:\n  e: $e\n")
    assert template.fill({"b": "x", "c": True, "e": Block('{\n "k": 1\n}')}) == (
        'a: {b: "x", c: [1, true]}  # stays\nd:\n  e: |-\n    {\n     "k": 1\n    }\n'
    )


def rayjob_schema() -> dict:
    folder = os.environ.get("CARBONFLEET_CONFORMANCE_DIR")
    if not folder:
        pytest.skip("set CARBONFLEET_CONFORMANCE_DIR to the folder of published CRDs to check against them")
    crd = yaml.load((Path(folder) / "kuberay/ray.io_rayjobs.yaml").read_text(), yaml.CSafeLoader)
    version = next(version for version in crd["spec"]["versions"] if version["name"] == "v1")
    return closed(version["schema"]["openAPIV3Schema"])


def closed(schema: dict) -> dict:
    """The schema as the API server's strict validation reads it: unknown fields are errors."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    found = dict(schema)
    if "properties" in found:
        found["properties"] = {name: closed(value) for name, value in found["properties"].items()}
        if found.get("x-kubernetes-preserve-unknown-fields") is None:
            found.setdefault("additionalProperties", False)
    if isinstance(found.get("additionalProperties"), dict):
        found["additionalProperties"] = closed(found["additionalProperties"])
    if "items" in found:
        found["items"] = closed(found["items"])
    return found


def test_a_rendered_rayjob_satisfies_kuberays_own_schema():
    import jsonschema

    schema = rayjob_schema()
    # The top level's metadata is the API server's own, and described elsewhere.
    schema["properties"]["metadata"] = {"type": "object"}
    validator = jsonschema.Draft202012Validator(schema)
    for gpus in (1, 12, 64):
        _config, job = manifests(PATH, rendered(window=window_on("no-osl-1", gpus)))
        assert [f"{'/'.join(map(str, e.path))}: {e.message}" for e in validator.iter_errors(job)] == []
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replicaz"] = 1
    assert list(validator.iter_errors(job))
