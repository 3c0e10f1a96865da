"""The spokes that may be among the best for a job in the finished plan: lower bounds tell which need not be weighed."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from carbonfleet.placement.inputs import BoolArray, IntArray
from carbonfleet.placement.search.choice import Choice
from carbonfleet.placement.search.fast_windows import NOWHERE, WindowIndex, WindowSearch
from carbonfleet.placement.search.refusals import JobContext, context_of

MARGIN: Final = 1.001
"""What is weighed beyond the bounds, which are a hair low."""


@dataclass(frozen=True, slots=True)
class Shortlist:
    """A job on the spokes that may be among its best, and the others."""

    context: JobContext
    best: list[Choice | None]
    """Of each spoke in `spokes` the best window, with its score but for the delay."""
    spokes: IntArray
    """By their place in the order of names: all of them, or those that were weighed."""
    open_beside: int
    """Spokes with a free window for the job that were not weighed: none is better than the last of the best."""


def shortlist(index: WindowIndex, job: int, choice: Choice | None, count: int) -> Shortlist:
    """Weigh a job on its own spoke and those that may be among the `count` best for it beside that.

    Branch and bound: what is weighed proves that the bounds of all others lie above. A job whose windows are masked by
    the hour, or that found nothing in time, is weighed on all.
    """
    options = index.inputs.options
    if choice is None or choice.is_late or not index.plain[job] or options.spokes <= count + 1:
        return _weighed(index, job, choice, np.arange(options.spokes), 0)
    search, row = index.near(job)
    bounds = np.minimum.reduceat(search.bare[row], options.first_of_spoke)
    bounds[options.spoke[choice.option]] = -np.inf
    # The best windows score about what the bounds with what a delay must gain say.
    limit = MARGIN * float(
        np.partition(np.minimum.reduceat(search.unhindered[row], options.first_of_spoke), count)[count]
    )
    while True:
        spokes = np.flatnonzero(bounds <= limit)
        found = _weighed(index, job, choice, spokes, 0)
        if (needed := _proven(found, count)) <= limit:
            beside = (bounds > limit) & (bounds < NOWHERE)
            return Shortlist(found.context, found.best, spokes, _open(index, search, row, beside))
        limit = needed


def _weighed(index: WindowIndex, job: int, choice: Choice | None, spokes: IntArray, beside: int) -> Shortlist:
    options = index.inputs.options
    weighed = np.zeros(options.spokes, dtype=np.bool_)
    weighed[spokes] = True
    rows = np.flatnonzero(weighed[options.spoke])
    context = context_of(index.inputs, job, choice, rows)
    return Shortlist(context, _best_windows(context, spokes), spokes, beside)


def _best_windows(context: JobContext, spokes: IntArray) -> list[Choice | None]:
    """For the options of each spoke: the best free unbroken window in time, with its score but for the delay."""
    windows, is_late = context.windows, context.choice is not None and context.choice.is_late
    usable = windows.late & context.free if is_late else context.eligible
    masked = np.where(usable, windows.scores, np.inf)
    rows = np.arange(windows.options.size)
    starts = masked.argmin(axis=1)
    least, bare = masked[rows, starts], windows.bare[rows, starts]
    order = np.lexsort((starts, least, context.inputs.options.spoke[windows.options]))
    of_spoke = context.inputs.options.spoke[windows.options[order]]
    first = order[np.searchsorted(of_spoke, spokes)]
    found = zip(windows.options[first].tolist(), starts[first].tolist(), bare[first].tolist(), strict=True)
    return [
        Choice(*each) if open_ else None for each, open_ in zip(found, (least[first] < np.inf).tolist(), strict=True)
    ]


def _proven(found: Shortlist, count: int) -> float:
    """Up to which bound spokes must be weighed, so that the best are among them, and the best window of all."""
    choice, best = found.context.choice, found.context.best
    own = found.context.inputs.options.spoke[choice.option] if choice is not None else -1
    scores = sorted(
        one.score
        for spoke, one in zip(found.spokes.tolist(), found.best, strict=True)
        if one is not None and spoke != own
    )
    if len(scores) < count or best is None:
        return NOWHERE
    return max(scores[count - 1], best[0])


def _open(index: WindowIndex, search: WindowSearch, row: int, beside: BoolArray) -> int:
    """How many of some spokes have a free window for a job."""
    options = index.inputs.options
    rows = np.flatnonzero(beside[options.spoke])
    return int(np.unique(options.spoke[rows[search.has_window(row, rows)]]).size)
