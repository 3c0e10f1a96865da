"""Tokens and roles: who gets in, and who may do what."""

import json

import pytest
import urllib3
from kubernetes import client
from kubernetes.client import ApiException

from fixtures.kubeapi_widgets import Widgets, client_for, install_widgets, make_namespace


@pytest.fixture
def bob(shared_kube_api, widgets):
    """Bob's view of the widgets; without a role he may do nothing."""
    with client_for(shared_kube_api.kubeconfig_for("bob")) as api_client:
        yield Widgets(api_client, widgets.namespace)


def grant(widgets, *rules, subject=None):
    """Give Bob a role in the namespace."""
    rights = client.RbacAuthorizationV1Api(widgets.core.api_client)
    rights.create_namespaced_role(widgets.namespace, {"metadata": {"name": "r"}, "rules": list(rules)})
    body = {
        "metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [subject or {"kind": "User", "name": "bob"}],
    }
    rights.create_namespaced_role_binding(widgets.namespace, body)


def rule(verbs, resources, **more):
    return {"verbs": verbs, "apiGroups": ["tests.example.dev"], "resources": resources, **more}


def message_of(call) -> tuple[int, str]:
    with pytest.raises(ApiException) as error:
        call()
    return error.value.status, json.loads(error.value.body)["message"]


def test_nobody_gets_in_without_a_token(shared_kube_api):
    pool = urllib3.PoolManager(ca_certs=str(shared_kube_api.certificate))
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {shared_kube_api.token}"}):
        answer = pool.request("GET", shared_kube_api.url + "/api/v1/namespaces", headers=headers, timeout=60)
        assert (answer.status, answer.json()["reason"]) == (401, "Unauthorized")


def test_a_user_without_a_role_is_told_what_is_missing(bob):
    assert message_of(bob.list) == (
        403,
        'widgets.tests.example.dev is forbidden: User "bob" cannot list resource "widgets" in API group'
        f' "tests.example.dev" in the namespace "{bob.namespace}"',
    )
    everywhere = message_of(lambda: bob.custom.list_cluster_custom_object("tests.example.dev", "v1", "widgets"))
    assert everywhere[1].endswith('in API group "tests.example.dev" at the cluster scope')


def test_a_role_gives_its_verbs_on_its_resources_only(widgets, bob):
    grant(widgets, rule(["get", "list"], ["widgets"]))
    widgets.create("a")
    assert bob.names() == ["a"]
    assert bob.get("a")["metadata"]["name"] == "a"
    assert message_of(lambda: bob.create("b"))[0] == 403
    assert message_of(lambda: bob.delete("a"))[0] == 403
    assert message_of(lambda: bob.core.list_namespaced_secret(bob.namespace))[0] == 403


def test_a_right_on_the_status_is_no_right_on_the_object(widgets, bob):
    grant(widgets, rule(["patch"], ["widgets/status"]))
    widgets.create("a")
    assert bob.patch_status("a", {"status": {"phase": "Running"}})["status"] == {"phase": "Running"}
    assert message_of(lambda: bob.patch("a", {"spec": {"replicas": 2}}))[0] == 403


def test_resource_names_limit_a_right_to_these_objects(widgets, bob):
    grant(widgets, rule(["get", "patch", "list"], ["widgets"], resourceNames=["mine"]))
    widgets.create("mine")
    widgets.create("other")
    assert bob.get("mine")["metadata"]["name"] == "mine"
    assert message_of(lambda: bob.get("other"))[0] == 403
    assert message_of(bob.list)[0] == 403
    assert bob.names(field_selector="metadata.name=mine") == ["mine"]


def test_a_right_to_get_is_no_right_to_watch(widgets, bob, shared_kube_api):
    grant(widgets, rule(["get"], ["widgets"]))
    widgets.create("a")
    path = f"/apis/tests.example.dev/v1/namespaces/{widgets.namespace}/widgets/a"
    assert shared_kube_api.kubectl("get", "--raw", path, user="bob").returncode == 0
    assert "cannot watch" in shared_kube_api.kubectl("get", "--raw", path + "?watch=true", user="bob").stderr


def test_a_role_in_one_namespace_says_nothing_of_another(widgets, bob):
    grant(widgets, rule(["*"], ["*"]))
    bob.create("a")
    other = Widgets(bob.core.api_client, make_namespace(widgets.core.api_client))
    assert message_of(other.list)[0] == 403


