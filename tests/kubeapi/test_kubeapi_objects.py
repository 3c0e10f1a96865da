"""Objects through the Python client: writes, versions, status, conflicts, finalizers, lists."""

import json

import pytest
from kubernetes.client import ApiException

from fixtures.kubeapi_server import eventually


def reason_of(error) -> str:
    return json.loads(error.value.body)["reason"]


def test_a_new_object_gets_what_the_server_gives(widgets):
    made = widgets.create("a", {"ports": [{"name": "http", "port": 80}]})
    assert made["spec"] == {"size": "small", "replicas": 1, "ports": [{"name": "http", "port": 80, "open": True}]}
    assert made["metadata"]["generation"] == 1
    assert made["metadata"]["namespace"] == widgets.namespace
    assert len(made["metadata"]["uid"]) == 36
    assert made == widgets.get("a")


def test_a_second_object_of_one_name_is_refused(widgets):
    widgets.create("a")
    with pytest.raises(ApiException) as error:
        widgets.create("a")
    assert (error.value.status, reason_of(error)) == (409, "AlreadyExists")


def test_the_generation_counts_changes_of_the_spec_only(widgets):
    widgets.create("a")
    assert widgets.patch("a", {"metadata": {"labels": {"x": "y"}}})["metadata"]["generation"] == 1
    assert widgets.patch_status("a", {"status": {"phase": "Running"}})["metadata"]["generation"] == 1
    assert widgets.patch("a", {"spec": {"replicas": 2}})["metadata"]["generation"] == 2


def test_a_write_that_changes_nothing_keeps_the_version(widgets):
    made = widgets.create("a")
    again = widgets.patch("a", {"spec": {"replicas": 1}})
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_status_is_written_through_its_subresource_only(widgets):
    widgets.create("a")
    assert "status" not in widgets.patch("a", {"status": {"phase": "Running"}})
    written = widgets.patch_status("a", {"status": {"phase": "Running"}, "spec": {"replicas": 7}})
    assert (written["status"], written["spec"]["replicas"]) == ({"phase": "Running"}, 1)


def test_a_write_on_an_old_version_conflicts(widgets):
    old = widgets.create("a")
    widgets.patch("a", {"spec": {"replicas": 2}})
    with pytest.raises(ApiException) as error:
        widgets.replace({**old, "spec": {"replicas": 3}})
    assert (error.value.status, reason_of(error)) == (409, "Conflict")
    assert "the object has been modified" in error.value.body
    assert widgets.get("a")["spec"]["replicas"] == 2


def test_a_finalizer_holds_a_deleted_object(widgets):
    widgets.create("a", finalizers=["tests.example.dev/hold"])
    held = widgets.delete("a")
    assert held["metadata"]["deletionTimestamp"]
    assert widgets.get("a")["metadata"]["generation"] == 2
    widgets.patch("a", {"metadata": {"finalizers": None}})
    assert widgets.names() == []


def test_a_deletion_may_name_the_object_it_means(widgets):
    uid = widgets.create("a")["metadata"]["uid"]
    with pytest.raises(ApiException) as error:
        widgets.delete("a", body={"preconditions": {"uid": "another"}})
    assert error.value.status == 409
    assert "Precondition failed: UID in precondition: another" in error.value.body
    assert widgets.delete("a", body={"preconditions": {"uid": uid}})["status"] == "Success"


def test_selectors_limit_a_list(widgets):
    widgets.create("a", labels={"team": "x", "tier": "gold"})
    widgets.create("b", labels={"team": "y"})
    widgets.create("c")
    assert widgets.names(label_selector="team in (x,y)") == ["a", "b"]
    assert widgets.names(label_selector="team,tier!=gold") == ["b"]
    assert widgets.names(label_selector="!team") == ["c"]
    assert widgets.names(field_selector="metadata.name!=b") == ["a", "c"]
    with pytest.raises(ApiException, match=r"field label not supported: spec.size"):
        widgets.names(field_selector="spec.size=small")


def test_a_list_comes_in_pages(widgets):
    for name in "edcba":
        widgets.create(name)
    first = widgets.list(limit=2)
    second = widgets.list(limit=2, _continue=first["metadata"]["continue"])
    third = widgets.list(limit=2, _continue=second["metadata"]["continue"])
    pages = [[item["metadata"]["name"] for item in page["items"]] for page in (first, second, third)]
    assert pages == [["a", "b"], ["c", "d"], ["e"]]
    assert "continue" not in third["metadata"]
    assert first["metadata"]["resourceVersion"] == third["metadata"]["resourceVersion"]


