"""What a decision promises, with its doubt: when the job starts and has finished, what it emits and saves."""

from datetime import timedelta
from typing import Final

import numpy as np

from carbonfleet.amounts import NOTHING, SAME
from carbonfleet.forecast import Forecast, Outcomes, PastForecasts, Shape, outcomes
from carbonfleet.placement.decision import Baseline, Promise, RunLength, Spread, Window
from carbonfleet.placement.hardware import declared_hours
from carbonfleet.placement.inputs import MINUTE, NODES, bell, length_ratios, took_hours
from carbonfleet.placement.search import Choice, JobContext, options_left, prefers_among_equals
from carbonfleet.placement.snapshot import HOUR, FloatArray

RUN_HOURS: Final = np.array([1, 2, 4, 8, 16, 24, 48])
SLACK_HOURS: Final = np.array([0, 1, 2, 4, 6, 8, 12, 16, 20, 24, 36, 48])
"""Of the jobs that this one is compared with: the nearest, so that many jobs share one comparison."""
TAIL: Final = 0.09
"""Where P10 is read, and P90 as far from the other end. Of days as few and alike as those of two months, quantiles lie
a little too close together: the usual correction of n + 1 for some 25 independent days (Vovk et al. 2005)."""
WINDOW_SHARE: Final = 0.8
"""Without earlier forecasts: the error of a window's mean beside the mean error of its hours, which are much alike."""


def promise_of(context: JobContext, choice: Choice, window: Window, baseline: Baseline | None) -> Promise:
    """P10, P50 and P90 of a window's start, finish, grams and saving.

    Each of some errors that plans like this one had, with each of some lengths that such runs took: what then came of
    it, sorted. The grid's errors and the lengths are taken to be independent.
    """
    length = run_length(context, window, choice.option)
    past, doubt = _errors(context, choice, window, baseline), context.inputs.snapshot.assumptions.duration_doubt
    ratio = length_ratios(length.took_hours, length.declared_hours, doubt, NODES)
    shift, error, home_error = (values[:, None] for values in (past.shift_hours, past.error, past.home_error))
    operational = np.maximum(window.operational_grams + error * window.doubt_grams, 0.0)
    grams = (operational + window.embodied_grams) * ratio + window.transfer_grams
    minutes = (window.end - window.start) / MINUTE
    start = _within(context, window, shift * 60)
    saved = None
    if baseline is not None:
        ahead = _home_share_ahead(context, window)
        home = (baseline.grams_co2e + home_error * baseline.doubt_grams * ahead) * ratio
        saved = _spread(np.where(np.isclose(home, grams, rtol=SAME, atol=NOTHING), 0.0, home - grams))
    starts, ends = _spread(start), _spread(start + minutes * ratio)
    return Promise(
        tuple(window.start + minute * MINUTE for minute in map(round, starts)),
        tuple(window.start + minute * MINUTE for minute in map(round, ends)),
        _spread(grams),
        saved,
        length,
    )


def _spread(values: FloatArray) -> Spread:
    """P10, P50 and P90 (Hazen's plotting positions), by selection: values are not sorted."""
    last = values.size - 1
    at = [min(max(share * values.size - 0.5, 0.0), last) for share in (TAIL, 0.5, 1 - TAIL)]
    below = [int(rank) for rank in at]
    ordered = np.partition(values, [*below, *(min(rank + 1, last) for rank in below)], axis=None)
    low, middle, high = (
        float(ordered[rank] + (place - rank) * (ordered[min(rank + 1, last)] - ordered[rank]))
        for rank, place in zip(below, at, strict=True)
    )
    return low, middle, high


def _within(context: JobContext, window: Window, shift_minutes: FloatArray) -> FloatArray:
    """Starts as minutes from the planned one on, none before now, nor after the latest of the job's own will."""
    latest = max(context.inputs.limits[context.job].latest, window.start)
    now = min(context.inputs.now, window.start)
    return np.clip(shift_minutes, (now - window.start) / MINUTE, (latest - window.start) / MINUTE)


def _errors(context: JobContext, choice: Choice, window: Window, baseline: Baseline | None) -> Outcomes:
    """What plans like this one got wrong; without earlier forecasts, of a bell curve as wide as the doubt."""
    inputs = context.inputs
    wait = round(max((window.start - inputs.now) / HOUR, 0.0)) if window.start > inputs.now else 0
    found = None
    if not choice.is_late and not inputs.is_signal_lost(context.job):
        found = _past_outcomes(context, choice, window, baseline, wait)
    if found is not None:
        return found
    none = np.zeros(NODES)
    return Outcomes(none, none, WINDOW_SHARE * bell(NODES), none, np.ones(NODES))


def _past_outcomes(
    context: JobContext, choice: Choice, window: Window, baseline: Baseline | None, wait_hours: int
) -> Outcomes | None:
    """What became of jobs like it in the zones that are open to it. Kept with the forecasts that it stands on."""
    inputs, job = context.inputs, context.job
    is_free = choice.running is None
    slack = max((inputs.limits[job].latest - inputs.now) / HOUR, 0.0) if is_free else 0.0
    run = sum((end - start for start, end in window.segments), timedelta()) / HOUR
    shape = Shape(
        run_hours=_nearest(RUN_HOURS, run),
        slack_hours=_nearest(SLACK_HOURS, slack),
        gain=inputs.limits[job].gain_percent_per_hour / 100,
        equal_share=inputs.snapshot.assumptions.equal_share if prefers_among_equals(inputs, job) else 0.0,
    )
    grid, chosen = inputs.carbon[inputs.jobs[job].spec.signal], int(inputs.options.zone[choice.option])
    rows = {chosen, *(inputs.options.zone[options_left(inputs, job)].tolist() if is_free else ())}
    known = {row: past for row in sorted(rows) if (past := _past(grid.forecasts[row], shape)) is not None}
    if chosen not in known:
        return None
    pasts = list(known.values())
    home = _past(grid.forecasts[grid.zones[baseline.zone]], shape) if baseline is not None else None
    kept = pasts[0].outcomes
    key = tuple(pasts[1:]), None if home is pasts[0] else home, home is None, shape
    if key not in kept:
        kept[key] = outcomes(pasts, home, shape)
    if kept[key] is None:
        return None
    if (key, wait_hours) not in kept:
        kept[key, wait_hours] = kept[key].like(wait_hours)
    like: Outcomes = kept[key, wait_hours]
    return like


def _past(forecast: Forecast | None, shape: Shape) -> PastForecasts | None:
    """A zone's earlier forecasts; one that is known for too few days is left out, and says nothing of the others."""
    past = forecast.past if forecast is not None else None
    return past if past is not None and past.measured.size >= shape.fewest_hours else None


def _nearest(among: FloatArray, value: float) -> int:
    return int(among[np.abs(among - value).argmin()])


def run_length(context: JobContext, window: Window, option: int) -> RunLength:
    """How long the whole run takes: as declared, and as runs of the same profile on the same GPUs took."""
    spec, pool = context.inputs.jobs[context.job].spec, context.inputs.options.entries[option].pool
    took = took_hours(context.inputs.snapshot.run_lengths, spec, pool, window.gpus)
    return RunLength(declared_hours(spec.resources, pool), took)


def _home_share_ahead(context: JobContext, window: Window) -> float:
    """The share of the baseline's run, begun when the job was submitted, whose hours are not measured yet."""
    waited = context.inputs.now - context.inputs.jobs[context.job].submitted_at
    length = sum((end - start for start, end in window.segments), timedelta())
    return min(max(1 - waited / length, 0.0), 1.0) if length else 0.0
