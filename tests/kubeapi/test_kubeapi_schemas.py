"""What a CRD's schema refuses, and in which words."""

import json

import pytest
from kubernetes.client import ApiException


def refusal(call) -> dict:
    """The causes of a 422, field to message."""
    with pytest.raises(ApiException) as error:
        call()
    status = json.loads(error.value.body)
    assert status["code"] == 422, status
    return {cause["field"]: cause["message"] for cause in status["details"]["causes"]}


def test_a_country_read_as_a_boolean_is_named_by_its_place(widgets):
    causes = refusal(lambda: widgets.create("a", {"zones": ["SE", False]}))
    assert (
        causes["spec.zones[1]"] == 'Invalid value: "boolean": spec.zones[1] in body must be of type string: "boolean"'
    )


def test_kubectl_shows_the_boolean_that_yaml_made_of_no(widgets, shared_kube_api):
    manifest = "{apiVersion: tests.example.dev/v1, kind: Widget, metadata: {name: a}, spec: {zones: [NO]}}"
    done = shared_kube_api.kubectl("-n", widgets.namespace, "apply", "-f", "-", stdin=manifest)
    assert done.returncode == 1
    assert 'spec.zones[0] in body must be of type string: "boolean"' in done.stderr


def test_every_bound_is_checked_and_every_breach_reported(widgets):
    causes = refusal(lambda: widgets.create("a", {"size": "huge", "zones": ["no"], "replicas": -1, "deadline": "soon"}))
    assert causes == {
        "spec.size": 'Unsupported value: "huge": supported values: "small", "large"',
        "spec.zones[0]": "Invalid value: \"no\": spec.zones[0] in body should match '^[A-Z]{2}(-[A-Z0-9]+)*$'",
        "spec.replicas": "Invalid value: -1: spec.replicas in body should be greater than or equal to 0",
        "spec.deadline": 'Invalid value: "soon": spec.deadline in body must be of type date-time: "soon"',
        "<nil>": "Invalid value: null: some validation rules were not checked because the object was invalid;"
        " correct the existing errors to complete validation",
    }


def test_a_line_break_does_not_slip_past_a_pattern(widgets):
    assert "spec.zones[0]" in refusal(lambda: widgets.create("a", {"zones": ["SE\n"]}))


def test_two_items_of_one_key_are_refused(widgets):
    causes = refusal(lambda: widgets.create("a", {"ports": [{"name": "x"}, {"name": "x"}]}))
    assert causes == {"spec.ports[1]": 'Duplicate value: {"name":"x"}'}


def test_a_rule_compares_moments(widgets):
    moments = {"earliest": "2026-01-02T00:00:00+02:00", "deadline": "2026-01-01T22:30:00Z"}
    widgets.create("a", moments)
    causes = refusal(lambda: widgets.create("b", {"earliest": moments["deadline"], "deadline": moments["earliest"]}))
    assert causes == {"spec": "Invalid value: the deadline must come after the earliest start"}


def test_a_rule_may_compute_its_message(widgets):
    causes = refusal(lambda: widgets.create("a", {"ports": [{"name": "x", "port": -1}]}))
    assert causes == {"spec": "Invalid value: ports must be positive, and there are 1"}


def test_a_transition_rule_holds_from_the_first_value_on(widgets):
    widgets.create("a")
    widgets.patch("a", {"spec": {"owner": "anna"}})
    causes = refusal(lambda: widgets.patch("a", {"spec": {"owner": "bert"}}))
    assert causes == {"spec.owner": "Invalid value: owner is immutable"}


def test_a_rule_with_an_optional_old_value_runs_on_creation_too(widgets):
    assert refusal(lambda: widgets.create("a", {"replicas": 50})) == {"spec": "Invalid value: start with fewer than 50"}
    widgets.create("a", {"replicas": 49})
    assert widgets.patch("a", {"spec": {"replicas": 50}})["spec"]["replicas"] == 50


def test_unknown_fields_are_dropped(widgets):
    assert "bogus" not in widgets.create("a", {"bogus": 1})["spec"]


def test_strict_validation_refuses_unknown_fields(widgets):
    body = {
        "apiVersion": "tests.example.dev/v1",
        "kind": "Widget",
        "metadata": {"name": "a", "nmae": "b"},
        "spec": {"bogus": 1},
    }
    with pytest.raises(ApiException) as error:
        widgets.custom.create_namespaced_custom_object(*widgets.place, body, field_validation="Strict")
    message = json.loads(error.value.body)["message"]
    assert message == (
        'Widget in version "v1" cannot be handled as a Widget: strict decoding error:'
        ' unknown field "metadata.nmae", unknown field "spec.bogus"'
    )


@pytest.mark.parametrize("name", ["../etc", "a/b", "UPPER", "a b", "-a", "a" * 254, "$(reboot)", ""])
def test_a_name_that_is_no_dns_name_is_refused(widgets, name):
    assert "metadata.name" in refusal(lambda: widgets.create(name))


def test_labels_must_be_strings(widgets):
    with pytest.raises(ApiException) as error:
        widgets.create("a", labels={"x": True})
    assert error.value.status == 400
    assert "cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string" in error.value.body


GADGETS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.tests.example.dev}
spec:
  group: tests.example.dev
  scope: Cluster
  names: {plural: gadgets, kind: Gadget}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties: {spec: {type: object, x-kubernetes-validations: [{rule: "self.a >"}], properties: {a: {}}}}
"""


@pytest.mark.parametrize("more", ["description: as for every object", "properties: {labels: {type: object}}"])
def test_a_crd_may_say_nothing_of_metadata_but_its_name(shared_kube_api, more):
    manifest = GADGETS.replace("self.a >", "true").replace("{a: {}}", "{a: {type: integer}}")
    assert shared_kube_api.kubectl("create", "--dry-run=server", "-f", "-", stdin=manifest).returncode == 0
    manifest = manifest.replace("properties: {spec:", f"properties: {{metadata: {{type: object, {more}}}, spec:")
    done = shared_kube_api.kubectl("create", "--dry-run=server", "-f", "-", stdin=manifest)
    assert done.returncode == 1
    assert "properties[metadata]: Forbidden: must not specify anything other than name" in done.stderr


def test_a_crd_whose_rule_does_not_compile_is_refused(shared_kube_api):
    manifest = GADGETS
    done = shared_kube_api.kubectl("apply", "-f", "-", stdin=manifest)
    assert done.returncode == 1
    assert "properties[a].type: Required value: must not be empty for specified object fields" in done.stderr
    done = shared_kube_api.kubectl("apply", "-f", "-", stdin=manifest.replace("{a: {}}", "{a: {type: integer}}"))
    assert done.returncode == 1
    assert "compilation failed" in done.stderr
    unknown = manifest.replace("{a: {}}", "{a: {type: integer}}").replace("self.a >", "quantity(self.a) > 1")
    done = shared_kube_api.kubectl("apply", "-f", "-", stdin=unknown)
    assert "undeclared reference to 'quantity'" in done.stderr
    odd = manifest.replace("{a: {}}", "{a: {type: integer}}").replace('"self.a >"', '"self.a > 1", reason: Odd')
    done = shared_kube_api.kubectl("apply", "-f", "-", stdin=odd)
    assert 'x-kubernetes-validations[0].reason: Unsupported value: "Odd": supported values: ' in done.stderr
