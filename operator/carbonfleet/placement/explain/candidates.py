"""Every spoke as seen for one job in the finished plan: its best window there, or the rule that filtered it."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import repeat
from typing import Final

import numpy as np

from carbonfleet.api.job import Goal
from carbonfleet.placement import phrase
from carbonfleet.placement.decision import MOST_SHOWN, Candidate, Verdict, Window
from carbonfleet.placement.inputs import RESOLUTION, Segments
from carbonfleet.placement.search import (
    Choice,
    JobContext,
    options_by_cluster,
    refusal_on,
    segments_of,
    window_at,
    windows_at,
)


def candidates_of(context: JobContext) -> tuple[Candidate, ...]:
    """Every spoke: the chosen first, then by score, then the filtered by name."""
    by_cluster = options_by_cluster(context.inputs)
    windows = _best_windows(context, list(by_cluster.values()))
    ranked = sorted(map(_candidate, repeat(context), by_cluster.values(), windows), key=_rank)
    shown = [_said(context, candidate, ranked) for candidate in ranked[:MOST_SHOWN]]
    return (*shown, *ranked[MOST_SHOWN:])


def _said(context: JobContext, candidate: Candidate, ranked: Sequence[Candidate]) -> Candidate:
    """A candidate with a window says how it compares with the chosen one, or what it is where none is chosen."""
    window, chosen = candidate.window, ranked[0].window
    if window is None:
        return candidate
    if chosen is None or ranked[0].verdict is not Verdict.CHOSEN:
        return replace(candidate, message=phrase.describe(window))
    goal, objective = context.inputs.demand.goal(context.job), context.inputs.jobs[context.job].spec.objective
    if candidate.verdict is not Verdict.CHOSEN:
        if candidate.reason == NOT_WORTH:
            return replace(candidate, message=f"{phrase.difference(window, chosen)}: too little for so long a wait.")
        message = phrase.beside(window, chosen, goal, objective.carbon_price_usd_per_tonne)
        return replace(candidate, message=message)
    open_to_it = sum(other.window is not None for other in ranked)
    best = _BEST[goal] if not (context.choice and context.choice.kept) else "Where it was planned before"
    return replace(
        candidate, message=f"{best} of {open_to_it} spokes." if open_to_it > 1 else "The only spoke open to it."
    )


NOT_WORTH: Final = "NotWorthTheWait"


_BEST = {
    Goal.CARBON: "The least carbon",
    Goal.COST: "The lowest cost",
    Goal.COMPOSITE: "The least cost and carbon together",
}
"""Of what a job may minimise, the best."""


def _rank(candidate: Candidate) -> tuple[int, float, str]:
    order = {Verdict.CHOSEN: 0, Verdict.FEASIBLE: 1, Verdict.FILTERED: 2}
    score = candidate.window.score_usd if candidate.window else 0.0
    return order[candidate.verdict], score, candidate.cluster


def _candidate(context: JobContext, options: list[int], best: tuple[int, Window, float] | None) -> Candidate:
    choice = context.choice
    if choice is not None and choice.option in options:
        window = window_at(context.inputs, context.job, choice.option, segments_of(context.inputs, context.job, choice))
        return _seen(context, choice.option, Verdict.CHOSEN, "Chosen", "", window)
    cuts = [context.cuts[option] for option in options if option in context.cuts]
    if cuts:
        cut = min(cuts, key=lambda c: (c.score, c.start, c.option))
        best = cut.option, window_at(context.inputs, context.job, cut.option, cut.segments), cut.score
    if best is not None:
        option, window, score = best
        could_wait = choice is not None and score < _bare(context, choice) and not (choice.kept or choice.is_late)
        reason = NOT_WORTH if could_wait else "HigherScore"
        return _seen(context, option, Verdict.FEASIBLE, reason, "", window)
    refusal = refusal_on(context, options)
    return _seen(context, options[0], Verdict.FILTERED, refusal.reason, refusal.message, None)


def _bare(context: JobContext, choice: Choice) -> float:
    """A choice's score without what its delay must gain."""
    return choice.score if choice.segments else float(context.windows.bare[choice.option, choice.start])


def _best_windows(context: JobContext, spokes: list[list[int]]) -> list[tuple[int, Window, float] | None]:
    """For the options of each spoke: the best free unbroken window in time: option, window and bare score."""
    windows, is_late = context.windows, context.choice is not None and context.choice.is_late
    usable = (windows.late if is_late else windows.open) & context.free
    masked = np.where(usable, windows.scores, np.inf)
    starts, least = masked.argmin(axis=1).tolist(), masked.min(axis=1, initial=np.inf).tolist()
    best = [min(options, key=lambda option: (least[option], starts[option], option)) for options in spokes]
    open_options = [option for option in best if least[option] < np.inf]
    jobs, begins = [context.job] * len(open_options), [starts[option] for option in open_options]
    found = dict(zip(open_options, windows_at(context.inputs, jobs, open_options, begins), strict=True))
    bare = windows.bare[np.arange(len(starts)), starts].tolist()
    return [(option, found[option], bare[option]) if option in found else None for option in best]


def piece(context: JobContext, option: int, start: int) -> Segments:
    """The minutes of an unbroken run."""
    return segments_of(context.inputs, context.job, Choice(option, start, 0.0))


def _seen(
    context: JobContext, option: int, verdict: Verdict, reason: str, message: str, window: Window | None
) -> Candidate:
    """A candidate with what is known of its grid now."""
    inputs, place = context.inputs, context.inputs.options.entries[option]
    facts = place.spoke.facts
    price_source = place.spoke.price_sources.get((place.pool.name, place.spot), "") if window else ""
    grid = inputs.carbon[inputs.jobs[context.job].spec.signal]
    row, minute = grid.zones[facts.zone], inputs.line.now_minute
    forecast = grid.forecasts[row]
    if forecast is None:
        return Candidate(
            facts.name, verdict, reason, message, window, source="none", link="none", price_source=price_source
        )
    now = float(grid.total[row, minute + 1] - grid.total[row, minute]) * RESOLUTION
    known = now, forecast.source, forecast.link, forecast.observed_at
    return Candidate(facts.name, verdict, reason, message, window, *known, price_source=price_source)
