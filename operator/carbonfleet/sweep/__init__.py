"""Hyperparameter sweeps: manifests from a grid, and their leaderboard."""

from carbonfleet.sweep.best import Best, Wishes, best_of, place_of
from carbonfleet.sweep.endpoint import ChatEndpoint, printable
from carbonfleet.sweep.error import SweepError
from carbonfleet.sweep.file import SweepFile, Threshold, read_sweep
from carbonfleet.sweep.manifests import BASELINE, SWEEP, TIER, generate, write
from carbonfleet.sweep.plot import write_plot
from carbonfleet.sweep.reading import jobs_of
from carbonfleet.sweep.standing import (
    Difference,
    LeaderboardLine,
    SweepStanding,
    TierProgress,
    leaderboard,
    progress_by_tier,
    ranked,
    standing_of,
    tiers_of,
)

__all__ = [
    "BASELINE",
    "SWEEP",
    "TIER",
    "Best",
    "ChatEndpoint",
    "Difference",
    "LeaderboardLine",
    "SweepError",
    "SweepFile",
    "SweepStanding",
    "Threshold",
    "TierProgress",
    "Wishes",
    "best_of",
    "generate",
    "jobs_of",
    "leaderboard",
    "place_of",
    "printable",
    "progress_by_tier",
    "ranked",
    "read_sweep",
    "standing_of",
    "tiers_of",
    "write",
    "write_plot",
]
