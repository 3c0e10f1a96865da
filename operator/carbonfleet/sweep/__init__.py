"""Hyperparameter sweeps: manifests from a grid, and their leaderboard."""

from carbonfleet.sweep.error import SweepError
from carbonfleet.sweep.file import SweepFile, Threshold, read_sweep
from carbonfleet.sweep.manifests import BASELINE, SWEEP, TIER, generate, write
from carbonfleet.sweep.plot import write_plot
from carbonfleet.sweep.reading import jobs_of
from carbonfleet.sweep.standing import Difference, Place, Progress, Standing, leaderboard, progress_by_tier

__all__ = [
    "BASELINE",
    "SWEEP",
    "TIER",
    "Difference",
    "Place",
    "Progress",
    "Standing",
    "SweepError",
    "SweepFile",
    "Threshold",
    "generate",
    "jobs_of",
    "leaderboard",
    "progress_by_tier",
    "read_sweep",
    "write",
    "write_plot",
]
