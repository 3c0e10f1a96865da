"""The commands of OPERATING.md do what it says of them."""

import os
import re
import sqlite3
import subprocess
import sys

import pytest
import yaml

from carbonfleet.hub.observe import FINALIZER
from carbonfleet.kube import Kube, ours, path
from carbonfleet.ledger.store import Ledger
from fixtures.hub_process import install_crds, job_body
from fixtures.rendered import KUBECTL, KUSTOMIZE, kustomize, overlay

TEXT = (KUSTOMIZE / "OPERATING.md").read_text()
NAMESPACES = ("team-a", "team-b")


def commands_under(title):
    """The lines of the console blocks of a section."""
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return [block.strip().splitlines() for block in re.findall(r"```console\n(.*?)```", section, re.DOTALL)]


def shell(api, command):
    environment = {**os.environ, "KUBECONFIG": str(api.kubeconfig), "PATH": f"{KUBECTL.parent}:{os.environ['PATH']}"}
    return subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def api(make_kube_api):
    """An API with jobs that a hub, which is gone, has put its finalizer on."""
    made = make_kube_api()
    install_crds(made)
    kube = Kube.connect(made.kubeconfig)
    for namespace in NAMESPACES:
        kube.create(path("api/v1", "namespaces"), {"kind": "Namespace", "metadata": {"name": namespace}})
        for name in ("one", "two"):
            body = job_body(name, namespace)
            body["metadata"]["finalizers"] = [FINALIZER]
            kube.create(ours("carbontrainingjobs", namespace), body)
    return made


def test_jobs_that_a_lost_hub_holds_are_let_go_by_what_is_written(api):
    confirm, without_hub = commands_under("Leave")
    kube = Kube.connect(api.kubeconfig)
    assert shell(api, confirm[0]).returncode == 0
    jobs = kube.list(ours("carbontrainingjobs"))[0]
    assert {job["metadata"]["annotations"]["carbonfleet.dev/confirm-deletion"] for job in jobs} == {"yes"}
    for command in without_hub:
        done = shell(api, command)
        assert done.returncode == 0, done.stderr
    assert kube.list(ours("carbontrainingjobs"))[0] == []


def test_the_copy_of_a_ledger_in_use_is_whole(tmp_path):
    file = tmp_path / "ledger.sqlite"
    ledger = Ledger.at(file)
    ((copy, _, verify),) = commands_under("Back up")
    code = re.search(r'python -c "(.+)"$', copy)[1]
    code = code.replace("/tmp/ledger.sqlite", "COPY").replace("/var/lib/carbonfleet/ledger.sqlite", str(file))
    code = code.replace("COPY", str(tmp_path / "copy-ledger.sqlite"))
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    tables = "select count(*) from sqlite_master"
    counts = [sqlite3.connect(each).execute(tables).fetchone() for each in (file, tmp_path / "copy-ledger.sqlite")]
    ledger.close()
    assert counts[0] == counts[1] != (0,)
    carbonfleet, *words = verify.replace("ledger.sqlite", str(tmp_path / "copy-ledger.sqlite")).split()
    done = subprocess.run([KUBECTL.parent / carbonfleet, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_two_hubs_installed_as_written_share_nothing_but_what_is_the_clusters(tmp_path):
    [snippet] = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    usual = kustomize(KUSTOMIZE / "overlays" / "hub")
    second = overlay(tmp_path / "second", ["overlays/hub"], **yaml.safe_load(snippet))
    shared = {_address(each) for each in usual} & {_address(each) for each in second}
    assert {kind for kind, _, _ in shared} == {"CustomResourceDefinition", "ClusterRole"}
    [binding] = [each for each in second if each["kind"] == "ClusterRoleBinding"]
    [account] = [each for each in second if each["kind"] == "ServiceAccount"]
    assert [each["namespace"] for each in binding["subjects"]] == [account["metadata"]["namespace"]]
    assert account["metadata"]["namespace"] == "carbonfleet-team-b"
    [hub] = [each for each in second if each["kind"] == "Deployment"]
    [container] = hub["spec"]["template"]["spec"]["containers"]
    lease_in = next(each for each in container["env"] if each["name"] == "CARBONFLEET_NAMESPACE")
    assert lease_in["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.namespace"


def _address(thing):
    return thing["kind"], thing["metadata"].get("namespace", ""), thing["metadata"]["name"]
