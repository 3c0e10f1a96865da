"""Hyperparameter sweeps: manifests from a grid, and their leaderboard."""

from carbonfleet.sweep.best import Best, Wishes, best_of, place_of
from carbonfleet.sweep.endpoint import Endpoint, printable
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
    "Best",
    "Difference",
    "Endpoint",
    "Place",
    "Progress",
    "Standing",
    "SweepError",
    "SweepFile",
    "Threshold",
    "Wishes",
    "best_of",
    "generate",
    "jobs_of",
    "leaderboard",
    "place_of",
    "printable",
    "progress_by_tier",
    "read_sweep",
    "write",
    "write_plot",
]
