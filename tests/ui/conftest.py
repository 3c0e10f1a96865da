"""An API with definitions, what a hub would write there, and the page beside them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from served_page import Hub, Page, install

from carbonfleet.local.ports import free_port
from fixtures.kubeapi_server import KubeApi


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Iterator[Hub]:
    """An empty hub of this file's own."""
    folder = tmp_path_factory.mktemp("hub")
    api = KubeApi(folder, free_port())
    api.start()
    try:
        install(api)
        yield Hub(api, folder)
    finally:
        api.stop()


@pytest.fixture(scope="module")
def page(hub) -> Iterator[Page]:
    """The page over it."""
    served = Page(hub.api.kubeconfig, hub.folder)
    yield served
    served.stop()
