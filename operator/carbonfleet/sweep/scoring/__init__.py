"""Scores of what is served: prompts with checks, asked one after the other, and what came of them."""

from carbonfleet.sweep.scoring.ask import Answered, ModelScore, ask_all
from carbonfleet.sweep.scoring.record import JobScore, record_scores, score_of
from carbonfleet.sweep.scoring.suite import PromptSuite, ScoredPrompt, read_suite

__all__ = [
    "Answered",
    "JobScore",
    "ModelScore",
    "PromptSuite",
    "ScoredPrompt",
    "ask_all",
    "read_suite",
    "record_scores",
    "score_of",
]
