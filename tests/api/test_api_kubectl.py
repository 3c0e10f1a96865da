"""What a real kubectl is told by a Kubernetes API that serves our definitions."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fixtures.kubeapi_server import eventually

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "crds" / "examples"
VALID = sorted(path.stem for path in EXAMPLES.glob("*.yaml") if path.stem != "invalid")
MINIMAL = yaml.safe_load((EXAMPLES / "minimal.yaml").read_text())


def job(name: str, **spec: Any) -> str:
    """A manifest: the minimal job with parts of its spec put in place."""
    document = MINIMAL | {"metadata": {"name": name, "namespace": "team-a"}}
    return json.dumps(document | {"spec": MINIMAL["spec"] | spec})


def apply(crd_api, manifest: str) -> Any:
    return crd_api.kubectl("apply", "-f", "-", stdin=manifest)


@pytest.mark.parametrize("name", VALID)
def test_each_example_is_accepted(crd_api, name):
    done = crd_api.kubectl("apply", "-f", str(EXAMPLES / f"{name}.yaml"))
    assert (done.returncode, done.stderr) == (0, "")
    kind = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())["kind"].lower()
    assert done.stdout == f"{kind}.carbonfleet.dev/{name} created\n"


def test_the_invalid_example_is_refused_with_every_mistake_named(crd_api):
    done = crd_api.kubectl("apply", "-f", str(EXAMPLES / "invalid.yaml"))
    assert done.returncode == 1
    for words in (
        'The CarbonTrainingJob "invalid" is invalid',
        "spec.resources.duration",
        "spec.residency.allowedJurisdictions",
        'must be of type string: "boolean"',
    ):
        assert words in done.stderr


def test_defaults_are_filled_in_down_to_the_last_level(crd_api):
    assert apply(crd_api, job("defaulted", schedule={"interruptible": {}})).returncode == 0
    shown = crd_api.kubectl("get", "ctj", "defaulted", "-n", "team-a", "-o", "json")
    spec = json.loads(shown.stdout)["spec"]
    assert spec["workload"]["lora"] == {"rank": 16, "alpha": 32, "dropout": 0.1}
    assert spec["schedule"] == {
        "tier": "standard",
        "onThresholdMiss": "cleanest",
        "interruptible": {"maxPauses": 4, "minimumRun": "1h", "overhead": "10m"},
        "onSignalLoss": {"action": "now", "localHour": 2},
    }
    assert spec["objective"] == {}


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        (
            {"schedule": {"earliestStart": "2026-01-02T00:00:00Z", "deadline": "2026-01-01T00:00:00Z"}},
            "spec.schedule",
            "deadline must be after earliestStart",
        ),
        (
            {"schedule": {"maxIntensityGramsPerKwh": 200, "maxIntensityPercentile": 30}},
            "spec.schedule",
            "give maxIntensityGramsPerKwh or maxIntensityPercentile, not both",
        ),
        (
            {"schedule": {"interruptible": {"minimumRun": "2h"}}},
            "spec",
            "schedule.interruptible.minimumRun must not be longer than resources.duration",
        ),
        ({"resources": {"duration": "0m"}}, "spec.resources.duration", "must be longer than 0s"),
        (
            {"workload": MINIMAL["spec"]["workload"] | {"training": {"steps": 10, "epochs": 1}}},
            "spec.workload.training",
            "give epochs or steps, not both",
        ),
        (
            {"workload": MINIMAL["spec"]["workload"] | {"model": "a/../../b"}},
            "spec.workload.model",
            "must not hold '..'",
        ),
        (
            {"workload": MINIMAL["spec"]["workload"] | {"checkpoints": {"uri": "s3://key:hunter2@bucket/x"}}},
            "spec.workload.checkpoints.uri",
            "must not hold a user or password",
        ),
    ],
)
def test_rules_between_fields_are_checked_by_the_api(crd_api, spec, field, message):
    done = apply(crd_api, job("ruled", **spec))
    assert done.returncode == 1
    assert f"{field}: Invalid value" in done.stderr
    assert message in done.stderr


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"review": "maybe"}, 'spec.review: Unsupported value: "maybe": supported values: "auto", "required"'),
        ({"residency": {}}, "spec.residency.dataClass: Required value"),
        ({"resources": {"duration": "1h", "gpus": 0}}, "should be greater than or equal to 1"),
        ({"resources": {"duration": "two hours"}}, "spec.resources.duration in body should match"),
        ({"residency": {"dataClass": "public", "allowedJurisdictions": ["EU", "EU"]}}, "Duplicate value"),
        ({"baselineRegion": "x" * 64}, "Too long: may not be more than 63"),
    ],
)
def test_bounds_and_enums_are_checked_by_the_api(crd_api, spec, words):
    done = apply(crd_api, job("bounded", **spec))
    assert done.returncode == 1
    assert words in done.stderr


def test_a_misspelt_field_is_refused(crd_api):
    done = apply(crd_api, job("misspelt", revew="auto"))
    assert done.returncode == 1
    assert 'unknown field "spec.revew"' in done.stderr


def test_residency_can_be_set_once(crd_api):
    assert apply(crd_api, job("moved")).returncode == 0
    done = apply(crd_api, job("moved", residency={"dataClass": "internal"}))
    assert done.returncode == 1
    assert "residency can't be changed; delete the job and create it again" in done.stderr
    assert apply(crd_api, job("moved", review="required")).returncode == 0


def spoke(**changes: Any) -> str:
    facts = {
        "name": "no-osl-1",
        "region": "norwayeast",
        "zone": "NO-NO1",
        "jurisdictions": ["NO", "EEA"],
        "pools": [{"name": "a100", "gpuType": "A100", "gpus": 4, "memoryGib": 80}],
    }
    head = {"apiVersion": "carbonfleet.dev/v1alpha1", "kind": "SpokeCluster"}
    return json.dumps(head | {"metadata": {"name": "no-osl-1"}, "spec": facts | changes})


def test_a_zone_that_yaml_read_as_false_is_refused_as_such(crd_api):
    done = apply(crd_api, spoke(zone=False))
    assert done.returncode == 1
    assert 'spec.zone in body must be of type string: "boolean"' in done.stderr


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "other"}, "spec.name must be the object's own name"),
        ({"zone": "Norway"}, "spec.zone in body should match"),
        ({"pools": []}, "spec.pools"),
        (
            {"pools": [{"name": "p", "gpuType": "A100", "gpus": 1, "memoryGib": 80, "idleWatts": 9, "peakWatts": 1}]},
            "idleWatts must not be more than peakWatts",
        ),
    ],
)
def test_a_spoke_that_cannot_be_is_refused(crd_api, changes, words):
    done = apply(crd_api, spoke(**changes))
    assert done.returncode == 1
    assert words in done.stderr


def report(sequence: int, **changes: Any) -> str:
    spec = {
        "spoke": "no-osl-1",
        "job": {"namespace": "team-a", "name": "minimal", "uid": "00000000-0000-0000-0000-000000000001"},
        "placementId": "abcdefghijklmnop",
        "attempt": 1,
        "pool": "a100",
        "gpus": 1,
        "phase": "Running",
        "bootId": "boot-1",
        "sequence": sequence,
        "observedAt": "2026-01-01T00:00:00Z",
    }
    head = {"apiVersion": "carbonfleet.dev/v1alpha1", "kind": "TrainingReport"}
    metadata = {"name": "minimal-abcd-1", "namespace": "spoke-no-osl-1"}
    return json.dumps(head | {"metadata": metadata, "spec": spec | changes})


def test_an_older_report_of_the_same_boot_is_refused(crd_api):
    assert apply(crd_api, report(2)).returncode == 0
    assert apply(crd_api, report(3)).returncode == 0
    done = apply(crd_api, report(1))
    assert done.returncode == 1
    assert "a newer report of the same boot is already here" in done.stderr
    assert apply(crd_api, report(0, bootId="boot-2")).returncode == 0
    assert "a report stays with its attempt" in apply(crd_api, report(9, attempt=2)).stderr


def test_kubectl_get_reads_well_in_120_columns(crd_api):
    name = "llama-3-8b-instruct-lora-r16"
    assert apply(crd_api, job(name)).returncode == 0
    status = {
        "phase": "Succeeded",
        "cluster": "no-osl-1",
        "gramsPerKwh": 35.4,
        "start": "2026-01-31T12:00:00Z",
        "when": "01-31 12:00",
        "saved": "~1.23 kg (93 %)",
        "attempt": 2,
        "placement": {
            "cluster": "no-osl-1",
            "pool": "a100",
            "attempt": 2,
            "placementId": "abcdefghijklmnop",
            "start": "2026-01-31T12:00:00Z",
            "path": f"clusters/no-osl-1/jobs/team-a/{name}.yaml",
            "commit": "0123456789",
        },
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Succeeded",
                "lastTransitionTime": "2026-01-31T12:00:00Z",
            }
        ],
    }
    patched = crd_api.kubectl(
        *("patch", "ctj", name, "-n", "team-a", "--subresource=status", "--type=merge"),
        *("-p", json.dumps({"status": status})),
    )
    assert patched.returncode == 0, patched.stderr
    shown = crd_api.kubectl("get", "ctj", name, "-n", "team-a").stdout.splitlines()
    assert shown[0].split() == ["NAME", "PHASE", "CLUSTER", "GCO2/KWH", "START", "SAVED", "AGE"]
    assert shown[1].startswith(name)
    assert "35.4" in shown[1]
    assert "01-31 12:00" in shown[1]
    assert "~1.23 kg (93 %)" in shown[1]
    assert max(len(line) for line in shown) <= 120
    wide = crd_api.kubectl("get", "ctj", name, "-n", "team-a", "-o", "wide").stdout.splitlines()
    assert wide[0].split()[-2:] == ["TRY", "REASON"]
    assert wide[1].split()[-2:] == ["2", "Succeeded"]
    assert max(len(line) for line in wide) <= 120


def test_kubectl_explain_tells_what_a_field_is_for(crd_api):
    done = crd_api.kubectl("explain", "ctj.spec.schedule.maxDelay")
    assert "The longest wait for a cleaner hour, counted from submission." in done.stdout


def test_all_of_ours_are_one_category(crd_api):
    assert crd_api.kubectl("apply", "-f", str(EXAMPLES / "minimal.yaml")).returncode == 0
    done = eventually(lambda: (found := crd_api.kubectl("get", "carbon", "-A", "-o", "name")).returncode == 0 and found)
    assert "carbontrainingjob.carbonfleet.dev/minimal" in done.stdout
