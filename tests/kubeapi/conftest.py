"""What the tests of the embedded API share."""

import pytest

from fixtures.kubeapi_widgets import Widgets, install_widgets, make_namespace


@pytest.fixture
def widgets(shared_kube_api):
    """Widgets in a namespace of this test's own, on the shared server."""
    api_client = install_widgets(shared_kube_api)
    with api_client:
        yield Widgets(api_client, make_namespace(api_client))
