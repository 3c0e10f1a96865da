"""Who leads: a Lease on a real API, refused, broken, taken, lost."""

import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from carbonfleet.hub.election import NAME, Election, LeaseReason
from carbonfleet.kube import Kube, path
from fixtures.http_server import HttpServer, QuietHandler
from fixtures.kubeapi_server import KubeApi, eventually
from fixtures.rendered import kubeconfig_of
from fixtures.tcp_proxy import TcpProxy
from kubeapi import write_kubeconfig

SHORT = timedelta(seconds=3)
LEASES = "apis/coordination.k8s.io/v1"
RBAC = "apis/rbac.authorization.k8s.io/v1"


@pytest.fixture
def admin(hub_api: KubeApi) -> Kube:
    """The API, as its administrator."""
    return Kube.connect(hub_api.kubeconfig)


@pytest.fixture
def namespace(admin: Kube, request: pytest.FixtureRequest) -> str:
    """A namespace of this test's own."""
    made = admin.create(path("api/v1", "namespaces"), {"metadata": {"generateName": "election-"}})
    return str(made["metadata"]["name"])


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    """Ends whatever waits, at the latest with the test."""
    made = threading.Event()
    yield made
    made.set()


def waits(election: Election, stop: threading.Event) -> threading.Thread:
    """A hub that waits until it leads, in a thread of its own."""
    thread = threading.Thread(target=election.wait, args=(stop, lambda: None), daemon=True)
    thread.start()
    return thread


def test_a_hub_leads_and_the_next_stands_by_in_health_until_the_first_gives_up(admin, namespace, stop):
    first, second = (Election(admin, namespace, name, SHORT) for name in ("a", "b"))
    assert first.wait(stop, lambda: None)
    over = threading.Event()
    keeper = threading.Thread(target=first.keep, args=(over,), daemon=True)
    keeper.start()
    waiting = waits(second, stop)
    eventually(lambda: second.state.reason is LeaseReason.STANDBY)
    assert (second.state.message, second.state.is_healthy, second.leads) == ("a leads", True, False)
    assert (first.state.reason, first.state.is_healthy, first.leads) == (LeaseReason.LEADING, True, True)
    over.set()
    keeper.join()
    first.release()
    waiting.join()
    assert (first.leads, second.leads) == (False, True)


def test_a_refusal_is_unhealthy_and_logged_once_until_the_right_is_there(
    hub_api, admin, namespace, stop, tmp_path, caplog
):
    caplog.set_level(logging.INFO, "carbonfleet.hub.election")
    admin.create(path("api/v1", "serviceaccounts", namespace), {"metadata": {"name": "hub"}})
    account = Kube.connect(kubeconfig_of(hub_api, namespace, "hub", tmp_path / "kubeconfig"))
    tries: list[int] = []
    election = Election(account, namespace, "a", SHORT)
    waiting = threading.Thread(target=election.wait, args=(stop, lambda: tries.append(1)), daemon=True)
    waiting.start()
    eventually(lambda: len(tries) > 4)
    assert (election.state.reason, election.state.is_healthy) == (LeaseReason.REFUSED, False)
    assert f"the API refuses the Lease {NAME} in {namespace}" in election.state.message
    assert "403 Forbidden" in election.state.message
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}
    admin.create(path(RBAC, "roles", namespace), {"metadata": {"name": "hub"}, "rules": [rule]})
    binding = {
        "metadata": {"name": "hub"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "hub"},
        "subjects": [{"kind": "ServiceAccount", "name": "hub", "namespace": namespace}],
    }
    admin.create(path(RBAC, "rolebindings", namespace), binding)
    waiting.join()
    assert (election.leads, election.state.reason) == (True, LeaseReason.LEADING)
    assert [record.message for record in caplog.records][1:] == ["Leading: as a"]


def test_a_lease_without_a_spec_is_free(admin, namespace, stop):
    admin.create(path(LEASES, "leases", namespace), {"metadata": {"name": NAME}})
    election = Election(admin, namespace, "a", SHORT)
    assert election.wait(stop, lambda: None)
    assert admin.get(path(LEASES, "leases", namespace, NAME))["spec"]["holderIdentity"] == "a"


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 405, 409, 410, 422, 429, 500, 503, 504])
@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"no JSON", b'{"kind": "Status", "metadata": {}, "message": "no"}']
)
def test_whatever_the_api_answers_beside_a_lease_is_unhealthy_and_named(status, body, namespace, tmp_path):
    class Handler(QuietHandler):
        def respond(self) -> None:
            self.body()
            self.answer(404 if status == 409 and self.command == "GET" else status, body)

    with HttpServer(Handler) as server:
        config = tmp_path / "kubeconfig"
        write_kubeconfig(config, server.url, "token")
        election = Election(Kube.connect(config), namespace, "a", SHORT)
        stop = threading.Event()
        assert not election.wait(stop, stop.set)
    assert (election.leads, election.state.is_healthy) == (False, False)
    assert NAME in election.state.message


