"""Server-side apply: who owns which field, list-maps merged by key, conflicts, and what an applier lets go."""

import json

import pytest
from kubernetes.client import ApiException


@pytest.fixture
def apply(widgets):
    """Apply a widget's spec as a manager."""

    def send(manager, spec, *, force=False, **metadata):
        body = {
            "apiVersion": "tests.example.dev/v1",
            "kind": "Widget",
            "metadata": {"name": "a", **metadata},
            "spec": spec,
        }
        api_client = widgets.core.api_client
        path = "/apis/tests.example.dev/v1/namespaces/{namespace}/widgets/a"
        answer = api_client.call_api(
            *api_client.param_serialize(
                "PATCH",
                path,
                {"namespace": widgets.namespace},
                [("fieldManager", manager), ("force", str(force).lower())],
                {"Content-Type": "application/apply-patch+yaml", "Accept": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
            )
        )
        data = answer.read()
        if answer.status >= 400:
            raise ApiException(status=answer.status, body=data.decode())
        return json.loads(data)

    return send


def owners(obj) -> dict[tuple[str, str], dict]:
    return {(entry["manager"], entry["operation"]): entry["fieldsV1"] for entry in obj["metadata"]["managedFields"]}


def test_an_apply_makes_the_object_and_owns_what_it_names(apply):
    made = apply("hub", {"replicas": 2})
    assert made["spec"] == {"replicas": 2, "size": "small"}
    assert owners(made) == {("hub", "Apply"): {"f:spec": {"f:replicas": {}}}}


def test_two_appliers_each_own_their_item_of_a_list_map(apply):
    apply("hub", {"ports": [{"name": "http", "port": 80}]})
    both = apply("spoke", {"ports": [{"name": "grpc", "port": 90}]})
    assert [port["name"] for port in both["spec"]["ports"]] == ["http", "grpc"]
    hub_left = apply("hub", {})
    assert [port["name"] for port in hub_left["spec"]["ports"]] == ["grpc"]


def test_a_field_of_another_owner_conflicts_unless_forced(apply):
    apply("hub", {"replicas": 2})
    with pytest.raises(ApiException) as error:
        apply("spoke", {"replicas": 3})
    status = json.loads(error.value.body)
    assert status["message"] == 'Apply failed with 1 conflict: conflict with "hub": .spec.replicas'
    assert status["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "hub"', "field": ".spec.replicas"}
    ]
    forced = apply("spoke", {"replicas": 3}, force=True)
    assert owners(forced) == {("spoke", "Apply"): {"f:spec": {"f:replicas": {}}}}


def test_appliers_that_agree_share_a_field_until_both_let_go(apply):
    apply("hub", {"replicas": 2})
    apply("spoke", {"replicas": 2})
    assert apply("hub", {})["spec"]["replicas"] == 2
    assert apply("spoke", {})["spec"]["replicas"] == 1


def test_a_plain_update_takes_the_field_from_the_applier(apply, widgets):
    apply("hub", {"replicas": 2, "size": "large"})
    written = widgets.patch("a", {"spec": {"replicas": 5}}, field_manager="person")
    assert owners(written) == {
        ("hub", "Apply"): {"f:spec": {"f:size": {}}},
        ("person", "Update"): {"f:spec": {"f:replicas": {}}},
    }
    with pytest.raises(ApiException) as error:
        apply("hub", {"replicas": 2, "size": "large"})
    message = json.loads(error.value.body)["message"]
    assert 'conflict with "person" using tests.example.dev/v1 at ' in message


def test_an_apply_that_changes_nothing_writes_nothing(apply):
    first = apply("hub", {"replicas": 2}, labels={"x": "y"})
    assert apply("hub", {"replicas": 2}, labels={"x": "y"}) == first


def test_a_label_goes_with_the_only_applier_that_named_it(apply):
    apply("hub", {}, labels={"mine": "1"})
    apply("spoke", {}, labels={"yours": "1"})
    assert apply("hub", {})["metadata"]["labels"] == {"yours": "1"}


def test_finalizers_of_several_appliers_are_kept_together(apply, widgets):
    apply("hub", {}, finalizers=["tests.example.dev/hub"])
    both = apply("spoke", {}, finalizers=["tests.example.dev/spoke"])
    assert both["metadata"]["finalizers"] == ["tests.example.dev/hub", "tests.example.dev/spoke"]
    assert apply("hub", {})["metadata"]["finalizers"] == ["tests.example.dev/spoke"]
    widgets.patch("a", {"metadata": {"finalizers": None}})


def test_status_is_not_applied_through_the_main_door(apply, widgets):
    apply("hub", {"replicas": 2})
    widgets.patch_status("a", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    again = apply("hub", {"replicas": 2})
    assert again["status"] == {"conditions": [{"type": "Ready", "status": "True"}]}
    entries = [entry for entry in again["metadata"]["managedFields"] if entry.get("subresource") == "status"]
    assert [entry["operation"] for entry in entries] == ["Update"]


def test_kubectl_moves_a_client_side_apply_to_the_server_side(widgets, shared_kube_api):
    manifest = "{apiVersion: tests.example.dev/v1, kind: Widget, metadata: {name: a}, spec: {replicas: %d}}"
    place = ("-n", widgets.namespace, "apply", "-f", "-")
    assert shared_kube_api.kubectl(*place, stdin=manifest % 2).returncode == 0
    moved = shared_kube_api.kubectl(*place, "--server-side", stdin=manifest % 3)
    assert (moved.returncode, moved.stdout) == (0, "widget.tests.example.dev/a serverside-applied\n"), moved.stderr
    assert set(owners(widgets.get("a"))) == {("kubectl", "Apply"), ("kubectl-last-applied", "Apply")}
