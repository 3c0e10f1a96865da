"""With perfect foresight the planner finds the optimum that others computed, to 0.01 g."""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from carbonfleet.api.job import Interruptible
from carbonfleet.simulator.grid import Grid, Perfect, open_grid
from carbonfleet.simulator.presets import HALF_YEAR, ZONE_SETS
from carbonfleet.simulator.replay import every_hour, foreseen, pools_of, replay_fleet

PIECES = Interruptible(max_pauses=100, minimum_run="1h", overhead="0s")


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def best_mean(grid: Grid, row: dict[str, str], interruptible: Interruptible | None = None) -> float:
    """Mean g/kWh that the planner gets, told the future, over all starts of a case."""
    fleet = replay_fleet(pools_of(grid.zones, None), grid.zones[0], 60)
    jobs = every_hour(grid.start, int(row["n_starts"]), float(row["job_h"]), float(row["slack_h"]), interruptible)
    windows = foreseen(fleet, grid, Perfect(grid, 16 * 24), jobs)
    assert len(windows) == len(jobs)
    return float(np.mean([window.grams_per_kwh for window in windows.values()]))


def check_temporal(folder: Path, cases: Iterable[dict[str, str]], interruptible: Interruptible | None) -> None:
    column = "deferred_interruptible" if interruptible else "deferred_contiguous"
    for row in cases:
        grid = open_grid([folder / HALF_YEAR], [row["zone"]])
        found = best_mean(grid, row, interruptible)
        assert found == pytest.approx(float(row[column]), abs=0.01), (row["zone"], row["job_h"])


def check_joint(folder: Path, cases: Iterable[dict[str, str]]) -> None:
    for row in cases:
        grid = open_grid([folder / HALF_YEAR], ZONE_SETS[row["set"]])
        assert best_mean(grid, row) == pytest.approx(float(row["joint_space_time"]), abs=0.01), row["set"]


def test_the_best_window_of_a_zone_is_found(data_folder):
    cases = [r for r in rows(data_folder, "expected_oracle_temporal.csv") if r["zone"] == "DE" and r["job_h"] == "4"]
    check_temporal(data_folder, cases, None)


def test_the_best_pieces_of_time_of_a_zone_are_found(data_folder):
    cases = [r for r in rows(data_folder, "expected_oracle_temporal.csv") if r["zone"] == "DE" and r["job_h"] == "4"]
    check_temporal(data_folder, cases, PIECES)


def test_the_best_window_over_zones_is_found(data_folder):
    cases = [
        r for r in rows(data_folder, "expected_oracle_spacetime.csv") if r["set"] == "hydro3" and r["job_h"] == "4"
    ]
    check_joint(data_folder, cases)


@pytest.mark.soak
def test_the_best_window_is_found_for_every_zone_and_shape(data_folder):
    check_temporal(data_folder, rows(data_folder, "expected_oracle_temporal.csv"), None)


@pytest.mark.soak
def test_the_best_window_is_found_for_every_set_of_zones(data_folder):
    check_joint(data_folder, rows(data_folder, "expected_oracle_spacetime.csv"))


@pytest.mark.soak
def test_the_best_pieces_of_time_are_found_for_every_zone_and_shape(data_folder):
    check_temporal(data_folder, rows(data_folder, "expected_oracle_temporal.csv"), PIECES)
