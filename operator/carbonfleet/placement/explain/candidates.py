"""The spokes as seen for one job in the finished plan: its best window there, or the rule that filtered it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from carbonfleet.api.policy import Goal
from carbonfleet.placement import phrase
from carbonfleet.placement.decision import MOST_SHOWN, Candidate, Verdict, Window
from carbonfleet.placement.inputs import Segments
from carbonfleet.placement.rules import Refusal
from carbonfleet.placement.search import (
    Choice,
    JobContext,
    Shortlist,
    prefers_among_equals,
    refusal_on,
    segments_of,
    window_at,
    windows_at,
)


@dataclass(frozen=True, slots=True)
class Spokes:
    """All spokes as one job sees them."""

    shown: tuple[Candidate, ...]
    """The first MOST_SHOWN: the chosen first, then by score, then the filtered: the nearest, then by name."""
    filtered: tuple[tuple[str, Refusal], ...]
    """All that are out, in that order, where any of them is shown."""
    total: int


def spokes_of(listed: Shortlist) -> Spokes:
    """Figures and words only of those that are shown: for all they would take longer than to plan."""
    context = listed.context
    by_cluster, choice = context.inputs.options.by_cluster, context.choice
    names = list(by_cluster)
    best = {
        names[spoke]: found
        for spoke, one in zip(listed.spokes.tolist(), listed.best, strict=True)
        if choice is not None and (found := _best(context, by_cluster[names[spoke]], one)) is not None
    }
    if choice is not None:
        best.pop(own := context.inputs.options.entries[choice.option].cluster, None)
        del names[names.index(own)]
    ranked = sorted(best, key=lambda name: (best[name].score, name))
    rest: list[tuple[str, Refusal]] = []
    if len(ranked) + (choice is not None) < MOST_SHOWN:
        rest = [(name, refusal_on(context, by_cluster[name])) for name in names if name not in best]
        rest.sort(key=lambda named: (named[1].least, named[0]))
    open_to_it = len(ranked) + 1 + listed.open_beside
    others = [best[name] for name in ranked[: MOST_SHOWN - 1]]
    shown = _with_window(context, choice, others, open_to_it) if choice is not None else []
    out = [_candidate(context, by_cluster[name][0], *_said_of(refusal)) for name, refusal in rest]
    return Spokes((*shown, *out)[:MOST_SHOWN], tuple(rest), len(by_cluster))


def _said_of(refusal: Refusal) -> tuple[Verdict, str, str]:
    return Verdict.FILTERED, refusal.reason, refusal.message


def _best(context: JobContext, options: list[int], best: Choice | None) -> Choice | None:
    """The best window or cut on a spoke's options."""
    cuts = [context.cuts[option] for option in options if option in context.cuts]
    return min(cuts, key=lambda cut: (cut.score, cut.start, cut.option)) if cuts else best


def _with_window(context: JobContext, choice: Choice, others: Sequence[Choice], open_to_it: int) -> list[Candidate]:
    """The chosen, and how the others compare with it."""
    chosen, *windows = _windows(context, [choice, *others])
    shown = [_candidate(context, choice.option, Verdict.CHOSEN, "Chosen", _why_best(context, open_to_it), chosen)]
    goal, objective = context.inputs.demand.goal(context.job), context.inputs.jobs[context.job].spec.objective
    for one, window in zip(others, windows, strict=True):
        reason = _reason(context, choice, one)
        if reason == NOT_WORTH:
            message = f"{phrase.difference(window, chosen)}: too little for so long a wait."
        elif reason == COUNTS_AS_EQUAL:
            message = f"{phrase.difference(window, chosen)}: {_among_equals(context)}."
        else:
            message = phrase.beside(window, chosen, goal, objective.usd_per_tonne)
        shown.append(_candidate(context, one.option, Verdict.FEASIBLE, reason, message, window))
    return shown


