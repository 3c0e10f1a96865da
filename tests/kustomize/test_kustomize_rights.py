"""The rendered roles at work: an API that evaluates RBAC, and requests as the hub, a spoke and a person."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendering import ROOT, render

from carbonfleet.spoke.join import hub_rights

sys.path.insert(0, str(Path(__file__).parents[1]))

from carbonfleet.local.ports import free_port
from fixtures.kubeapi_server import KubeApi

USERS = {
    "hub": ("hub-token-for-tests-0001", "system:serviceaccount:carbonfleet-system:carbonfleet-hub"),
    "spoke": ("spoke-token-for-tests-01", "system:serviceaccount:spoke-no-osl-1:agent"),
}
SERVED = {"Namespace", "CustomResourceDefinition", "ServiceAccount", "Role", "ClusterRole"}
SERVED |= {"RoleBinding", "ClusterRoleBinding"}


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """A hub's API with the rights that the overlay and `spoke join` grant."""
    users = {account: (token, "") for token, account in USERS.values()}
    server = KubeApi(tmp_path_factory.mktemp("rights"), free_port(), users=users)
    server.start()
    try:
        wanted = [thing for thing in render("hub") if thing["kind"] in SERVED]
        rights = [*wanted, *yaml.safe_load_all(hub_rights("no-osl-1"))]
        done = server.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(rights))
        assert done.returncode == 0, done.stderr
        waited = server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=170s")
        assert waited.returncode == 0, waited.stderr
        for namespace in ("team-a", "spoke-other"):
            assert server.kubectl("create", "namespace", namespace).returncode == 0
        for example in ("minimal", "nightly"):
            done = server.kubectl("apply", "-f", str(ROOT / "crds" / "examples" / f"{example}.yaml"))
            assert done.returncode == 0, done.stderr
        for name in ("no-osl-1", "other"):
            assert server.kubectl("apply", "-f", "-", stdin=spoke(name)).returncode == 0
        yield server
    finally:
        server.stop()


def spoke(name: str) -> str:
    pools = [{"name": "a100", "gpuType": "A100", "gpus": 4, "memoryGib": 80}]
    facts = {"name": name, "region": "norwayeast", "zone": "NO-NO1", "jurisdictions": ["EEA"], "pools": pools}
    head = {"apiVersion": "carbonfleet.dev/v1alpha1", "kind": "SpokeCluster", "metadata": {"name": name}}
    return json.dumps(head | {"spec": facts})


def report(namespace: str) -> str:
    spec = {
        "spoke": "no-osl-1",
        "job": {"namespace": "team-a", "name": "minimal", "uid": "1"},
        "placementId": "abcdefghijklmnop",
        "attempt": 1,
        "pool": "a100",
        "gpus": 1,
        "phase": "Running",
        "observedAt": "2026-01-01T00:00:00Z",
    }
    head = {"apiVersion": "carbonfleet.dev/v1alpha1", "kind": "TrainingReport"}
    return json.dumps(head | {"metadata": {"name": "minimal-abcd-1", "namespace": namespace}, "spec": spec})


def ask(api, user: str, *arguments: str, stdin: str | None = None) -> Any:
    # An account's name holds colons, which separate files in $KUBECONFIG.
    config = api.kubeconfig_for(USERS[user][1]).rename(api.folder / f"kubeconfig-of-{user}")
    return api.kubectl("--kubeconfig", str(config), *arguments, stdin=stdin)


STATUS = ("--subresource=status", "--type=merge", "-p")


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "ctj", "-A"),
        ("get", "trep", "-A"),
        ("patch", "ctj", "minimal", "-n", "team-a", *STATUS, '{"status": {"phase": "Waiting"}}'),
        ("patch", "ctj", "minimal", "-n", "team-a", "--type=merge", "-p", '{"metadata": {"finalizers": []}}'),
        ("get", "cts", "-A"),
        ("patch", "cts", "nightly", "-n", "team-a", *STATUS, '{"status": {"missed": 1}}'),
        ("delete", "ctj", "minimal", "-n", "team-a", "--dry-run=server"),
        ("patch", "spoke", "other", "--type=merge", "-p", '{"spec": {"maintenance": true}}'),
        ("patch", "spoke", "other", *STATUS, '{"status": {"conditions": []}}'),
    ],
    ids=" ".join,
)
def test_the_hub_may_do_its_work(api, arguments):
    done = ask(api, "hub", *arguments)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "secrets", "-A"),
        ("get", "configmaps", "-n", "team-a"),
        ("delete", "cts", "nightly", "-n", "team-a"),
        ("patch", "cts", "nightly", "-n", "team-a", "--type=merge", "-p", '{"spec": {"suspend": true}}'),
        ("create", "namespace", "another"),
    ],
    ids=" ".join,
)
def test_the_hub_may_do_no_more(api, arguments):
    done = ask(api, "hub", *arguments)
    assert done.returncode == 1
    assert "Forbidden" in done.stderr


def test_the_hub_may_not_write_a_report_in_a_spokes_name(api):
    done = ask(api, "hub", "create", "-f", "-", stdin=report("spoke-no-osl-1"))
    assert "Forbidden" in done.stderr


def test_a_spoke_reports_in_its_own_namespace_and_in_no_other(api):
    assert ask(api, "spoke", "create", "-f", "-", stdin=report("spoke-no-osl-1")).returncode == 0
    done = ask(api, "spoke", "create", "-f", "-", stdin=report("spoke-other"))
    assert "Forbidden" in done.stderr


def test_a_spoke_writes_its_own_status_and_no_others(api):
    change = (*STATUS, '{"status": {"syncedCommit": "0123"}}')
    assert ask(api, "spoke", "patch", "spoke", "no-osl-1", *change).returncode == 0
    assert "Forbidden" in ask(api, "spoke", "patch", "spoke", "other", *change).stderr


def test_a_spoke_reads_no_jobs(api):
    assert "Forbidden" in ask(api, "spoke", "get", "ctj", "-A").stderr


def test_a_spoke_writes_so_many_reports_and_no_more(api):
    [quota] = [part for part in yaml.safe_load_all(hub_rights("no-osl-1")) if part["kind"] == "ResourceQuota"]
    assert quota["spec"]["hard"] == {"count/trainingreports.carbonfleet.dev": "500"}
    quota["spec"]["hard"]["count/trainingreports.carbonfleet.dev"] = "0"
    assert api.kubectl("apply", "-f", "-", stdin=json.dumps(quota)).returncode == 0
    done = ask(api, "spoke", "create", "-f", "-", stdin=report("spoke-no-osl-1").replace("abcd-1", "abcd-2"))
    assert "exceeded quota: reports" in done.stderr
    assert "Forbidden" in ask(api, "spoke", "delete", "quota", "reports", "-n", "spoke-no-osl-1").stderr
