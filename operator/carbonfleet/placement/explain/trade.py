"""What a choice trades: cost against carbon, and at which carbon price another free window would be chosen."""

from typing import Final

import numpy as np

from carbonfleet.placement import phrase
from carbonfleet.placement.decision import Decision, Window
from carbonfleet.placement.explain.candidates import piece
from carbonfleet.placement.inputs import GRAMS_PER_TONNE, BoolArray, IntArray
from carbonfleet.placement.plan import Plan
from carbonfleet.placement.search import (
    CENT,
    Choice,
    JobContext,
    WindowFigures,
    WindowIndex,
    context_of,
    near,
    window_at,
)
from carbonfleet.placement.snapshot import FloatArray

MOST_ROWS: Final = 6
CHUNK: Final = 8
"""Options that are weighed first in search of a turn."""


Turn = tuple[float, int, int]
"""A price of carbon in USD a tonne, and the option and start of the window that is the better one beyond it."""


def trade(index: WindowIndex, context: JobContext, choice: Choice, window: Window) -> str:
    """The price of carbon below or, for the cheapest choice, above which it would go elsewhere, and where.

    Of two windows of which one is dearer by d USD and cleaner by g grams, the cleaner is the better one from d / g on.
    Only windows that the job's cost tolerance allows count. Empty where no price changes the choice, and for a job that
    is late or under way.
    """
    if choice.is_late or choice.running is not None:
        return ""
    for side, word in ((1, "below"), (-1, "above")):
        if (turn := _first_turn(index, context, window, side)) is not None:
            usd_per_tonne, option, start = turn
            other = window_at(context.inputs, context.job, option, piece(context, option, start))
            return _said(window, other, word, usd_per_tonne)
    return ""


def _first_turn(index: WindowIndex, context: JobContext, window: Window, side: int) -> Turn | None:
    """The first turn as the price falls, among cheaper windows (side 1), or as it rises, among dearer ones (-1).

    Options that were not weighed are in the order of what they can bring at best, until none can bring more.
    """
    figures = context.windows.figures
    best = _turn(figures, context.eligible, window, side)
    if figures.options.size == len(context.inputs.options):
        return best
    search, row = near(index, context.job)
    options, most = _at_best(index, context, window, side)
    begin, end = 0, CHUNK
    while begin < options.size and (best is None or most[begin] >= side * best[0]):
        some = np.sort(options[begin:end])
        windows = WindowFigures.of(context.inputs, context.job, some)
        found = _turn(windows, search.open_windows(row, some), window, side)
        best = min(filter(None, (best, found)), key=lambda turn: (-side * turn[0], *turn[1:]), default=None)
        begin, end = end, 3 * end
    return best


def _turn(figures: WindowFigures, eligible: BoolArray, window: Window, side: int) -> Turn | None:
    """The first turn among the eligible windows of some options."""
    least, most = window.cost_usd - CENT, window.cost_usd + CENT
    usd = figures.usd if figures.inputs.prices.any else figures.usd[:, :1]
    differs = usd < least if side > 0 else usd > most
    rows = np.flatnonzero(differs.any(axis=1))
    more = side * (figures.grams[rows] - window.grams_co2e) if rows.size else np.zeros((0, 1))
    wins = eligible[rows] & differs[rows] & (more > 0)
    if not wins.any():
        return None
    price = np.divide(side * (window.cost_usd - usd[rows]), more, out=np.full(more.shape, np.inf), where=wins)
    price[~wins] = -side * np.inf
    price *= GRAMS_PER_TONNE
    row, start = divmod(int((side * price).argmax()), price.shape[1])
    return float(price[row, start]), int(figures.options[rows[row]]), start


def _at_best(index: WindowIndex, context: JobContext, window: Window, side: int) -> tuple[IntArray, FloatArray]:
    """The options that were not weighed and on which a turn may be, best first, and their turns at best, by `side`."""
    usd = context.inputs.demand.of(context.job).usd
    search, row = near(index, context.job)
    left = np.isfinite(search.unhindered[row]) & (
        usd < window.cost_usd - CENT if side > 0 else usd > window.cost_usd + CENT
    )
    left[context.windows.options] = False
    options = np.flatnonzero(left)
    if not options.size:
        return options, np.zeros(0)
    saved, more = (
        side * (window.cost_usd - usd[options]),
        side * (_least_grams(index, context.job, options) - window.grams_co2e),
    )
    most = side * np.divide(saved, more, out=np.full(more.shape, np.inf), where=more > 0) * GRAMS_PER_TONNE
    order = np.argsort(-most)
    order = order[most[order] > -np.inf]
    return options[order], most[order]


def _least_grams(index: WindowIndex, job: int, options: IntArray) -> FloatArray:
    """Lower bounds of what a plain job emits on options, whenever it starts; shape as these."""
    inputs = index.inputs
    signal, terms, line = inputs.jobs[job].spec.signal, inputs.demand.of(job), inputs.line
    grid, zone = inputs.carbon[signal], inputs.options.zone[options]
    whole, part = np.divmod(terms.minutes[options], line.slot_minutes)
    least = index.bounds(signal, None).until(zone, whole, part, np.full(options.size, line.starts - 1))
    end = np.minimum(line.now_minute + terms.minutes[options], line.minutes)
    least = np.minimum(least, grid.total[zone, end] - grid.total[zone, line.now_minute])
    per_total, fixed = terms.operational + terms.transfer, terms.transfer_fixed + terms.embodied
    grams: FloatArray = least * per_total[options] + fixed[options]
    return grams


def frontier(plan: Plan, decision: Decision) -> tuple[Window, ...]:
    """The free unbroken windows of which none is both cheaper and cleaner, from the cheapest to the cleanest.

    At most MOST_ROWS of them, the ends among them. Costs count to the cent, and carbon to what counts as equal.
    Empty for a job that can't be placed at all.
    """
    if plan.index is None or decision.uid in plan.refused:
        return ()
    inputs = plan.index.inputs
    context = context_of(inputs, *plan.choices[decision.uid])
    figures = context.windows.figures
    windows = np.flatnonzero(context.usable)
    usd, grams = np.round(figures.usd.ravel()[windows], 2), figures.grams.ravel()[windows]
    rows: list[int] = []
    least = np.inf
    for row in np.lexsort((windows % inputs.line.starts, grams, usd)).tolist():
        if grams[row] < least * (1 - inputs.snapshot.assumptions.equal_share):
            rows.append(int(windows[row]))
            least = grams[row]
    shown = sorted({round(at) for at in np.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS))})
    return tuple(_window(context, rows[at]) for at in shown)


def _window(context: JobContext, window: int) -> Window:
    option, start = divmod(window, context.inputs.line.starts)
    return window_at(context.inputs, context.job, option, piece(context, option, start))


def _said(chosen: Window, other: Window, side: str, usd_per_tonne: float) -> str:
    where = f"{other.cluster}/{other.pool}"
    when = f", {phrase.time(other.start)}," if other.start != chosen.start else ""
    usd, grams = other.cost_usd - chosen.cost_usd, other.grams_co2e - chosen.grams_co2e
    less, more = f"{abs(usd):,.2f} USD", phrase.grams(abs(grams))
    does = f"cost {less} less and emit {more} more" if usd < 0 else f"emit {more} less and cost {less} more"
    price = f"{phrase.number(usd_per_tonne)} USD a tonne of carbon"
    return f"{where}{when} would {does}: the better choice {side} {price}."
