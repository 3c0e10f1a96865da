"""What the tests of the ledger share: a ledger in a file, or in PostgreSQL where a server is at hand."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from hand_clock import HandClock
from ledger_values import NOON
from postgresql_server import drop_tables, postgresql

from carbonfleet.ledger.store import Ledger


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    yield from postgresql()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request, tmp_path) -> str:
    """An empty database of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.sqlite"
    url = request.getfixturevalue("postgresql_url")
    drop_tables(url)
    return url


@pytest.fixture
def ledger(ledger_url) -> Iterator[Ledger]:
    made = Ledger(ledger_url)
    yield made
    made.close()


@pytest.fixture
def clock() -> HandClock:
    return HandClock(hands=[NOON])
