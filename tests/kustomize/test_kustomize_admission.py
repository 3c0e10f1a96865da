"""The spoke's own admission policy, its CEL run as the API server would run it."""

from typing import Any

import cel
import pytest
from rendering import SPOKES, find

ALLOWED = {"cluster": "no-osl-1", "residency.public": "allow", "residency.eu-personal": "allow"}


def rayjob(**labels: str) -> dict[str, Any]:
    wire = {f"carbonfleet.dev/{name.replace('_', '-')}": value for name, value in labels.items()}
    return {"metadata": {"name": "x", **({"labels": wire} if wire else {})}}


def refusals(new: dict[str, Any], old: dict[str, Any] | None = None, data: Any = ALLOWED) -> list[str]:
    """The messages of the validations that fail; an expression that can't be evaluated raises."""
    spec = find("agent", "ValidatingAdmissionPolicy")["spec"]
    known: dict[str, Any] = {
        "object": new,
        "oldObject": old,
        "params": {} if data is None else {"data": data},
        "variables": {},
    }
    for variable in spec["variables"]:
        known["variables"][variable["name"]] = cel.evaluate(variable["expression"], known)
    return [
        rule.get("message") or cel.evaluate(rule["messageExpression"], known)
        for rule in spec["validations"]
        if not cel.evaluate(rule["expression"], known)
    ]


def test_a_placement_of_an_allowed_class_for_this_cluster_passes():
    assert refusals(rayjob(data_class="public", cluster="no-osl-1")) == []


def test_a_class_that_the_admin_did_not_name_is_refused_with_what_to_do():
    (message,) = refusals(rayjob(data_class="us-restricted", cluster="no-osl-1"))
    assert message == (
        "this spoke does not allow data class us-restricted; its admin may add"
        " residency.us-restricted: allow to the ConfigMap carbonfleet-allowed"
    )
    added = ALLOWED | {"residency.us-restricted": "allow"}
    assert refusals(rayjob(data_class="us-restricted", cluster="no-osl-1"), data=added) == []


def test_anything_but_allow_refuses():
    data = ALLOWED | {"residency.public": "deny"}
    assert len(refusals(rayjob(data_class="public", cluster="no-osl-1"), data=data)) == 1


def test_a_placement_for_another_cluster_is_refused():
    assert refusals(rayjob(data_class="public", cluster="us-oh-1")) == [
        "this placement is for cluster us-oh-1, not for this one"
    ]


def test_a_rayjob_without_labels_is_refused_and_not_an_error():
    assert refusals(rayjob())[0].startswith("the label carbonfleet.dev/data-class is missing")


def test_the_data_class_may_not_change_afterwards():
    old = rayjob(data_class="public", cluster="no-osl-1")
    new = rayjob(data_class="eu-personal", cluster="no-osl-1")
    assert refusals(new, old) == ["the label carbonfleet.dev/data-class can't be changed"]


def test_an_update_that_leaves_the_class_alone_passes():
    same = rayjob(data_class="public", cluster="no-osl-1")
    assert refusals(same, same) == []


LABELS = {"data_class": "eu-personal", "cluster": "no-osl-1"}
WITHDRAWN = {"cluster": "no-osl-1", "residency.public": "allow"}
RUNS: dict[str, Any] = {"suspend": False, "entrypoint": "train"}
PAUSED = RUNS | {"suspend": True}


def running(spec: Any, *, deleted: bool = False, **labels: str) -> dict[str, Any]:
    body = rayjob(**(labels or LABELS))
    body["metadata"] |= {"finalizers": ["ray.io/rayjob-finalizer"]}
    body["metadata"] |= {"deletionTimestamp": "2026-11-30T00:00:00Z"} if deleted else {}
    return body | {"spec": spec}


def without_finalizer() -> dict[str, Any]:
    """What KubeRay writes when a deleted run has ended."""
    body = running(RUNS, deleted=True)
    del body["metadata"]["finalizers"]
    return body


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(running(RUNS, deleted=True), without_finalizer(), id="finalizer"),
        pytest.param(running(RUNS), running(PAUSED), id="suspended"),
        pytest.param(running({"entrypoint": "train"}), running({"entrypoint": "train"}), id="applied again"),
        pytest.param(running(PAUSED), running(PAUSED), id="paused and applied again"),
        pytest.param(running(RUNS), running(RUNS, deleted=True), id="deleted"),
    ],
)
@pytest.mark.parametrize("data", [WITHDRAWN, {}, None, {"cluster": "renamed", "residency.eu-personal": "allow"}])
def test_a_run_of_a_class_that_was_withdrawn_can_be_ended_paused_and_left_alone(old, new, data):
    assert refusals(new, old, data) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(None, running(RUNS), id="created"),
        pytest.param(None, running(PAUSED), id="created suspended"),
        pytest.param(running(PAUSED), running(RUNS), id="resumed"),
        pytest.param(running(PAUSED), running({"entrypoint": "train"}), id="resumed by leaving it out"),
        pytest.param(running(RUNS), running(RUNS | {"entrypoint": "more"}), id="changed"),
    ],
)
def test_nothing_of_a_class_that_was_withdrawn_begins_or_goes_on_anew(old, new):
    assert len(refusals(new, old, WITHDRAWN)) == 1


def test_a_run_without_labels_from_before_the_policy_can_be_deleted():
    old = {"metadata": {"name": "x", "finalizers": ["ray.io/rayjob-finalizer"]}, "spec": RUNS}
    new = {"metadata": {"name": "x", "deletionTimestamp": "2026-11-30T00:00:00Z"}, "spec": RUNS}
    assert refusals(new, old) == []


@pytest.mark.parametrize("deleted", [False, True])
def test_not_even_what_is_deleted_or_suspended_may_change_its_class(deleted):
    new = running(PAUSED, deleted=deleted, data_class="public", cluster="no-osl-1")
    assert refusals(new, running(RUNS), WITHDRAWN) == ["the label carbonfleet.dev/data-class can't be changed"]


@pytest.mark.parametrize("data", [None, {}])
def test_an_empty_list_allows_nothing(data):
    assert len(refusals(rayjob(data_class="public", cluster="no-osl-1"), data=data)) == 2


@pytest.mark.parametrize("overlay", SPOKES)
def test_without_its_list_the_policy_denies(overlay):
    binding = find(overlay, "ValidatingAdmissionPolicyBinding")["spec"]
    assert find(overlay, "ValidatingAdmissionPolicy")["spec"]["failurePolicy"] == "Fail"
    assert binding["paramRef"]["parameterNotFoundAction"] == "Deny"
    assert "Deny" in binding["validationActions"]
    assert find(overlay, "ConfigMap", binding["paramRef"]["name"])["data"]["residency.public"] == "allow"


@pytest.mark.parametrize("overlay", SPOKES)
def test_every_tenants_namespace_is_under_the_policy(overlay):
    wanted = find(overlay, "ValidatingAdmissionPolicyBinding")["spec"]["matchResources"]["namespaceSelector"]
    labels = find(overlay, "Namespace", "team-a")["metadata"]["labels"]
    assert wanted["matchLabels"].items() <= labels.items()
