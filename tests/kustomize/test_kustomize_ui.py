"""The component with the live page: what its account may see, and its container at work."""

from typing import Any

import pytest
import requests
from rendering import ROOT, settings_of

from carbonfleet.local.ports import free_port
from fixtures.audited import asked, forbidden, granted
from fixtures.kubeapi_server import KubeApi, eventually
from fixtures.rendered import Container, apply, overlay

ACCOUNT = ("carbonfleet-system", "carbonfleet-ui")


@pytest.fixture(scope="module")
def things(tmp_path_factory) -> tuple[dict[str, Any], ...]:
    """The hub with the page beside it."""
    return overlay(tmp_path_factory.mktemp("ui"), ["overlays/hub"], ("ui",))


def find(things, kind: str) -> dict[str, Any]:
    (found,) = [each for each in things if (each["kind"], each["metadata"]["name"]) == (kind, "carbonfleet-ui")]
    return dict(found)


def test_its_account_reads_three_kinds_of_ours_and_nothing_else(things):
    assert granted(things, *ACCOUNT) == {
        *((verb, "carbontrainingjobs") for verb in ("get", "list", "watch")),
        *((verb, plural) for verb in ("list", "watch") for plural in ("spokeclusters", "trainingreports")),
    }


def test_nobody_reaches_it_over_the_network_and_it_writes_nothing_on_the_hubs_volume(things):
    policy = find(things, "NetworkPolicy")["spec"]
    assert (policy["policyTypes"], policy["ingress"]) == (["Ingress"], [])
    pod = find(things, "Deployment")["spec"]["template"]["spec"]
    assert (
        policy["podSelector"]["matchLabels"].items()
        <= find(things, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    )
    (container,) = pod["containers"]
    assert "CARBONFLEET_UI_ADDRESS" not in {item["name"] for item in container["env"]}
    mounts = {mount["name"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    assert mounts == {"state": True, "tmp": False}
    (affinity,) = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (hub,) = [each for each in things if (each["kind"], each["metadata"]["name"]) == ("Deployment", "carbonfleet-hub")]
    labels = hub["spec"]["template"]["metadata"]["labels"]
    assert affinity["labelSelector"]["matchLabels"].items() <= labels.items()
    assert [each for each in hub["spec"]["template"]["spec"]["volumes"] if each["name"] == "state"] == [
        each for each in pod["volumes"] if each["name"] == "state"
    ]


def test_its_pod_is_as_restricted_as_the_hubs_and_every_setting_is_read(things):
    pod = find(things, "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {item["name"] for item in container["env"]} <= settings_of(container["args"]).keys()


def test_it_serves_what_its_account_sees_and_uses_every_right_that_it_has(things, tmp_path):
    api = KubeApi(tmp_path, free_port(), options=("--audit-log", str(tmp_path / "audit")))
    api.start()
    address = f"127.0.0.1:{free_port()}"
    beside = {"CARBONFLEET_UI_ADDRESS": address}
    try:
        apply(api, things)
        assert api.kubectl("create", "namespace", "team-a").returncode == 0
        job = api.kubectl("apply", "-f", str(ROOT / "crds" / "examples" / "minimal.yaml"))
        assert job.returncode == 0, job.stderr
        container = Container(api, things, "carbonfleet-ui", tmp_path / "pod", beside)
        child = container.child()
        child.start()
        try:
            eventually(lambda: child.is_alive and "minimal" in _text(f"http://{address}/jobs"))
            assert "The hub has not looked at it yet" in _text(f"http://{address}/jobs/team-a/minimal")
            assert _text(container.address("CARBONFLEET_LIVENESS")) == "serves\n"
            eventually(lambda: granted(things, *ACCOUNT) <= asked(tmp_path / "audit", *ACCOUNT))
            assert forbidden(tmp_path / "audit", *ACCOUNT) == []
        finally:
            child.stop()
    finally:
        api.stop()


def _text(url: str) -> str:
    try:
        return requests.get(url, timeout=30).text
    except requests.ConnectionError:
        return ""
