"""The embedded Kubernetes API with carbonfleet's definitions, for the tests of this package."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from carbonfleet.local.ports import free_port
from fixtures.kubeapi_server import KubeApi

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def crd_api(tmp_path_factory):
    """A server that serves our definitions and has the examples' namespaces."""
    api = KubeApi(tmp_path_factory.mktemp("api"), free_port())
    api.start()
    try:
        done = api.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        assert done.returncode == 0, done.stderr
        done = api.kubectl(
            *("wait", "--for=condition=Established", "crd", "--all", "--timeout=170s"),
        )
        assert done.returncode == 0, done.stderr
        for namespace in ("team-a", "team-b", "spoke-no-osl-1"):
            assert api.kubectl("create", "namespace", namespace).returncode == 0
        yield api
    finally:
        api.stop()
