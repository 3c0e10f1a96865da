"""What a person reads about an object that is wrong: the field, and what to write there."""

import pytest
from pydantic import ValidationError

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.problems import told
from carbonfleet.signals import SignalSettings

GOOD = {
    "metadata": {"name": "job", "namespace": "ml"},
    "spec": {
        "workload": {"model": "acme/base", "dataset": {"name": "acme/data"}},
        "resources": {"duration": "2h"},
        "residency": {"dataClass": "public"},
    },
}


def said(model, data):
    """What is told of a value that is refused."""
    with pytest.raises(ValidationError) as refused:
        model.model_validate(data)
    return told(refused.value, model)


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ({"reviw": "auto"}, "spec.reviw: no such field (did you mean review?)"),
        ({"schedule": {"maxDelays": "1h"}}, "spec.schedule.maxDelays: no such field (did you mean maxDelay?)"),
        ({"quantum": 1}, "spec.quantum: no such field"),
        ({"maxCostUsd": 5}, "spec.maxCostUsd: no such field (did you mean spec.objective.maxCostUsd?)"),
        ({"schedule": {"gpus": 2}}, "spec.schedule.gpus: no such field (did you mean spec.resources.gpus?)"),
        ({"region": "x"}, "spec.region: no such field (did you mean spec.workload.dataset.region?)"),
        ({"resources": {}}, "spec.resources.duration: is missing"),
        ({"resources": {"duration": "2h", "gpus": "two"}}, "spec.resources.gpus: must be a number, not text"),
        (
            {"resources": {"duration": "2h", "options": [{"gpuTyp": "A100"}]}},
            "spec.resources.options[0].gpuTyp: no such field (did you mean gpuType?)",
        ),
        ({"review": "perhaps"}, "spec.review: must be 'auto' or 'required'"),
        ({"residency": {}}, "spec.residency.dataClass: is missing"),
    ],
)
def test_a_field_at_fault_is_named_with_what_to_write(spec, what):
    assert what in said(CarbonTrainingJob, {**GOOD, "spec": {**GOOD["spec"], **spec}})


def test_no_more_than_a_few_problems_are_told():
    wrong = {f"field{n}": n for n in range(8)}
    assert said(CarbonTrainingJob, {**GOOD, "spec": {**GOOD["spec"], **wrong}}).endswith("; and 3 more")


def test_cluster_files_and_signal_settings_are_told_alike():
    facts = {"name": "oslo", "region": "norwayeast", "zone": "NO-NO1", "jurisdictions": ["NO"], "pool": []}
    assert said(ClusterFacts, facts) == "pools: is missing; pool: no such field (did you mean pools?)"
    facts = {**facts, "pools": [], "memoryGib": 80}
    assert "memoryGib: no such field (did you mean pools.memoryGib?)" in said(ClusterFacts, facts)
    assert "sourcs: no such field (did you mean sources?)" in said(SignalSettings, {"sourcs": []})
