"""The score of every window of one job, and which windows are open to it: arrays over (option, start).

The limits that a job sets itself stand in `limits.py`. Repair and explanations take their windows from here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from carbonfleet.api.job import SignalLossAction
from carbonfleet.placement.inputs import MOST, BoolArray, IntArray, Runs, Timeline
from carbonfleet.placement.plan_inputs import PlanInputs
from carbonfleet.placement.search.limits import LIMITS, THRESHOLD, WindowFigures
from carbonfleet.placement.snapshot import FloatArray

CENT: Final = 0.01
"""USD: the least difference in cost that counts."""


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of one job on some options. Arrays of shape (options, starts) unless said otherwise."""

    options: IntArray
    """Ascending, shape (options,): what the rows stand for."""
    scores: FloatArray
    """USD, whether open or not, with what the delay must gain."""
    bare: FloatArray
    """USD, without that."""
    delay: "Delay"
    """What the delay must gain, shape (options,)."""
    first: int
    """The start from which a delay counts."""
    figures: WindowFigures
    open: BoolArray
    """Within rules, times, thresholds and the job's own limits; capacity not looked at."""
    above: BoolArray
    """The same but for the threshold: none once the job has given that up, for then these are open."""
    late: BoolArray
    """The same beyond the latest start, for when nothing was free before it."""
    spans: IntArray
    """How many slots a window touches that begins at once, and later; shape (2, options)."""

    @cached_property
    def span(self) -> IntArray:
        """How many slots each window touches."""
        span = np.repeat(self.spans[1][:, None], self.scores.shape[1], axis=1)
        span[:, 0] = self.spans[0]
        return span

    def fit(self, runs: Runs) -> BoolArray:
        """Those for which so many slots are free from each slot on; `runs` has shape (options, slots)."""
        fit: BoolArray = runs[:, : self.scores.shape[1]] >= self.spans[1][:, None]
        fit[:, 0] = runs[:, 0] >= self.spans[0]
        return fit

    def row(self, option: int) -> int:
        """The row of an option that is among them."""
        return int(self.options.searchsorted(option))


