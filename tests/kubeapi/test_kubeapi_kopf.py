"""A real Kopf operator against the embedded API: handlers, finalizer, daemon, timer, webhooks, a restart."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from kubernetes import client
from kubernetes.client import ApiException

from fixtures.kubeapi_server import PATIENCE, eventually
from fixtures.kubeapi_widgets import Widgets, install_widgets, make_namespace

FINALIZER = "tests.example.dev/kopf"


@dataclass
class Operator:
    """A running operator and what it wrote down."""

    widgets: Widgets
    seen_file: Path
    log_file: Path
    process: subprocess.Popen

    def seen(self) -> list[str]:
        return self.seen_file.read_text().splitlines()

    def await_line(self, line: str, times: int = 1) -> None:
        eventually(lambda: self.seen().count(line) >= times)


@pytest.fixture
def run_operator(tmp_path):
    """Starts the operator on the widgets of one namespace."""
    started: list[Operator] = []

    def run(kube_api, **environment) -> Operator:
        widgets = Widgets(install_widgets(kube_api), "")
        widgets.namespace = make_namespace(widgets.core.api_client)
        widgets.place = (*widgets.place[:2], widgets.namespace, widgets.place[3])
        seen, log = tmp_path / "seen", tmp_path / "operator.log"
        seen.touch()
        environment = {**os.environ, "KUBECONFIG": str(kube_api.kubeconfig), "SEEN": str(seen), **environment}
        script = str(Path(__file__).parent / "kopf_operator.py")
        command = [sys.executable, "-m", "kopf", "run", script, "--standalone", "-n", widgets.namespace]
        with log.open("w") as stream:
            process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)
        started.append(Operator(widgets, seen, log, process))
        return started[-1]

    yield run
    for operator in started:
        operator.process.terminate()
        operator.process.wait(PATIENCE)
        operator.widgets.core.api_client.close()


def test_every_kind_of_handler_runs_once_for_its_cause(kube_api, run_operator):
    operator = run_operator(kube_api)
    widgets = operator.widgets
    widgets.create("a", {"replicas": 1})
    operator.await_line("created a")
    eventually(lambda: widgets.get("a").get("status", {}).get("phase") == "Created")
    assert widgets.get("a")["metadata"]["finalizers"] == [FINALIZER]
    widgets.patch("a", {"spec": {"replicas": 2}})
    operator.await_line("updated 1->2 a")
    widgets.delete("a")
    operator.await_line("deleted a")
    eventually(lambda: widgets.names() == [])
    assert operator.seen() == ["created a", "updated 1->2 a", "deleted a"]
    events = eventually(lambda: widgets.core.list_namespaced_event(widgets.namespace).items)
    assert "seen by the operator" in {event.message for event in events}


def test_daemons_and_timers_live_as_long_as_their_object(kube_api, run_operator):
    operator = run_operator(kube_api)
    operator.widgets.create("a", annotations={"daemon": "yes", "timer": "yes"})
    operator.await_line("daemon started a")
    operator.await_line("tick a", times=3)
    operator.widgets.delete("a")
    operator.await_line("daemon stopped a")
    eventually(lambda: operator.widgets.names() == [])


def test_the_operator_goes_on_after_the_api_crashed(kube_api, run_operator):
    operator = run_operator(kube_api)
    operator.widgets.create("before")
    operator.await_line("created before")
    kube_api.kill()
    kube_api.start()
    operator.widgets.create("after")
    operator.await_line("created after")
    operator.widgets.delete("before")
    operator.await_line("deleted before")
    assert [line for line in operator.seen() if line.startswith("created")] == ["created before", "created after"]


def test_webhooks_that_kopf_registers_deny_and_change(kube_api, run_operator):
    operator = run_operator(kube_api, WEBHOOK_CERTIFICATE=str(kube_api.certificate))
    widgets = operator.widgets
    hooks = client.AdmissionregistrationV1Api(widgets.core.api_client)
    eventually(lambda: [h for c in hooks.list_validating_webhook_configuration().items for h in c.webhooks or ()])
    eventually(lambda: [h for c in hooks.list_mutating_webhook_configuration().items for h in c.webhooks or ()])
    with pytest.raises(ApiException) as error:
        widgets.create("a", {"replicas": 13})
    assert error.value.status == 422
    assert "denied the request: 13 brings bad luck" in error.value.body
    assert widgets.names() == []
    assert widgets.create("b", {"replicas": 7})["spec"]["replicas"] == 8
