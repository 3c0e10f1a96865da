"""Windows of jobs, weighed: one evaluator and its fast twin, the greedy search, segments, and jobs under way."""

from carbonfleet.placement.search.best_choice import best_choice, fits_budgets, hold, prefers_among_equals
from carbonfleet.placement.search.choice import Choice, segments_of, take
from carbonfleet.placement.search.fast_windows import BLOCK, NOWHERE, WindowSearch, unhindered
from carbonfleet.placement.search.figures import at_submission, baseline_of, review_of, window_at, windows_at
from carbonfleet.placement.search.greedy import GreedyBlock
from carbonfleet.placement.search.job_context import JobContext, Shortlist, context_of, near, refusal_on, shortlist
from carbonfleet.placement.search.limits import LIMITS, WindowFigures, gate_of
from carbonfleet.placement.search.lower_bounds import Int32Array
from carbonfleet.placement.search.running_jobs import own_cost, unbroken
from carbonfleet.placement.search.window_index import WindowIndex
from carbonfleet.placement.search.windows import CENT, Windows, cost_ceiling, options_left, windows_of

__all__ = [
    "BLOCK",
    "CENT",
    "LIMITS",
    "NOWHERE",
    "Choice",
    "GreedyBlock",
    "Int32Array",
    "JobContext",
    "Shortlist",
    "WindowFigures",
    "WindowIndex",
    "WindowSearch",
    "Windows",
    "at_submission",
    "baseline_of",
    "best_choice",
    "context_of",
    "cost_ceiling",
    "fits_budgets",
    "gate_of",
    "hold",
    "near",
    "options_left",
    "own_cost",
    "prefers_among_equals",
    "refusal_on",
    "review_of",
    "segments_of",
    "shortlist",
    "take",
    "unbroken",
    "unhindered",
    "window_at",
    "windows_at",
    "windows_of",
]