def test_a_quota_counts_the_objects_of_its_namespace_and_kind(widgets):
    counted = {"count/widgets.tests.example.dev": "2", "count/pods": "0", "cpu": "1"}
    widgets.core.create_namespaced_resource_quota(
        widgets.namespace, {"metadata": {"name": "few"}, "spec": {"hard": counted}}
    )
    widgets.create("a")
    widgets.create("b")
    with pytest.raises(ApiException) as error:
        widgets.create("c")
    assert (error.value.status, json.loads(error.value.body)["message"]) == (
        403,
        'widgets.tests.example.dev "c" is forbidden: exceeded quota: few, requested: '
        "count/widgets.tests.example.dev=1, used: count/widgets.tests.example.dev=2, limited: "
        "count/widgets.tests.example.dev=2",
    )
    widgets.delete("a")
    widgets.create("c")
    assert widgets.names() == ["b", "c"]


def test_a_dry_run_writes_nothing(widgets):
    body = {"apiVersion": "tests.example.dev/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": {}}
    made = widgets.custom.create_namespaced_custom_object(*widgets.place, body, dry_run="All")
    assert made["spec"]["size"] == "small"
    assert widgets.names() == []


def test_an_object_cannot_be_made_in_a_namespace_that_is_not_there(widgets):
    widgets.place = (*widgets.place[:2], "nowhere", widgets.place[3])
    with pytest.raises(ApiException) as error:
        widgets.create("a")
    assert json.loads(error.value.body)["message"] == 'namespaces "nowhere" not found'


def test_dependents_go_with_their_owner(widgets):
    owner = widgets.create("owner")
    reference = {
        "apiVersion": "tests.example.dev/v1",
        "kind": "Widget",
        "name": "owner",
        "uid": owner["metadata"]["uid"],
    }
    widgets.create("child", ownerReferences=[reference])
    widgets.create("stranger")
    widgets.delete("owner")
    eventually(lambda: widgets.names() == ["stranger"])


def test_dependents_stay_where_the_owner_is_orphaned(widgets):
    owner = widgets.create("owner")
    reference = {
        "apiVersion": "tests.example.dev/v1",
        "kind": "Widget",
        "name": "owner",
        "uid": owner["metadata"]["uid"],
    }
    widgets.create("child", ownerReferences=[reference])
    widgets.delete("owner", propagation_policy="Orphan")
    eventually(lambda: widgets.names() == ["child"])
    assert "ownerReferences" not in widgets.get("child")["metadata"]


def test_a_foreground_deletion_waits_for_the_dependents(widgets):
    owner = widgets.create("owner")
    reference = {
        "apiVersion": "tests.example.dev/v1",
        "kind": "Widget",
        "name": "owner",
        "uid": owner["metadata"]["uid"],
    }
    widgets.create(
        "child", ownerReferences=[{**reference, "blockOwnerDeletion": True}], finalizers=["tests.example.dev/hold"]
    )
    widgets.delete("owner", propagation_policy="Foreground")
    eventually(lambda: "deletionTimestamp" in widgets.get("child")["metadata"])
    assert widgets.get("owner")["metadata"]["finalizers"] == ["foregroundDeletion"]
    widgets.patch("child", {"metadata": {"finalizers": None}})
    eventually(lambda: widgets.names() == [])


def test_a_namespace_goes_with_all_it_holds(widgets):
    widgets.create("a", finalizers=["tests.example.dev/hold"])
    widgets.core.create_namespaced_config_map(widgets.namespace, {"metadata": {"name": "cm"}})
    widgets.core.delete_namespace(widgets.namespace)
    eventually(lambda: "deletionTimestamp" in widgets.get("a")["metadata"])
    assert widgets.core.read_namespace(widgets.namespace).status.phase == "Terminating"
    with pytest.raises(ApiException) as error:
        widgets.create("late")
    assert error.value.status == 403
    assert "because it is being terminated" in error.value.body
    widgets.patch("a", {"metadata": {"finalizers": None}})
    eventually(lambda: widgets.namespace not in [ns.metadata.name for ns in widgets.core.list_namespace().items])


def test_an_event_reads_the_same_in_both_groups(widgets):
    involved = {"kind": "Widget", "name": "a", "namespace": widgets.namespace}
    body = {
        "metadata": {"name": "a.1"},
        "involvedObject": involved,
        "reason": "Done",
        "message": "all well",
        "type": "Normal",
    }
    widgets.core.create_namespaced_event(widgets.namespace, body)
    newer = widgets.custom.get_namespaced_custom_object("events.k8s.io", "v1", widgets.namespace, "events", "a.1")
    assert (newer["note"], newer["regarding"]["name"], newer["apiVersion"]) == ("all well", "a", "events.k8s.io/v1")
    assert "message" not in newer


def test_the_scale_subresource_reads_and_writes_replicas(widgets):
    widgets.create("a", {"replicas": 2})
    scale = widgets.custom.get_namespaced_custom_object_scale(*widgets.place, "a")
    assert (scale["kind"], scale["spec"]["replicas"]) == ("Scale", 2)
    widgets.custom.patch_namespaced_custom_object_scale(*widgets.place, "a", {"spec": {"replicas": 5}})
    assert widgets.get("a")["spec"]["replicas"] == 5