def test_a_right_ends_with_its_binding(widgets, bob):
    grant(widgets, rule(["list"], ["widgets"]))
    assert bob.names() == []
    rights = client.RbacAuthorizationV1Api(widgets.core.api_client)
    rights.delete_namespaced_role_binding("r", widgets.namespace)
    assert message_of(bob.list)[0] == 403


def test_applying_a_new_object_takes_the_right_to_create(widgets, bob, shared_kube_api):
    grant(widgets, rule(["get", "patch"], ["widgets"]))
    manifest = "{apiVersion: tests.example.dev/v1, kind: Widget, metadata: {name: a}, spec: {}}"
    place = ("-n", widgets.namespace, "apply", "--server-side", "-f", "-")
    refused = shared_kube_api.kubectl(*place, stdin=manifest, user="bob")
    assert 'User "bob" cannot create resource "widgets"' in refused.stderr
    widgets.create("a")
    assert shared_kube_api.kubectl(*place, stdin=manifest, user="bob").returncode == 0


def test_nobody_grants_more_than_they_have(widgets, bob):
    roles = {"verbs": ["create"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"]}
    grant(widgets, roles, rule(["get"], ["widgets"]))
    rights = client.RbacAuthorizationV1Api(bob.core.api_client)
    rights.create_namespaced_role(bob.namespace, {"metadata": {"name": "same"}, "rules": [rule(["get"], ["widgets"])]})
    more = {"metadata": {"name": "more"}, "rules": [rule(["get", "delete"], ["widgets"])]}
    status, message = message_of(lambda: rights.create_namespaced_role(bob.namespace, more))
    assert status == 403
    assert "is attempting to grant RBAC permissions not currently held" in message


def test_a_service_account_token_stands_for_the_account(widgets, shared_kube_api):
    widgets.core.create_namespaced_service_account(widgets.namespace, {"metadata": {"name": "agent"}})
    grant(
        widgets,
        rule(["list"], ["widgets"]),
        subject={"kind": "ServiceAccount", "name": "agent", "namespace": widgets.namespace},
    )
    made = shared_kube_api.kubectl("-n", widgets.namespace, "create", "token", "agent")
    token = made.stdout.strip()
    pool = urllib3.PoolManager(ca_certs=str(shared_kube_api.certificate))
    url = f"{shared_kube_api.url}/apis/tests.example.dev/v1/namespaces/{widgets.namespace}/widgets"
    as_agent = {"Authorization": f"Bearer {token}"}
    assert pool.request("GET", url, headers=as_agent, timeout=60).status == 200
    forged = {"Authorization": f"Bearer {token[:-2]}xx"}
    assert pool.request("GET", url, headers=forged, timeout=60).status == 401
    widgets.core.delete_namespaced_service_account("agent", widgets.namespace)
    assert pool.request("GET", url, headers=as_agent, timeout=60).status == 401


def test_kubectl_answers_whether_one_may(widgets, bob, shared_kube_api):
    grant(widgets, rule(["get"], ["widgets"]))
    asked = ("-n", widgets.namespace, "auth", "can-i")
    assert shared_kube_api.kubectl(*asked, "get", "widgets", user="bob").stdout == "yes\n"
    assert shared_kube_api.kubectl(*asked, "delete", "widgets", user="bob").stdout == "no\n"
    assert "bob" in shared_kube_api.kubectl("auth", "whoami", user="bob").stdout


def test_the_api_listens_on_loopback_only(tmp_path):
    from kubeapi import ApiSettings, StaticToken

    token = StaticToken.model_validate({"token": "x" * 16, "user": "admin"})
    for host in ("0.0.0.0", "192.168.1.1", "::", "example.com"):  # noqa: S104
        with pytest.raises(ValueError, match="listens on loopback only"):
            ApiSettings(state=tmp_path, host=host, tokens=(token,))


def test_the_kubeconfig_and_the_data_are_for_their_owner_only(kube_api):
    install_widgets(kube_api).close()
    state = kube_api.folder / "state"
    for path in (kube_api.kubeconfig, state / "objects.sqlite", state / "tls.key", state / "objects.sqlite-wal"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_only_those_who_may_act_as_somebody_else(widgets, shared_kube_api):
    grant(widgets, rule(["get"], ["widgets"]))
    asked = ("-n", widgets.namespace, "auth", "can-i", "get", "widgets")
    assert shared_kube_api.kubectl(*asked, "--as", "bob").stdout == "yes\n"
    assert shared_kube_api.kubectl(*asked, "--as", "carol").stdout == "no\n"
    refused = shared_kube_api.kubectl("get", "ns", "--as", "admin", user="bob")
    assert 'User "bob" cannot impersonate resource "users"' in refused.stderr
