"""A hub with everything around it, on the embedded API or on the cluster that `--kubeconfig` names."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from carbonfleet.clock import VARIABLE, Clock
from carbonfleet.local.ports import free_port
from fixtures.hub_process import SPEED, START, HubStack, RealApi, begin, clock_of, install_crds, open_hub_stack
from fixtures.kubeapi_server import KubeApi

CARBON_TOKEN = "carbon-token"
"""Under a shared stack's root: with what its hub's carbon figures are asked for."""
SLOW = 60.0
"""An hour of a slow stack's clock in a minute."""


def _real_api(kubeconfig: Path, speed: float = SPEED) -> RealApi:
    command = str(Path(sys.executable).parent / "kubectl")

    def kubectl(*arguments: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        environment = os.environ | {"KUBECONFIG": str(kubeconfig.resolve())}
        return subprocess.run(
            [command, *arguments], input=stdin, capture_output=True, text=True, timeout=180, env=environment
        )

    clock = Clock.starting_at(datetime.now(UTC), speed)  # the cluster's own is real time
    return RealApi(clock, kubeconfig.resolve(), kubectl)


def _embedded(tmp_path_factory, speed: float) -> KubeApi:
    environment = {VARIABLE: Clock.starting_at(START, speed).encode()}
    api = KubeApi(tmp_path_factory.mktemp("flow-api"), free_port(), environment=environment)
    api.start()
    install_crds(api)
    return api


@pytest.fixture(scope="session")
def flow_api(request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[KubeApi | RealApi]:
    """One API for all flow tests that leave it running."""
    given = request.config.getoption("--kubeconfig")
    if given is not None:
        api = _real_api(given)
        install_crds(api)
        yield api
        return
    embedded = _embedded(tmp_path_factory, SPEED)
    yield embedded
    embedded.stop()


@pytest.fixture
def own_api(request: pytest.FixtureRequest, make_kube_api) -> KubeApi:
    """An API of this test's own, which it may stop and kill."""
    if request.config.getoption("--kubeconfig") is not None:
        pytest.skip("kills the API server, which is not done to a cluster that exists already")
    speed = request.node.get_closest_marker("speed")
    clock = Clock.starting_at(START, speed.args[0] if speed else SPEED)
    api = make_kube_api(environment={VARIABLE: clock.encode()})
    install_crds(api)
    return api


@pytest.fixture(scope="module")
def shared_stack(flow_api, tmp_path_factory) -> Iterator[HubStack]:
    """One hub for all tests of a module that keep to job names of their own and leave it running."""
    made = open_hub_stack(tmp_path_factory.mktemp("stack"), flow_api, clock_of(flow_api))
    (made.root / CARBON_TOKEN).write_text("0123456789abcdef-token\n")
    address = f"127.0.0.1:{free_port()}"
    made.options = ("--carbon-address", address, "--carbon-token-file", str(made.root / CARBON_TOKEN))
    try:
        begin(made)
        yield made
    finally:
        made.close()
        made.git.stop()


@pytest.fixture
def stack(flow_api, tmp_path: Path) -> Iterator[HubStack]:
    """A stack of this test's own; its hub is not started."""
    made = open_hub_stack(tmp_path / "stack", flow_api, clock_of(flow_api))
    yield made
    made.close()
    made.git.stop()


@pytest.fixture
def own_stack(own_api, tmp_path: Path) -> Iterator[HubStack]:
    """A stack on an API of its own; its hub is not started."""
    made = open_hub_stack(tmp_path / "stack", own_api, clock_of(own_api))
    yield made
    if own_api.process is None:
        own_api.start()
    made.close()
    made.git.stop()


@pytest.fixture(scope="module")
def slow_api(flow_api, tmp_path_factory) -> Iterator[KubeApi | RealApi]:
    """An API whose clock leaves a person the time to answer."""
    if isinstance(flow_api, RealApi):
        yield _real_api(flow_api.kubeconfig, SLOW)
        return
    slow = _embedded(tmp_path_factory, SLOW)
    yield slow
    slow.stop()


@pytest.fixture(scope="module")
def slow_stack(slow_api, tmp_path_factory) -> Iterator[HubStack]:
    """A stack whose clock leaves a person the time to answer."""
    made = open_hub_stack(tmp_path_factory.mktemp("reviewed"), slow_api, clock_of(slow_api))
    try:
        begin(made)
        yield made
    finally:
        made.close()
        made.git.stop()


def pytest_configure(config: pytest.Config) -> None:
    """Marks of these tests alone."""
    config.addinivalue_line("markers", "speed(factor): how fast the stack's clock runs")
