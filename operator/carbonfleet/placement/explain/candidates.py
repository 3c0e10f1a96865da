"""Every spoke as seen for one job in the finished plan: its best window there, or the rule that filtered it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import repeat
from typing import Final

import numpy as np

from carbonfleet.api.policy import Goal
from carbonfleet.placement import phrase
from carbonfleet.placement.decision import MOST_SHOWN, Candidate, Verdict, Window
from carbonfleet.placement.inputs import RESOLUTION, Segments
from carbonfleet.placement.search import (
    Choice,
    JobContext,
    least,
    prefers_among_equals,
    refusal_on,
    segments_of,
    window_at,
    windows_at,
)


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found for a job on one spoke: a window, or the rule that leaves none."""

    verdict: Verdict
    reason: str
    score: float
    """Of what was filtered, what goes beyond a limit: the nearest comes first."""
    option: int
    choice: Choice | None
    message: str = ""

    def rank(self, cluster: str) -> tuple[int, float, str]:
        """The chosen first, then by score, then the filtered: the nearest, then by name."""
        return _ORDER[self.verdict], self.score, cluster


_ORDER: Final = {Verdict.CHOSEN: 0, Verdict.FEASIBLE: 1, Verdict.FILTERED: 2}


def candidates_of(context: JobContext) -> tuple[Candidate, ...]:
    """Every spoke: the chosen first, then by score, then the filtered by name.

    Only those that are shown have figures: to work them out for all would take longer than to plan.
    """
    spokes = context.inputs.options.by_cluster
    found = map(_found, repeat(context), spokes.values(), _best_windows(context, list(spokes.values())))
    ranked = sorted(zip(spokes, found, strict=True), key=lambda named: named[1].rank(named[0]))
    open_to_it = sum(one.choice is not None for _, one in ranked)
    shown: list[Candidate] = []
    for (_, one), window in zip(ranked[:MOST_SHOWN], _windows(context, ranked[:MOST_SHOWN]), strict=True):
        candidate = _seen(context, one, window)
        shown.append(_said(context, candidate, shown[0] if shown else candidate, open_to_it))
    rest = (Candidate(cluster, one.verdict, one.reason, one.message) for cluster, one in ranked[MOST_SHOWN:])
    return (*shown, *rest)


def _windows(context: JobContext, ranked: Sequence[tuple[str, _Found]]) -> list[Window | None]:
    """The figures of what was found: unbroken runs together."""
    inputs, job = context.inputs, context.job
    choices = [one.choice for _, one in ranked]
    whole = [choice for choice in choices if choice is not None and not choice.segments]
    begins = [choice.option for choice in whole], [choice.start for choice in whole]
    together = iter(windows_at(inputs, [job] * len(whole), *begins))
    return [
        None
        if choice is None
        else window_at(inputs, job, choice.option, choice.segments)
        if choice.segments
        else next(together)
        for choice in choices
    ]


def _said(context: JobContext, candidate: Candidate, first: Candidate, open_to_it: int) -> Candidate:
    """A candidate with a window says how it compares with the chosen one, or what it is where none is chosen."""
    window, chosen = candidate.window, first.window
    if window is None:
        return candidate
    if chosen is None or first.verdict is not Verdict.CHOSEN:
        return replace(candidate, message=phrase.describe(window))
    goal, objective = context.inputs.demand.goal(context.job), context.inputs.jobs[context.job].spec.objective
    if candidate.verdict is not Verdict.CHOSEN:
        if candidate.reason == NOT_WORTH:
            return replace(candidate, message=f"{phrase.difference(window, chosen)}: too little for so long a wait.")
        if candidate.reason == COUNTS_AS_EQUAL:
            return replace(candidate, message=f"{phrase.difference(window, chosen)}: {_among_equals(context)}.")
        message = phrase.beside(window, chosen, goal, objective.usd_per_tonne)
        return replace(candidate, message=message)
    best = _BEST[goal] if not (context.choice and context.choice.kept) else "Where it was planned before"
    if has_better_equals(context):
        best = f"Within {_equal_percent(context):g} % of the least carbon"
    return replace(
        candidate, message=f"{best} of {open_to_it} spokes." if open_to_it > 1 else "The only spoke open to it."
    )


