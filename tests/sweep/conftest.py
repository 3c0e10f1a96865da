"""A Kubernetes API with carbonfleet's definitions, and the sweep that comes with the project."""

import copy
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1]))

from carbonfleet.cli import app
from carbonfleet.kube import Kube
from carbonfleet.local.ports import free_port
from fixtures.kubeapi_server import KubeApi, eventually

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "workloads" / "sweep" / "qwen-coder.yaml"


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    """An API that serves our definitions."""
    api = KubeApi(tmp_path_factory.mktemp("sweep-api"), free_port())
    api.start()
    try:
        done = api.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        assert done.returncode == 0, done.stderr
        eventually(lambda: api.kubectl("get", "ctj", "-A").returncode == 0)
        yield api
    finally:
        api.stop()


@pytest.fixture(scope="session")
def kube(hub):
    return Kube.connect(hub.kubeconfig)


@pytest.fixture
def command():
    """Runs `carbonfleet` with arguments."""

    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def sweep_file(tmp_path):
    """Writes the example with changes to its top-level keys; its path."""
    original = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))

    def write(**changes):
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump({**copy.deepcopy(original), **changes}, sort_keys=False), encoding="utf-8")
        return path

    return write
