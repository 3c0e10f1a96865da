"""What the hub's pure parts are tested with."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from carbonfleet.clock import VARIABLE, Clock
from carbonfleet.local.ports import free_port
from fixtures.hub_process import START, install_crds
from fixtures.kubeapi_server import KubeApi
from fixtures.reviewed_hub import ReviewedHub

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def hub_api(tmp_path_factory) -> Iterator[KubeApi]:
    """One API for all tests of this folder that need one, on a clock that begins in December 2025."""
    environment = {VARIABLE: Clock.starting_at(START, 1).encode()}
    made = KubeApi(tmp_path_factory.mktemp("hub-api"), free_port(), environment=environment)
    made.start()
    install_crds(made)
    yield made
    made.stop()


@pytest.fixture
def hub(request, hub_api, tmp_path) -> Iterator[ReviewedHub]:
    """A hub in this process with all that it deals with; its forge is GitHub where a test names no other."""
    made = ReviewedHub.open(tmp_path / "stack", hub_api, getattr(request, "param", "github"))
    yield made
    made.close()
