"""What the API asks the hub before it creates a job: a real API, the hub's process, and kubectl."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import yaml

from carbonfleet.hub.admission import HANDLER
from carbonfleet.kube import KubeError
from carbonfleet.local.ports import free_port
from fixtures.hub_process import HubStack, clock_of, job_body, open_hub_stack
from fixtures.kubeapi_server import eventually
from kubeapi.certificates import ensure_certificate

CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


@dataclass
class Guarded:
    """A stack whose API asks the hub."""

    stack: HubStack

    def create(self, name: str, data_class: str, **residency: object) -> str:
        """What kubectl says when a person creates a job."""
        body = job_body(name, self.stack.namespace)
        body["spec"]["residency"] = {"dataClass": data_class, **residency}
        done = self.stack.api.kubectl("create", "-f", "-", stdin=yaml.safe_dump(body))
        return str(done.stdout + done.stderr)


@pytest.fixture(scope="module")
def guarded(hub_api, tmp_path_factory) -> Iterator[Guarded]:
    root = tmp_path_factory.mktemp("guarded")
    stack = open_hub_stack(root, hub_api, clock_of(hub_api))
    (root / "tls").mkdir()
    certificate = ensure_certificate(root / "tls")
    port = free_port()
    stack.add_hub("hub", "--admission-address", f"127.0.0.1:{port}", "--admission-tls", str(root / "tls"))
    stack.start_hub()
    webhook = {
        "name": "residency.carbonfleet.dev",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "clientConfig": {
            "url": f"https://127.0.0.1:{port}/{HANDLER}",
            "caBundle": base64.b64encode(certificate.read_bytes()).decode(),
        },
        "rules": [
            {
                "apiGroups": ["carbonfleet.dev"],
                "apiVersions": ["v1alpha1"],
                "operations": ["CREATE"],
                "resources": ["carbontrainingjobs"],
            }
        ],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": stack.namespace}},
    }
    name = f"residency-{stack.namespace}"
    stack.kube.create(CONFIGURATION, {"metadata": {"name": name}, "webhooks": [webhook]})
    try:
        found = Guarded(stack)
        eventually(lambda: "created" in found.create("first", "public"))
        yield found
    finally:
        stack.kube.delete(f"{CONFIGURATION}/{name}")
        stack.close()
        stack.git.stop()


def test_a_job_that_some_spoke_may_hold_is_created(guarded):
    assert "mine created" in guarded.create("mine", "personal")


def test_a_job_that_no_spoke_may_hold_is_refused_with_the_reason_for_each(guarded):
    said = guarded.create("nowhere", "personal", allowedJurisdictions=["US"])
    assert "no spoke may hold data of class personal" in said
    assert "no-osl-1: The job allows US only" in said
    assert "us-oh-1: Policy eu-only allows EU, EEA" in said
    assert guarded.stack.body("nowhere") is None


def test_a_class_that_no_policy_knows_is_refused(guarded):
    assert "no policy" in guarded.create("unknown", "top-secret").lower()
    assert guarded.stack.body("unknown") is None


def test_a_broken_policy_lets_nothing_new_in_and_the_jobs_that_are_there_go_on(guarded):
    assert "there created" in guarded.create("there", "public")
    guarded.stack.edit("Break it", "policies/default.yaml", "anywhere: true", "anywhere: perhaps")
    eventually(lambda: "denied" in guarded.create("after", "public"), every=0.2)
    guarded.stack.annotate("there", "example.org/note", "still mine")
    guarded.stack.edit("Mend it", "policies/default.yaml", "anywhere: perhaps", "anywhere: true")
    guarded.stack.annotate("there", "example.org/note", "mended")  # or else the hub looks after half a minute
    eventually(lambda: "created" in guarded.create("mended", "public"), every=0.2)


def test_without_a_hub_nothing_is_let_in(guarded):
    guarded.stack.hubs[0].kill()
    assert "failed calling webhook" in guarded.create("unguarded", "public")
    with pytest.raises(KubeError):
        guarded.stack.submit("unguarded")
    guarded.stack.hubs[0].start()
    eventually(lambda: "created" in guarded.create("guarded", "public"), every=0.2)
