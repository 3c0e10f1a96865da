"""Replay of recorded grids and queues through the same plan."""

from carbonfleet.simulator.backtest import Backtest, Result, run_backtest
from carbonfleet.simulator.grid import Grid, ReplayError, open_grid
from carbonfleet.simulator.replay import Policy, Pool, ReplayedRun, ReplayJob, pools_of, read_jobs, replay

__all__ = [
    "Backtest",
    "Grid",
    "Policy",
    "Pool",
    "ReplayError",
    "ReplayJob",
    "ReplayedRun",
    "Result",
    "open_grid",
    "pools_of",
    "read_jobs",
    "replay",
    "run_backtest",
]