NOT_WORTH: Final = "NotWorthTheWait"
COUNTS_AS_EQUAL: Final = "CountsAsEqual"


def is_equal(context: JobContext, choice: Choice | None, score: float) -> bool:
    """Whether a lower score counts as equal to that of a choice, which was taken for its price or its time."""
    if choice is None or choice.segments or not prefers_among_equals(context.inputs, context.job):
        return False
    return _bare(context, choice) <= score * (1 + context.inputs.snapshot.assumptions.equal_share)


def has_better_equals(context: JobContext) -> bool:
    """Whether some free window has less carbon than the choice, by so little that it counts as equal."""
    windows, choice = context.windows, context.choice
    best = least(windows.scores, context.eligible)
    if choice is None or choice.segments or best is None or choice.is_late or choice.kept:
        return False
    return best[0] < float(windows.scores[choice.option, choice.start]) and is_equal(context, choice, best[0])


def _equal_percent(context: JobContext) -> float:
    return 100 * context.inputs.snapshot.assumptions.equal_share


def _among_equals(context: JobContext) -> str:
    return f"within {_equal_percent(context):g} % the cheaper, then the earlier is taken"


_BEST = {
    Goal.CARBON: "The least carbon",
    Goal.COST: "The lowest cost",
    Goal.COMPOSITE: "The least cost and carbon together",
}
"""Of what a job may minimise, the best."""


def _found(context: JobContext, options: list[int], best: Choice | None) -> _Found:
    choice = context.choice
    if choice is not None and choice.option in options:
        return _Found(Verdict.CHOSEN, "Chosen", 0.0, choice.option, choice)
    cuts = [context.cuts[option] for option in options if option in context.cuts]
    if cuts:
        best = min(cuts, key=lambda c: (c.score, c.start, c.option))
    if best is not None and choice is not None:
        could_wait = best.score < _bare(context, choice) and not (choice.kept or choice.is_late)
        reason = "HigherScore"
        if could_wait:
            reason = COUNTS_AS_EQUAL if is_equal(context, choice, best.score) else NOT_WORTH
        return _Found(Verdict.FEASIBLE, reason, best.score, best.option, best)
    refusal = refusal_on(context, options)
    return _Found(Verdict.FILTERED, refusal.reason, refusal.least, options[0], None, refusal.message)


def _bare(context: JobContext, choice: Choice) -> float:
    """A choice's score without what its delay must gain."""
    return choice.score if choice.segments else float(context.windows.bare[choice.option, choice.start])


def _best_windows(context: JobContext, spokes: list[list[int]]) -> list[Choice | None]:
    """For the options of each spoke: the best free unbroken window in time, with its score but for the delay."""
    windows, is_late = context.windows, context.choice is not None and context.choice.is_late
    usable = windows.late & context.free if is_late else context.eligible
    masked = np.where(usable, windows.scores, np.inf)
    starts, least = masked.argmin(axis=1).tolist(), masked.min(axis=1, initial=np.inf).tolist()
    bare = windows.bare[np.arange(len(starts)), starts].tolist()
    best = [min(options, key=lambda option: (least[option], starts[option], option)) for options in spokes]
    return [Choice(option, starts[option], bare[option]) if least[option] < np.inf else None for option in best]


def piece(context: JobContext, option: int, start: int) -> Segments:
    """The minutes of an unbroken run."""
    return segments_of(context.inputs, context.job, Choice(option, start, 0.0))


def _seen(context: JobContext, found: _Found, window: Window | None) -> Candidate:
    """A candidate with what is known of its grid now."""
    inputs, place = context.inputs, context.inputs.options.entries[found.option]
    facts = place.spoke.facts
    price_source = place.spoke.price_sources.get((place.pool.name, place.spot), "") if window else ""
    grid = inputs.carbon[inputs.jobs[context.job].spec.signal]
    row, minute = grid.zones[facts.zone], inputs.line.now_minute
    forecast = grid.forecasts[row]
    known: tuple[float | None, str, str, datetime | None] = None, "none", "none", None
    if forecast is not None:
        now = float(grid.total[row, minute + 1] - grid.total[row, minute]) * RESOLUTION
        known = now, forecast.source, forecast.link, forecast.observed_at
    head = facts.name, found.verdict, found.reason, found.message
    return Candidate(*head, window, *known, price_source=price_source)