def windows_of(inputs: PlanInputs, job: int, options: IntArray | None = None) -> Windows:
    """Weigh the windows of a job on some options, in ascending order; on all, if none are given."""
    options = np.arange(len(inputs.options)) if options is None else options
    line, terms, zone = inputs.line, inputs.demand.of(job), inputs.options.zone[options]
    grid = inputs.carbon[inputs.jobs[job].spec.signal]
    figures, slope = WindowFigures.of(inputs, job, options), terms.slope[options, None]
    minutes = figures.minutes
    # A start at once is weighed from the begin of its slot, so that choices hold for the whole slot.
    parts = [terms.fixed[options, None]]
    if inputs.prices.any:
        parts.append(terms.money_weight * (figures.usd_from_slots - terms.usd[options, None]))
    longest = line.minutes - (line.starts - 1) * line.slot_minutes
    totals = grid.weighed_windows.mean_over(zone, np.minimum(terms.lengths[:, options], longest))
    first = min(inputs.earliest_start(job), line.starts - 1)
    bare = _scores(slope, totals, parts)
    delay = delay_of(bare[:, first], slope[:, 0], grid.unit[zone], inputs.gain_per_start(job))
    scores = bare
    if delay.per_start.any():
        later = np.maximum(np.arange(line.starts) - first, 0)
        totals += delay.units_at(later)
        scores = _scores(slope, totals, parts)
        if delay.usd.any():
            scores += delay.usd_at(later)
    allowed: BoolArray = options_left(inputs, job)[options, None]
    for limit in LIMITS:
        if limit is not THRESHOLD:
            allowed = allowed & limit.mask(inputs, job, figures)
    timely = allowed & _on_time(inputs, job, options)
    below = THRESHOLD.mask(inputs, job, figures)
    starts = np.arange(line.starts)
    late = (starts > inputs.latest_start(job)) & (starts <= inputs.last_look(job)) & allowed
    if inputs.waits_for_signal(job):
        late[:] = False
    at_once = -(-(figures.end_at_once + line.next_minute - line.now_minute) // line.slot_minutes)
    spans = np.array([at_once, -(-minutes // line.slot_minutes)])
    return Windows(options, scores, bare, delay, first, figures, timely & below, timely & ~below, late, spans)


def _scores(slope: FloatArray, totals: FloatArray, parts: Iterable[FloatArray]) -> FloatArray:
    """Scores from carbon totals, shape (options, starts), and the other parts: what is fixed, what hours add."""
    scores: FloatArray = slope * totals
    for part in parts:
        scores += part
    return scores


@dataclass(frozen=True, slots=True, eq=False)
class Delay:
    """What each start of delay must gain, as part of the score: arrays of shape (options,) or (jobs, options).

    A wait is worth it where the window saves more than that. It is a share of what a start at once on the same option
    would score, in whole units of carbon total, so that it adds up exactly; in USD where a score knows no carbon.
    """

    units: IntArray
    unit: FloatArray
    usd: FloatArray
    per_start: FloatArray
    """USD for each start of delay, one or the other."""

    def units_at(self, later: IntArray) -> FloatArray:
        """In carbon total, for delays of so many starts, shape (..., starts)."""
        found: FloatArray = np.minimum(self.units[..., None] * later, MOST) * self.unit[..., None]
        return found

    def usd_at(self, later: IntArray) -> FloatArray:
        """In USD, where a score knows no carbon."""
        found: FloatArray = self.usd[..., None] * later
        return found


def delay_of(at_once: FloatArray, slope: FloatArray, unit: FloatArray, gain: FloatArray | float) -> Delay:
    """The delay's part of scores, from those of the first start. `gain` is the share of it for each start of delay."""
    usd, per_unit = np.abs(at_once) * gain, slope * unit
    units = np.divide(usd, per_unit, out=np.zeros(usd.shape), where=per_unit > 0)
    # Rounded up, so that it is never less than the bounds take it for.
    units = np.minimum(np.ceil(units), MOST)
    alone = np.where(per_unit > 0, 0.0, usd)
    return Delay(units.astype(np.int64), np.broadcast_to(unit, usd.shape), alone, units * per_unit + alone)


def options_left(inputs: PlanInputs, job: int) -> BoolArray:
    """Shape (options,): within the rules, the grid known (or nowhere known), and not too long a run."""
    admitted: BoolArray = inputs.admitted[job] & fits_horizon(inputs, job)
    known = inputs.known[inputs.jobs[job].spec.signal]
    return admitted if inputs.is_signal_lost(job) else admitted & known


def fits_horizon(inputs: PlanInputs, job: int) -> BoolArray:
    """Shape (options,): the run is short enough to be weighed."""
    longest = inputs.snapshot.assumptions.longest_run.total_seconds() / 60
    short: BoolArray = inputs.demand.of(job).minutes <= longest
    return short


def _on_time(inputs: PlanInputs, job: int, options: IntArray) -> BoolArray:
    """Starts within the job's delay; shape (options or 1, starts)."""
    starts = np.arange(inputs.line.starts)
    last = min(max(inputs.latest_start(job), inputs.earliest_start(job)), inputs.line.starts - 1)
    if inputs.is_signal_lost(job):
        return _without_signal(inputs, job, last)[options]
    if inputs.gives_up_threshold(job) and inputs.limits[job].waits_for_threshold:
        return np.asarray(starts == _last_start(inputs, job, last)[options, None])
    return (starts <= last)[None, :]


def _last_start(inputs: PlanInputs, job: int, last: int) -> IntArray:
    """The start at which a wait for data ends: the delay is used up, or the deadline presses."""
    line = inputs.line
    if inputs.limits[job].deadline is None:
        return np.full(len(inputs.options), last)
    presses = (inputs.deadline_minute(job) - inputs.demand.of(job).minutes) // line.slot_minutes
    starts: IntArray = np.clip(np.minimum(presses, last), inputs.earliest_start(job), last)
    return starts


def _without_signal(inputs: PlanInputs, job: int, last: int) -> BoolArray:
    """The job's own rule for when nothing is known of the grid."""
    starts = np.arange(inputs.line.starts)
    action, hour = inputs.signal_rule(job), inputs.jobs[job].spec.schedule.on_signal_loss.local_hour
    chosen = np.zeros((len(inputs.options), starts.size), dtype=np.bool_)
    if action is SignalLossAction.NOW:
        chosen[:, : last + 1] = True
    elif action is SignalLossAction.LATEST_START:
        chosen[np.arange(len(inputs.options)), _last_start(inputs, job, last)] = True
    elif action is SignalLossAction.LOCAL_HOUR:
        for row, option in enumerate(inputs.options.entries):
            at = minutes_at_local_hour(inputs.line, option.spoke.facts.time_zone, hour)
            first = next(
                (s for m in at if inputs.earliest_start(job) <= (s := inputs.line.start_at_or_after(m))),
                last,
            )
            chosen[row, min(first, last)] = True
    return chosen


def minutes_at_local_hour(line: Timeline, time_zone: str, hour: int) -> Iterator[int]:
    """The minutes at which the local clock strikes `hour`, or is already within it now, ascending."""
    now = line.moment(line.now_minute)
    local = now.astimezone(ZoneInfo(time_zone))
    if local.hour == hour:
        yield line.now_minute
    for day in range(line.minutes // 1440 + 2):
        strike = (local + timedelta(days=day)).replace(hour=hour, minute=0, second=0, microsecond=0)
        minute = line.minute_after(strike.astimezone(now.tzinfo))
        if minute > line.now_minute:
            yield minute


def cost_ceiling(inputs: PlanInputs, job: int, usd: FloatArray, usable: BoolArray) -> float:
    """The most that a job's cost tolerance allows beside the cheapest usable window; infinite where it has none."""
    if inputs.jobs[job].spec.objective.cost_tolerance_percent is None:
        return float("inf")
    return tolerated_usd(inputs, job, float(usd.min(where=usable, initial=np.inf)))


def tolerated_usd(inputs: PlanInputs, job: int, cheapest_usd: float) -> float:
    """The most that a job's cost tolerance allows beside the cheapest way; infinite where it has none."""
    percent = inputs.jobs[job].spec.objective.cost_tolerance_percent
    return float("inf") if percent is None else cheapest_usd * (1 + percent / 100) + CENT


def first_usable(usable: BoolArray) -> int:
    """The first start that is usable on any option; -1 where none is."""
    starts = usable.any(axis=0)
    return int(starts.argmax()) if starts.any() else -1


def least(scores: FloatArray, usable: BoolArray) -> tuple[float, int, int] | None:
    """Score, start and option of the best usable window: of equal ones the earliest, then the first option."""
    if not usable.any():
        return None
    masked = np.where(usable, scores, np.inf)
    start = int(masked.min(axis=0).argmin())
    option = int(masked[:, start].argmin())
    return float(masked[option, start]), start, option
