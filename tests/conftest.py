"""What every test may use; the long counts run with `-m soak` only, the demo of the wheel with `-m demo`."""

import os
from pathlib import Path

# Of processes that tests start, too: on shared cores, threads that wait for one another take most of their time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "short", derandomize=True, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("soak", parent=settings.get_profile("short"), derandomize=False)
pytest_plugins = ["fixtures.kubeapi_server"]
LONGEST_FIRST = ("flow", "workloads", "integrations", "simulator", "hub", "placement", "spoke", "fleet")
"""Folders whose files are begun before all others, so that no long file is begun when the others are done."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest tests/flow --kubeconfig FILE` runs the flow tests against a cluster that exists already."""
    parser.addoption("--kubeconfig", type=Path, help="use this cluster in place of the embedded API (tests/flow)")


def pytest_configure(config: pytest.Config) -> None:
    """Property tests take the same examples each time, on a machine of whatever speed; in a soak they explore.

    A cluster that exists already has one hub at a time, so that tests take turns there whatever `-n` says.
    """
    if config.getoption("--kubeconfig") is not None:
        config.option.dist = "no"
    settings.load_profile("soak" if "soak" in config.getoption("markexpr") else "short")


def _rank(item: pytest.Item) -> int:
    folder = item.path.parent.name
    return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long folders first; deselect what is run only when it is asked for by the name of its mark."""
    items.sort(key=_rank)
    left_out = [mark for mark in ("soak", "demo") if mark not in config.getoption("markexpr")]
    deselected = [item for item in items if any(map(item.get_closest_marker, left_out))]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]
