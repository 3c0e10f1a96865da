"""What survives the end of the process, however it ends."""

import threading

import urllib3
from kubernetes import client

from fixtures.kubeapi_server import PATIENCE, eventually
from fixtures.kubeapi_widgets import Widgets, client_for, install_widgets, make_namespace


def open_widgets(kube_api, namespace=None):
    api_client = install_widgets(kube_api)
    return Widgets(api_client, namespace or make_namespace(api_client))


def test_nothing_that_was_acknowledged_is_lost_in_a_crash(kube_api):
    widgets = open_widgets(kube_api)
    acknowledged: dict[str, str] = {}

    def write(worker: int) -> None:
        mine = Widgets(client_for(kube_api.kubeconfig), widgets.namespace)
        mine.core.api_client.configuration.retries = False
        for number in range(10_000):
            name = f"w{worker}-{number}"
            try:
                acknowledged[name] = mine.create(name)["metadata"]["uid"]
            except (urllib3.exceptions.HTTPError, client.ApiException):
                return

    writers = [threading.Thread(target=write, args=(worker,), daemon=True) for worker in range(4)]
    for writer in writers:
        writer.start()
    eventually(lambda: len(acknowledged) >= 200)
    kube_api.kill()
    for writer in writers:
        writer.join(PATIENCE)
    known = dict(acknowledged)
    kube_api.start()
    found = open_widgets(kube_api, widgets.namespace).list()
    stored = {item["metadata"]["name"]: item["metadata"]["uid"] for item in found["items"]}
    assert {name: stored.get(name) for name in known} == known
    highest = max(int(item["metadata"]["resourceVersion"]) for item in found["items"])
    assert int(found["metadata"]["resourceVersion"]) > highest


def test_objects_kinds_rights_and_tokens_are_there_after_a_restart(make_kube_api):
    kube_api = make_kube_api(users={"bob": ("token-of-bob-for-tests", "")})
    widgets = open_widgets(kube_api)
    widgets.create("a", {"replicas": 3})
    before = widgets.patch_status("a", {"status": {"phase": "Running"}})
    rights = client.RbacAuthorizationV1Api(widgets.core.api_client)
    rights.create_cluster_role_binding(
        {
            "metadata": {"name": "bob"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
            "subjects": [{"kind": "User", "name": "bob"}],
        }
    )
    reader = {"verbs": ["get"], "apiGroups": ["tests.example.dev"], "resources": ["widgets"]}
    rights.create_cluster_role({"metadata": {"name": "reader"}, "rules": [reader]})
    widgets.core.create_namespaced_service_account(widgets.namespace, {"metadata": {"name": "agent"}})
    token = widgets.core.create_namespaced_service_account_token("agent", widgets.namespace, {"spec": {}}).status.token
    kube_api.restart()
    with client_for(kube_api.kubeconfig_for("bob")) as as_bob:
        assert Widgets(as_bob, widgets.namespace).get("a") == before
    whoami = kube_api.kubectl("auth", "whoami", "--token", token, "-o", "jsonpath={.status.userInfo.username}")
    assert whoami.stdout == f"system:serviceaccount:{widgets.namespace}:agent"


def test_versions_go_up_over_a_restart_and_old_watches_list_again(kube_api):
    widgets = open_widgets(kube_api)
    old = int(widgets.create("a")["metadata"]["resourceVersion"])
    kube_api.restart()
    widgets = open_widgets(kube_api, widgets.namespace)
    new = int(widgets.patch("a", {"spec": {"replicas": 2}})["metadata"]["resourceVersion"])
    assert new > old


def test_a_deletion_that_was_begun_is_finished_after_a_crash(kube_api):
    widgets = open_widgets(kube_api)
    owner = widgets.create("owner", finalizers=["tests.example.dev/hold"])
    reference = {
        "apiVersion": "tests.example.dev/v1",
        "kind": "Widget",
        "name": "owner",
        "uid": owner["metadata"]["uid"],
    }
    widgets.create("child", ownerReferences=[reference])
    widgets.delete("owner")
    kube_api.kill()
    kube_api.start()
    widgets = open_widgets(kube_api, widgets.namespace)
    assert widgets.names() == ["child", "owner"]
    widgets.patch("owner", {"metadata": {"finalizers": None}})
    eventually(lambda: widgets.names() == [])


def test_a_stop_by_signal_is_clean(kube_api):
    open_widgets(kube_api)
    assert kube_api.stop() == 0
    assert kube_api.log() == ""


def test_moments_come_from_the_clock_that_the_server_was_given(make_kube_api):
    kube_api = make_kube_api(environment={"CARBONFLEET_CLOCK": "0.0,-946684800.0,1.0"})
    made = open_widgets(kube_api).create("a")
    assert made["metadata"]["creationTimestamp"] < "2010"
    assert made["metadata"]["managedFields"][0]["time"] < "2010"
