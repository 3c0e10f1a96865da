"""The hub as its overlay renders it: a real process with the rendered account, on an API that evaluates RBAC."""

import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from carbonfleet.api.job_status import Phase
from carbonfleet.clock import VARIABLE, Clock
from carbonfleet.hub import election
from carbonfleet.kube import path
from carbonfleet.ledger.store import Ledger
from fixtures.hub_process import SPEED, START, HubStack, begin, clock_of, open_hub_stack
from fixtures.kubeapi_server import KubeApi, eventually
from fixtures.rendered import KUSTOMIZE, Container, apply, create_secrets, hub_overlay

NAMESPACE = "carbonfleet-system"


@pytest.fixture
def api(make_kube_api) -> KubeApi:
    """An empty API on the tests' clock."""
    return make_kube_api(environment={VARIABLE: Clock.starting_at(START, SPEED).encode()})


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, Path]:
    """Files for the words that the overlay's commands leave to the reader."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=60)
    (tmp_path / "token").write_text("a-token-for-tests")
    return {"TOKEN_FILE": tmp_path / "token", "SSH_PRIVATE_KEY": key}


@pytest.fixture
def stack(api: KubeApi, tmp_path: Path) -> Iterator[HubStack]:
    """A Git server and simulated spokes; no hub."""
    made = open_hub_stack(tmp_path / "stack", api, clock_of(api))
    yield made
    made.close()
    made.git.stop()


@pytest.fixture
def hub(stack: HubStack, api: KubeApi, secrets: dict[str, Path], tmp_path: Path) -> Container:
    """The overlay, edited and applied as it says itself, and its container, which is not started."""
    objects = hub_overlay(
        tmp_path / "overlay",
        CARBONFLEET_FLEET_URL=stack.git.url,
        CARBONFLEET_LEASE_SECONDS="30",  # a machine may be busy
    )
    create_secrets(api, (KUSTOMIZE / "overlays/hub/kustomization.yaml").read_text(), secrets)
    apply(api, objects)
    beside = {VARIABLE: stack.clock.encode(), "CARBONFLEET_SIGNALS": str(stack.signals)}
    made = Container(api, objects, "carbonfleet-hub", tmp_path / "pod", beside)
    stack.hubs.append(made.child())
    return made


def healthz(hub: Container) -> tuple[int, str]:
    """What the kubelet is told; (0, "") before the hub listens."""
    try:
        with urllib.request.urlopen(hub.address("CARBONFLEET_LIVENESS"), timeout=60) as answer:  # noqa: S310 - loopback
            return answer.status, answer.read().decode().strip()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode().strip()
    except urllib.error.URLError:
        return 0, ""


def test_a_hub_with_the_rendered_account_takes_the_lease_and_brings_a_job_to_its_end(stack, hub):
    begin(stack)
    stack.submit("rendered")
    stack.wait("rendered", Phase.SUCCEEDED)
    eventually(lambda: stack.changes("rendered") == ["place 1", "remove 1"])
    ledger = Ledger.at(Path(hub.address("CARBONFLEET_STATE")) / "ledger.sqlite")
    stack.assert_run_once_in(ledger, "rendered")
    ledger.close()
    assert "BEGIN SSH SIGNATURE" in stack.git.git("cat-file", "commit", "main")
    lease = stack.kube.get(path("apis/coordination.k8s.io/v1", "leases", NAMESPACE, election.NAME))
    assert healthz(hub) == (200, f"Leading: as {lease['spec']['holderIdentity']}")
    assert "Forbidden" not in hub.log


def test_a_hub_that_is_refused_the_lease_says_so_and_leads_once_it_is_granted(stack, hub):
    """Its other role is of a release that knew no schedules."""
    role_of_hub = "/apis/rbac.authorization.k8s.io/v1/clusterroles/carbonfleet-hub"
    former = stack.kube.get(role_of_hub)
    former["rules"] = [rule for rule in former["rules"] if rule["resources"] != ["carbontrainingschedules"]]
    stack.kube.replace(role_of_hub, former)
    rights = path("apis/rbac.authorization.k8s.io/v1", "roles", NAMESPACE, "carbonfleet-hub-lease")
    role = stack.kube.get(rights)
    granted = role | {"metadata": {"name": role["metadata"]["name"]}}
    stack.kube.delete(rights)
    stack.start_hub()
    eventually(lambda: healthz(hub)[0] == 503)
    status, reason = healthz(hub)
    assert (status, reason.partition(":")[0]) == (503, "LeaseRefused")
    assert f"the API refuses the Lease {election.NAME} in {NAMESPACE}" in reason
    assert "give the hub's account the Role carbonfleet-hub-lease" in reason
    stack.kube.create(path("apis/rbac.authorization.k8s.io/v1", "roles", NAMESPACE), granted)
    eventually(lambda: healthz(hub)[1].startswith("Leading: "))
    assert hub.log.count("LeaseRefused") == 1
    eventually(lambda: "no jobs are made by schedule until this release's manifests are applied" in hub.log)
    stack.submit("goes-on")
    stack.wait("goes-on", Phase.BLOCKED)  # no spoke runs here
