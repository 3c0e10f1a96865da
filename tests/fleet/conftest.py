"""What the tests of the fleet package share."""

import pytest

from carbonfleet.fleet import Repository
from fixtures.fleet_values import CLOCK, quick_settings
from fixtures.git_server import git_server, http_git_server, https_git_server

__all__ = ["git_server", "http_git_server", "https_git_server"]


@pytest.fixture
def repository(git_server, tmp_path):
    """A hub's clone of the served repository."""
    return Repository(quick_settings(git_server.url, tmp_path / "hub"), CLOCK)


@pytest.fixture
def person(git_server):
    """A person's work tree of the served repository."""
    return git_server.checkout()
