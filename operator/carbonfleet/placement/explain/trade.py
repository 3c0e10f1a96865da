"""What a choice trades: cost against carbon, and at which carbon price another free window would be chosen."""

from typing import Final

import numpy as np

from carbonfleet.placement import phrase
from carbonfleet.placement.decision import Decision, Window
from carbonfleet.placement.explain.candidates import piece
from carbonfleet.placement.inputs import GRAMS_PER_TONNE
from carbonfleet.placement.plan import Plan
from carbonfleet.placement.search import CENT, Choice, JobContext, context_of, window_at

MOST_ROWS: Final = 6


def trade(context: JobContext, choice: Choice, window: Window) -> str:
    """The price of carbon below or, for the cheapest choice, above which it would go elsewhere, and where.

    Of two windows of which one is dearer by d USD and cleaner by g grams, the cleaner is the better one from d / g on.
    Only windows that the job's cost tolerance allows count. Empty where no price changes the choice, and for a job that
    is late or under way.
    """
    if choice.is_late or choice.running is not None:
        return ""
    figures = context.windows.figures
    cheaper = context.eligible & (figures.usd < window.cost_usd - CENT) & (figures.grams > window.grams_co2e)
    cleaner = context.eligible & (figures.usd > window.cost_usd + CENT) & (figures.grams < window.grams_co2e)
    with np.errstate(divide="ignore", invalid="ignore"):
        price = (window.cost_usd - figures.usd) / (figures.grams - window.grams_co2e) * GRAMS_PER_TONNE
    below = np.where(cheaper, price, -np.inf)
    above = np.where(cleaner, price, np.inf)
    if cheaper.any():
        return _at(context, window, "below", int(below.argmax()), float(below.max()))
    return _at(context, window, "above", int(above.argmin()), float(above.min())) if cleaner.any() else ""


def frontier(plan: Plan, decision: Decision) -> tuple[Window, ...]:
    """The free unbroken windows of which none is both cheaper and cleaner, from the cheapest to the cleanest.

    At most MOST_ROWS of them, the ends among them. Costs count to the cent, and carbon to what counts as equal.
    Empty for a job that can't be placed at all.
    """
    if plan.inputs is None or decision.uid in plan.refused:
        return ()
    context = context_of(plan.inputs, *plan.choices[decision.uid])
    figures = context.windows.figures
    windows = np.flatnonzero(context.windows.open & context.free)
    usd, grams = np.round(figures.usd.ravel()[windows], 2), figures.grams.ravel()[windows]
    rows: list[int] = []
    least = np.inf
    for row in np.lexsort((windows % plan.inputs.line.starts, grams, usd)).tolist():
        if grams[row] < least * (1 - plan.inputs.snapshot.assumptions.equal_share):
            rows.append(int(windows[row]))
            least = grams[row]
    shown = sorted({round(at) for at in np.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS))})
    return tuple(_window(context, rows[at]) for at in shown)


def _window(context: JobContext, window: int) -> Window:
    option, start = divmod(window, context.inputs.line.starts)
    return window_at(context.inputs, context.job, option, piece(context, option, start))


def _at(context: JobContext, chosen: Window, side: str, window: int, usd_per_tonne: float) -> str:
    other = _window(context, window)
    where = f"{other.cluster}/{other.pool}"
    when = f", {phrase.time(other.start)}," if other.start != chosen.start else ""
    usd, grams = other.cost_usd - chosen.cost_usd, other.grams_co2e - chosen.grams_co2e
    less, more = f"{abs(usd):,.2f} USD", phrase.grams(abs(grams))
    does = f"cost {less} less and emit {more} more" if usd < 0 else f"emit {more} less and cost {less} more"
    price = f"{phrase.number(usd_per_tonne)} USD a tonne of carbon"
    return f"{where}{when} would {does}: the better choice {side} {price}."
