"""What every test may use; the long counts run with `-m soak` only."""

from pathlib import Path

import pytest

pytest_plugins = ["fixtures.kubeapi_server"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest tests/flow --kubeconfig FILE` runs the flow tests against a cluster that exists already."""
    parser.addoption("--kubeconfig", type=Path, help="use this cluster in place of the embedded API (tests/flow)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect soak tests unless they are asked for by name of their mark."""
    if "soak" in config.getoption("markexpr"):
        return
    soak = [item for item in items if item.get_closest_marker("soak")]
    if soak:
        config.hook.pytest_deselected(items=soak)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]