@pytest.mark.parametrize("hangs", ["silent", "refused"])
def test_a_holder_that_the_api_leaves_alone_has_stopped_before_the_next_leads(
    hangs, hub_api, admin, namespace, stop, tmp_path
):
    proxy = TcpProxy(hub_api.port)
    proxy.start()
    config = tmp_path / "kubeconfig"
    write_kubeconfig(config, f"https://127.0.0.1:{proxy.port}", hub_api.token, certificate=hub_api.certificate)
    first, second = Election(Kube.connect(config), namespace, "a", SHORT), Election(admin, namespace, "b", SHORT)
    told: list[str] = []
    assert first.wait(stop, lambda: None)

    def keep() -> None:
        first.keep(threading.Event())
        told.append("a has stopped")

    def wait() -> None:
        second.wait(stop, lambda: None)
        told.append("b leads")

    threads = [threading.Thread(target=act, daemon=True) for act in (keep, wait)]
    for thread in threads:
        thread.start()
    eventually(lambda: second.state.reason is LeaseReason.STANDBY)
    if hangs == "silent":
        proxy.is_silent = True
    else:
        proxy.close()
    for thread in threads:
        thread.join()
    proxy.close()
    assert told == ["a has stopped", "b leads"]
    assert not first.leads
    assert (first.state.reason, first.state.is_healthy) == (LeaseReason.UNREACHABLE, False)


def test_a_hub_without_an_api_is_unhealthy(namespace, tmp_path: Path):
    config = tmp_path / "kubeconfig"
    write_kubeconfig(config, "http://127.0.0.1:9", "token")
    election = Election(Kube.connect(config), namespace, "a", SHORT)
    stop = threading.Event()
    assert not election.wait(stop, stop.set)
    assert (election.state.reason, election.state.is_healthy) == (LeaseReason.UNREACHABLE, False)


@pytest.fixture
def other_namespace(admin: Kube) -> str:
    """Where another hub of the cluster is installed."""
    made = admin.create(path("api/v1", "namespaces"), {"metadata": {"generateName": "election-"}})
    return str(made["metadata"]["name"])


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("team-a,team-b", "team-b,team-c", "jobs of team-b"),
        ("team-d", "*", "jobs of team-d"),
        ("*", "*", "all namespaces"),
    ],
)
def test_the_second_hub_of_a_namespace_is_refused_until_the_first_gives_up(
    admin, namespace, other_namespace, stop, first, second, shared
):
    ours, theirs = Election(admin, namespace, "a", SHORT, first), Election(admin, other_namespace, "b", SHORT, second)
    assert ours.wait(stop, lambda: None)
    over = threading.Event()
    keeper = threading.Thread(target=ours.keep, args=(over,), daemon=True)
    keeper.start()
    waiting = waits(theirs, stop)
    eventually(lambda: theirs.state.reason is LeaseReason.TAKEN)
    assert f"the hub a, whose Lease lies in {namespace}, decides on {shared}: give each hub" in theirs.state.message
    assert (theirs.state.is_healthy, theirs.leads, ours.leads) == (False, False, True)
    over.set()
    keeper.join()
    ours.release()
    waiting.join()
    assert theirs.leads
    theirs.release()


def test_hubs_of_different_namespaces_lead_beside_each_other(admin, namespace, other_namespace, stop):
    hubs = [Election(admin, namespace, "a", SHORT, "team-e"), Election(admin, other_namespace, "b", SHORT, "team-f")]
    assert [each.wait(stop, lambda: None) for each in hubs] == [True, True]
    for each in hubs:
        each.release()


def test_of_two_hubs_that_begin_at_once_never_both_lead(admin, namespace, other_namespace, stop):
    hubs = [Election(admin, where, where, SHORT, "team-g") for where in (namespace, other_namespace)]
    for _ in range(5):
        waiting = [waits(each, stop) for each in hubs]
        eventually(lambda: any(each.leads for each in hubs), every=0.001)
        assert sum(each.leads for each in hubs) == 1
        (leader,) = [each for each in hubs if each.leads]
        eventually(lambda: any(each.state.reason is LeaseReason.TAKEN for each in hubs))
        leader.release()
        for each in waiting:
            each.join()
        for each in hubs:
            each.release()


def test_a_hub_whose_account_may_not_look_for_others_leads_and_says_so(
    hub_api, admin, namespace, stop, tmp_path, caplog
):
    admin.create(path("api/v1", "serviceaccounts", namespace), {"metadata": {"name": "lone"}})
    config = kubeconfig_of(hub_api, namespace, "lone", tmp_path / "kubeconfig")
    rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}
    admin.create(path(RBAC, "roles", namespace), {"metadata": {"name": "lone"}, "rules": [rule]})
    subject = {"kind": "ServiceAccount", "name": "lone", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "lone"}
    admin.create(
        path(RBAC, "rolebindings", namespace), {"metadata": {"name": "lone"}, "roleRef": role, "subjects": [subject]}
    )
    election = Election(Kube.connect(config), namespace, "a", SHORT, "*")
    assert election.wait(stop, lambda: None)
    assert caplog.text.count("whether another hub decides on the same namespaces can't be told") == 1
    election.release()
