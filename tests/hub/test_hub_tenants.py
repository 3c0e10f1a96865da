"""What a tenant may do to jobs, and what of the hub's secrets anybody can find."""

import base64
import json
import logging

import pytest

from carbonfleet.api.job_status import Phase
from carbonfleet.kube import Kube, KubeError, ours, path
from fixtures.git_server import HttpGitServer
from fixtures.reviewed_hub import ReviewedHub
from kubeapi import write_kubeconfig

TOKEN = "TOK-of-the-fleet-repository"
AUTHOR = {"apiGroups": ["carbonfleet.dev"], "resources": ["carbontrainingjobs"], "verbs": ["*"]}


def tenant(hub: ReviewedHub) -> Kube:
    """The API as somebody who may write jobs of one namespace, and nothing else."""
    group, version = "rbac.authorization.k8s.io", "apis/rbac.authorization.k8s.io/v1"
    space, kube = hub.stack.namespace, hub.stack.kube
    kube.create(path("api/v1", "serviceaccounts", space), {"metadata": {"name": "tenant"}})
    kube.create(path(version, "roles", space), {"metadata": {"name": "author"}, "rules": [AUTHOR]})
    binding = {
        "metadata": {"name": "author"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "author"},
        "subjects": [{"kind": "ServiceAccount", "name": "tenant", "namespace": space}],
    }
    kube.create(path(version, "rolebindings", space), binding)
    asked = path("api/v1", "serviceaccounts", space, "tenant", "token")
    token = kube.create(asked, {"spec": {"expirationSeconds": 3600}})["status"]["token"]
    config = hub.stack.root / "tenant.kubeconfig"
    write_kubeconfig(config, hub.stack.api.url, token, certificate=hub.stack.api.certificate)
    return Kube.connect(config)


def status_of(error: pytest.ExceptionInfo[KubeError]) -> int:
    return error.value.status


def test_who_may_write_jobs_can_forge_no_status_and_no_residency(hub):
    hub.stack.submit("mine", behaviour="hold")
    hub.step(times=3)
    kube, job = tenant(hub), ours("carbontrainingjobs", hub.stack.namespace, "mine")
    with pytest.raises(KubeError) as forged:
        kube.patch(f"{job}/status", {"status": {"phase": "Succeeded"}})
    kube.patch(job, {"status": {"phase": "Succeeded"}})
    with pytest.raises(KubeError) as elsewhere:
        kube.list(ours("carbontrainingjobs", "default"))
    with pytest.raises(KubeError) as relabelled:
        kube.patch(job, {"spec": {"residency": {"dataClass": "internal"}}})
    assert (status_of(forged), status_of(elsewhere), status_of(relabelled)) == (403, 403, 422)
    assert hub.phase("mine") is Phase.RUNNING
    kube.patch(job, {"metadata": {"finalizers": None}})
    hub.step(times=2, minutes=1)
    assert (hub.phase("mine"), hub.stack.spokes.violations) == (Phase.RUNNING, [])


@pytest.mark.parametrize("label", ["=cmd", "<script>", "a" * 64, "a\nb"])
def test_a_label_that_is_none_is_refused(hub, label):
    with pytest.raises(KubeError) as refused:
        hub.stack.kube.patch(
            ours("carbontrainingjobs", hub.stack.namespace, "none"),
            {"metadata": {"labels": {"carbonfleet.dev/sweep": label}}},
        )
    assert status_of(refused) in {404, 422}


def test_an_annotation_of_any_length_keeps_no_job_from_running(hub):
    hub.stack.submit("long")
    hub.stack.annotate("long", "carbonfleet.dev/replace", "y" * 250_000)
    hub.step(times=4, minutes=1)
    assert hub.phase("long") is Phase.SUCCEEDED


def test_no_token_is_found_in_logs_objects_commits_or_files(hub, caplog):
    caplog.set_level(logging.DEBUG)
    http = HttpGitServer(hub.stack.root / "http", hub.stack.root / "seed", token=TOKEN)
    http.start()
    hub.stack.git.stop()
    hub.stack.git, hub.stack.spokes.repository = http, http.repository
    hub.git_token = hub.stack.root / "git-token"
    hub.git_token.write_text(f"{TOKEN}\n")
    hub.restart()
    hub.stack.submit("a")
    hub.step(times=4, minutes=1)
    assert hub.phase("a") is Phase.SUCCEEDED
    http.token = "another"
    hub.stack.submit("b")
    hub.step(times=2, minutes=1)
    assert hub.reason("b", "Committed") == "AccessDenied"
    told = [json.dumps([hub.stack.body(name), hub.stack.events(name)]) for name in "ab"]
    told += [caplog.text, http.git("log", "--patch", "main"), http.git("config", "--list")]
    kept = [file for file in hub.connections.settings.state.rglob("*") if file.is_file()]
    told += [file.read_bytes().decode("utf-8", "replace") for file in kept]
    encoded = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
    secret = {TOKEN, encoded, hub.stack.api.token, hub.forge.token}
    assert [(text[:80], word) for text in told for word in secret if word in text] == []
