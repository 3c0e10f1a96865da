"""Replay of recorded grids and queues through the same plan."""

from carbonfleet.simulator.backtest import Backtest, Result, run_backtest
from carbonfleet.simulator.jobs import ReplayJob, read_jobs
from carbonfleet.simulator.loop import Policy, replay
from carbonfleet.simulator.stage import Pool, Run, pools_of
from carbonfleet.simulator.trace import Grid, ReplayError, open_grid

__all__ = [
    "Backtest",
    "Grid",
    "Policy",
    "Pool",
    "ReplayError",
    "ReplayJob",
    "Result",
    "Run",
    "open_grid",
    "pools_of",
    "read_jobs",
    "replay",
    "run_backtest",
]
