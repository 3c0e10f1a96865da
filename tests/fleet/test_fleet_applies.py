"""A cluster's folder, checked out alone, applies: the real kubectl, with KubeRay's own definitions."""

import json
import os
from pathlib import Path

import pytest

from carbonfleet.fleet import Repository
from fixtures.fleet_values import CLOCK, job_spec, place, quick_settings, window_on
from fixtures.git_server import git
from fixtures.kubeapi_server import KubeApi, eventually

CLUSTER = "no-osl-1"
SHAPES = {
    "small": {"window": window_on(CLUSTER, 1)},
    "two-nodes": {"window": window_on(CLUSTER, 12)},
    "large": {"window": window_on(CLUSTER, 64)},
    "a" * 63: {"attempt": 20},
    "9-begins-with-a-digit": {"namespace": "lab"},
    "said": {"message": 'it said: "$(reboot)" {{ .Values }} &a *b \u2028 \t'},
}


@pytest.fixture
def api(make_kube_api) -> KubeApi:
    """An API with the namespaces that a spoke's admin makes, and KubeRay's definitions."""
    folder = os.environ.get("CARBONFLEET_CONFORMANCE_DIR")
    if not folder:
        pytest.skip("set CARBONFLEET_CONFORMANCE_DIR to the folder of published CRDs to apply placements with them")
    made: KubeApi = make_kube_api()
    done = made.kubectl("apply", "--server-side", "-f", str(Path(folder) / "kuberay/ray.io_rayjobs.yaml"))
    assert done.returncode == 0, done.stderr
    for namespace in ("carbonfleet-fleet", "ml", "lab"):
        assert made.kubectl("create", "namespace", namespace).returncode == 0
    eventually(lambda: made.kubectl("get", "rayjobs", "-A").returncode == 0)
    return made


@pytest.fixture
def folder(git_server, tmp_path) -> Path:
    """What a spoke sees: a sparse checkout of its own folder and nothing else."""
    repository = Repository(quick_settings(git_server.url, tmp_path / "hub"), CLOCK)
    intents = [place(name, CLUSTER, job_spec(), **shape) for name, shape in SHAPES.items()]
    repository.publish([*intents, place("elsewhere", "us-oh-1")])
    git(tmp_path, "clone", "--quiet", "--no-checkout", git_server.url, "spoke")
    spoke = tmp_path / "spoke"
    git(spoke, "sparse-checkout", "set", "--no-cone", f"/clusters/{CLUSTER}/")
    git(spoke, "checkout", "--quiet", "main")
    assert sorted(path.name for path in spoke.iterdir()) == [".git", "clusters"]
    return spoke / "clusters" / CLUSTER


def test_a_folder_checked_out_alone_applies_as_it_is(api, folder):
    done = api.kubectl("apply", "--recursive", "--validate=strict", "-f", str(folder))
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    found = applied(api)
    kinds = [kind for kind, *_ in found]
    assert (kinds.count("RayJob"), kinds.count("ConfigMap")) == (len(SHAPES), len(SHAPES) + 1)
    again = api.kubectl("apply", "--recursive", "-f", str(folder))
    assert (again.returncode, applied(api)) == (0, found)


def applied(api: KubeApi) -> list[tuple[str, str, str]]:
    """Kind, name and version of what stands on the cluster."""
    items = json.loads(api.kubectl("get", "rayjobs,configmaps", "-A", "-o", "json").stdout)["items"]
    found = [(item["kind"], item["metadata"]["name"], item["metadata"]["resourceVersion"]) for item in items]
    return sorted(one for one in found if one[1] != "kube-root-ca.crt")


def test_a_field_that_kuberay_does_not_know_is_refused(api, folder):
    [file] = folder.glob("jobs/ml/small.yaml")
    file.write_text(file.read_text().replace("  backoffLimit: 3\n", "  backoffLimits: 3\n", 1))
    done = api.kubectl("apply", "--validate=strict", "-f", str(file))
    assert done.returncode != 0
    assert "backoffLimits" in done.stderr
