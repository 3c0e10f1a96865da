"""A hub with everything around it, on the embedded API or on the cluster that `--kubeconfig` names."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.hub_process import House, RealApi, install_crds, open_house
from fixtures.kubeapi_server import KubeApi, eventually, free_port


def _real_api(kubeconfig: Path) -> RealApi:
    command = str(Path(sys.executable).parent / "kubectl")

    def kubectl(*arguments: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        environment = os.environ | {"KUBECONFIG": str(kubeconfig.resolve())}
        return subprocess.run(
            [command, *arguments], input=stdin, capture_output=True, text=True, timeout=60, env=environment
        )

    return RealApi(kubeconfig.resolve(), kubectl)


@pytest.fixture(scope="session")
def flow_api(request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[KubeApi | RealApi]:
    """One API for all flow tests that leave it running."""
    given = request.config.getoption("--kubeconfig")
    if given is not None:
        api = _real_api(given)
        install_crds(api)
        yield api
        return
    embedded = KubeApi(tmp_path_factory.mktemp("flow-api"), free_port())
    embedded.start()
    install_crds(embedded)
    yield embedded
    embedded.stop()


@pytest.fixture
def own_api(request: pytest.FixtureRequest, make_kube_api) -> KubeApi:
    """An API of this test's own, which it may stop and kill."""
    if request.config.getoption("--kubeconfig") is not None:
        pytest.skip("kills the API server, which is not done to a cluster that exists already")
    api = make_kube_api()
    install_crds(api)
    return api


@pytest.fixture(scope="module")
def shared_house(flow_api, tmp_path_factory) -> Iterator[House]:
    """One hub for all tests of a module that keep to job names of their own and leave it running."""
    made = open_house(tmp_path_factory.mktemp("house"), flow_api)
    try:
        begin(made)
        yield made
    finally:
        made.close()
        made.git.stop()


@pytest.fixture
def house(flow_api, tmp_path: Path) -> Iterator[House]:
    """A house of this test's own; its hub is not started."""
    made = open_house(tmp_path / "house", flow_api)
    yield made
    made.close()
    made.git.stop()


@pytest.fixture
def own_house(own_api, tmp_path: Path) -> Iterator[House]:
    """A house on an API of its own; its hub is not started."""
    made = open_house(tmp_path / "house", own_api)
    yield made
    if own_api.process is None:
        own_api.start()
    made.close()
    made.git.stop()


@pytest.fixture(scope="module")
def slow_house(flow_api, tmp_path_factory) -> Iterator[House]:
    """A house whose clock leaves a person the time to answer."""
    made = open_house(tmp_path_factory.mktemp("reviewed"), flow_api, speed=60.0)
    try:
        begin(made)
        yield made
    finally:
        made.close()
        made.git.stop()


def begin(house: House) -> None:
    """Start the hub and the spokes, and wait until all have been heard."""
    house.start_hub()
    house.spokes.start()

    def all_heard() -> bool:
        spokes, _ = house.kube.list("/apis/carbonfleet.dev/v1alpha1/spokeclusters")
        return sum(bool((spoke.get("status") or {}).get("heartbeatTime")) for spoke in spokes) == 3

    eventually(all_heard, 40)
