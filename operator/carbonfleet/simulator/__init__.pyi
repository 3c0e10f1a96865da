"""Replay of recorded grids and queues through the same plan."""

from .backtest import Backtest, Result, run_backtest
from .grid import Grid, ReplayError, open_grid
from .replay import Policy, Pool, ReplayedRun, ReplayJob, pools_of, read_jobs, replay

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