def _windows(context: JobContext, choices: Sequence[Choice]) -> list[Window]:
    """The figures of what was found: unbroken runs together."""
    inputs, job = context.inputs, context.job
    whole = [choice for choice in choices if not choice.segments]
    begins = [choice.option for choice in whole], [choice.start for choice in whole]
    together = iter(windows_at(inputs, [job] * len(whole), *begins))
    return [
        window_at(inputs, job, choice.option, choice.segments) if choice.segments else next(together)
        for choice in choices
    ]


def _why_best(context: JobContext, open_to_it: int) -> str:
    best = _BEST[context.inputs.demand.goal(context.job)]
    if context.choice and context.choice.kept:
        best = "Where it was planned before"
    if has_better_equals(context):
        best = f"Within {_equal_percent(context):g} % of the least carbon"
    return f"{best} of {open_to_it} spokes." if open_to_it > 1 else "The only spoke open to it."


def _reason(context: JobContext, choice: Choice, other: Choice) -> str:
    if choice.kept or choice.is_late or other.score >= context.own_bare:
        return "HigherScore"
    return COUNTS_AS_EQUAL if is_equal(context, choice, other.score) else NOT_WORTH


NOT_WORTH: Final = "NotWorthTheWait"
COUNTS_AS_EQUAL: Final = "CountsAsEqual"


def is_equal(context: JobContext, choice: Choice | None, score: float) -> bool:
    """Whether a lower score counts as equal to that of a choice, which was taken for its price or its time."""
    if choice is None or choice.segments or not prefers_among_equals(context.inputs, context.job):
        return False
    if _minds_cost(context):
        return round(context.own_bare, 2) <= round(score, 2)
    return context.own_bare <= score * (1 + context.inputs.snapshot.assumptions.equal_share)


def has_better_equals(context: JobContext) -> bool:
    """Whether some free window has less carbon than the choice, by so little that it counts as equal."""
    windows, choice = context.windows, context.choice
    best = context.best
    if choice is None or choice.segments or best is None or choice.is_late or choice.kept or _minds_cost(context):
        return False
    return best[0] < float(windows.scores[windows.row(choice.option), choice.start]) and is_equal(
        context, choice, best[0]
    )


def _minds_cost(context: JobContext) -> bool:
    return context.inputs.demand.goal(context.job) is Goal.COST


def _equal_percent(context: JobContext) -> float:
    return 100 * context.inputs.snapshot.assumptions.equal_share


def _among_equals(context: JobContext) -> str:
    if _minds_cost(context):
        return "of what costs the same to a cent the cleaner, then the earlier is taken"
    return f"within {_equal_percent(context):g} % the cheaper, then the earlier is taken"


_BEST = {
    Goal.CARBON: "The least carbon",
    Goal.COST: "The lowest cost",
    Goal.COMPOSITE: "The least cost and carbon together",
}
"""Of what a job may minimise, the best."""


def piece(context: JobContext, option: int, start: int) -> Segments:
    """The minutes of an unbroken run."""
    return segments_of(context.inputs, context.job, Choice(option, start, 0.0))


def _candidate(
    context: JobContext, option: int, verdict: Verdict, reason: str, message: str, window: Window | None = None
) -> Candidate:
    """A candidate with what is known of its grid now."""
    inputs, place = context.inputs, context.inputs.options.entries[option]
    facts = place.spoke.facts
    price_source = place.spoke.price_sources.get((place.pool.name, place.spot), "") if window else ""
    grid = inputs.carbon[inputs.jobs[context.job].spec.signal]
    row = grid.zones[facts.zone]
    forecast = grid.forecasts[row]
    known: tuple[float | None, str, str, datetime | None] = None, "none", "none", None
    if forecast is not None:
        known = grid.now[row], forecast.source, forecast.link, forecast.observed_at
    return Candidate(facts.name, verdict, reason, message, window, *known, price_source=price_source)
