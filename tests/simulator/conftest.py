"""Grids made by rule, and the folder of recorded ones."""

import os
from pathlib import Path

import pytest

from carbonfleet.simulator.grid import Grid
from fixtures.made_grids import made_grid


@pytest.fixture
def grid() -> Grid:
    return made_grid()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    folder = os.environ.get("CARBONFLEET_DATA_DIR")
    if not folder:
        pytest.skip("set CARBONFLEET_DATA_DIR to the folder of recorded grids")
    return Path(folder)
