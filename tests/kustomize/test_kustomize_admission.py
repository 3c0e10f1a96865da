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
