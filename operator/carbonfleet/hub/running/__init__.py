"""Jobs under way: which are decided on again, and moves to which people must agree."""

from carbonfleet.hub.running.early_stopping import judge_rungs
from carbonfleet.hub.running.moves import GOOD_FOR, Answers, Asking, Moves, lapses
from carbonfleet.hub.running.running_jobs import RunningJobs

__all__ = ["GOOD_FOR", "Answers", "Asking", "Moves", "RunningJobs", "judge_rungs", "lapses"]
