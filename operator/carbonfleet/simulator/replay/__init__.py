"""Jobs replayed hour by hour on a fleet of GPUs, by carbonfleet's planner or another policy, and their scores."""

from carbonfleet.simulator.replay.baselines import baselines
from carbonfleet.simulator.replay.fleet import Pool, ReplayedRun, ReplayFleet, pools_of, queued, replay_fleet
from carbonfleet.simulator.replay.jobs import JobDefaults, ReplayJob, every_hour, read_jobs, span, sweep, sweep_starts
from carbonfleet.simulator.replay.loop import Moment, Policy, replay
from carbonfleet.simulator.replay.planner import Planner, best_run, foreseen, foreseen_runs
from carbonfleet.simulator.replay.score import Scenario, Score, score
from carbonfleet.simulator.replay.slack import Slack, parse_slack
from carbonfleet.simulator.replay.workers import Progress, Row, replay_all

__all__ = [
    "JobDefaults",
    "Moment",
    "Planner",
    "Policy",
    "Pool",
    "Progress",
    "ReplayFleet",
    "ReplayJob",
    "ReplayedRun",
    "Row",
    "Scenario",
    "Score",
    "Slack",
    "baselines",
    "best_run",
    "every_hour",
    "foreseen",
    "foreseen_runs",
    "parse_slack",
    "pools_of",
    "queued",
    "read_jobs",
    "replay",
    "replay_all",
    "replay_fleet",
    "score",
    "span",
    "sweep",
    "sweep_starts",
]
