"""The score of every window of one job, and which windows are open to it: arrays over (lane, start)."""

from dataclasses import dataclass

import numpy as np

from carbonfleet.api.job import SignalLossAction
from carbonfleet.api.signal import SignalKind
from carbonfleet.placement.grid import RESOLUTION, IntArray, Timeline
from carbonfleet.placement.localtime import minutes_at_local_hour
from carbonfleet.placement.problem import PRICE_RESOLUTION, Problem
from carbonfleet.placement.rules import BoolArray
from carbonfleet.placement.snapshot import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """All windows of one job. Arrays of shape (lanes, starts) unless said otherwise."""

    scores: FloatArray
    """USD, whether open or not."""
    grams: FloatArray
    usd: FloatArray
    open: BoolArray
    """Within rules, times, thresholds and the job's own limits; capacity not looked at."""
    above: BoolArray
    """The same but for the threshold: none once the job has given that up, for then these are open."""
    late: BoolArray
    """The same beyond the latest start, for when nothing was free before it."""
    span: IntArray
    """How many slots a window touches."""


def windows_of(problem: Problem, job: int) -> Windows:
    """Weigh all windows of a job."""
    line, terms, lanes = problem.line, problem.demand.of(job), problem.lanes
    grid = problem.carbon[problem.jobs[job].spec.signal]
    minutes = np.minimum(terms.minutes, line.minutes - (line.starts - 1) * line.slot_minutes)
    # A start at once is weighed from the begin of its slot, so that choices hold for the whole slot.
    usd = _usd(problem, job, minutes)
    scores = terms.slope[:, None] * totals_of(grid.weighed, lanes.zone, minutes, line)
    scores += terms.fixed[:, None]
    scores += terms.money_weight * (usd - terms.usd[:, None])
    # Limits bind what really comes of a start now.
    at_once = np.minimum(line.now_minute + minutes, line.minutes)
    grams = totals_of(grid.total, lanes.zone, minutes, line)
    grams[:, 0] = grid.total[lanes.zone, at_once] - grid.total[lanes.zone, line.now_minute]
    grams *= (terms.operational + terms.transfer)[:, None]
    grams += (terms.transfer_fixed + terms.embodied)[:, None]
    _price_at_once(problem, job, at_once, usd)
    allowed = _allowed(problem, job, usd, grams)
    on_time, above = _on_time(problem, job)
    starts = np.arange(line.starts)
    late = (starts > problem.latest_start(job)) & (starts <= problem.last_look(job))
    if _waits_for_signal(problem, job):
        late[:] = False
    span = np.repeat(-(-minutes // line.slot_minutes)[:, None], line.starts, axis=1)
    span[:, 0] = -(-(at_once + line.next_minute - line.now_minute) // line.slot_minutes)
    return Windows(scores, grams, usd, allowed & on_time, allowed & above, allowed & late, span)


def totals_of(total: FloatArray, rows: IntArray, minutes: IntArray, line: Timeline) -> FloatArray:
    """What running totals grow by over the windows of all starts, each from the begin of its slot.

    `minutes` has the shape (lanes,) of `rows`; the result has shape (lanes, starts).
    """
    slot, last = line.slot_minutes, (line.starts - 1) * line.slot_minutes + 1
    found = np.empty((rows.size, line.starts))
    for length in np.unique(minutes).tolist():
        alike = np.flatnonzero(minutes == length)
        found[alike] = total[rows[alike], length : length + last : slot]
    found -= total[rows, 0:last:slot]
    return found


def _usd(problem: Problem, job: int, minutes: IntArray) -> FloatArray:
    """What windows cost, by the hour where prices depend on it; shape (lanes, starts)."""
    terms = problem.demand.of(job)
    usd = np.repeat(terms.usd[:, None], problem.line.starts, axis=1)
    if problem.price_total.size:
        total = totals_of(problem.price_total, np.arange(minutes.size), minutes, problem.line)
        dear = total * PRICE_RESOLUTION * terms.gpus[:, None]
        usd = np.where(problem.has_hours[:, None], usd - _flat_usd(problem, job)[:, None] + dear, usd)
    return usd


def _price_at_once(problem: Problem, job: int, end: IntArray, usd: FloatArray) -> None:
    """Set what a start now costs in its true minutes; `end` has shape (lanes,)."""
    if problem.price_total.size:
        terms, lanes = problem.demand.of(job), np.arange(end.size)
        total = problem.price_total[lanes, end] - problem.price_total[:, problem.line.now_minute]
        dear = terms.usd - _flat_usd(problem, job) + total * PRICE_RESOLUTION * terms.gpus
        usd[:, 0] = np.where(problem.has_hours, dear, terms.usd)


def _flat_usd(problem: Problem, job: int) -> FloatArray:
    """The part of the cost that hourly prices stand in for."""
    hours = problem.demand.of(job).minutes / 60.0
    usd: FloatArray = problem.demand.of(job).gpus * hours * problem.lanes.usd_per_gpu_hour
    return usd


def lanes_left(problem: Problem, job: int) -> BoolArray:
    """Shape (lanes,): within the rules, the grid known (or nowhere known), and not too long a run."""
    admitted: BoolArray = problem.admitted[job] & fits_horizon(problem, job)
    known = problem.known[problem.jobs[job].spec.signal]
    return admitted if is_signal_lost(problem, job) else admitted & known


def fits_horizon(problem: Problem, job: int) -> BoolArray:
    """Shape (lanes,): the run is short enough to be weighed."""
    longest = problem.snapshot.assumptions.longest_run.total_seconds() / 60
    short: BoolArray = problem.demand.of(job).minutes <= longest
    return short


def is_signal_lost(problem: Problem, job: int) -> bool:
    """Whether the grid is known on none of the lanes that the rules leave."""
    return bool(problem.lost[job])


def _allowed(problem: Problem, job: int, usd: FloatArray, grams: FloatArray) -> BoolArray:
    """Lanes that are left, from the earliest start on, ended by the deadline, within the job's limits."""
    line, begin = problem.line, problem.line.start_minutes
    objective = problem.jobs[job].spec.objective
    ends = begin[None, :] + problem.demand.of(job).minutes[:, None]
    ends[:, 0] += line.next_minute - line.now_minute
    allowed: BoolArray = lanes_left(problem, job)[:, None] & (ends <= problem.deadline_minute(job))
    allowed &= (np.arange(line.starts) >= problem.earliest_start(job))[None, :]
    if objective.max_cost_usd is not None:
        allowed &= usd <= objective.max_cost_usd
    if objective.carbon_budget_kg is not None:
        allowed &= grams <= objective.carbon_budget_kg * 1000
    return allowed


def _on_time(problem: Problem, job: int) -> tuple[BoolArray, BoolArray]:
    """Starts within the job's delay, by its threshold: those that it may take, and those above."""
    starts = np.arange(problem.line.starts)
    last = min(max(problem.latest_start(job), problem.earliest_start(job)), problem.line.starts - 1)
    never = np.zeros((len(problem.lanes), starts.size), dtype=np.bool_)
    if is_signal_lost(problem, job):
        return _without_signal(problem, job, last), never
    open_starts = np.broadcast_to(starts <= last, never.shape)
    if not problem.limits[job].is_gated or problem.gives_up_threshold(job):
        return open_starts, never
    clean = intensity_at_starts(problem, problem.jobs[job].spec.signal) <= gate_of(problem, job)[:, None]
    return open_starts & clean, open_starts & ~clean


def _last_start(problem: Problem, job: int, last: int) -> IntArray:
    """The start at which a wait for data ends: the delay is used up, or the deadline presses."""
    line = problem.line
    if problem.limits[job].deadline is None:
        return np.full(len(problem.lanes), last)
    presses = (problem.deadline_minute(job) - problem.demand.of(job).minutes) // line.slot_minutes
    starts: IntArray = np.clip(np.minimum(presses, last), problem.earliest_start(job), last)
    return starts


def intensity_at_starts(problem: Problem, signal: SignalKind) -> FloatArray:
    """g/kWh in the minute of each start, shape (lanes, starts)."""
    if signal not in problem.intensity:
        total, begin = problem.carbon[signal].total, problem.line.start_minutes
        problem.intensity[signal] = ((total[:, begin + 1] - total[:, begin]) * RESOLUTION)[problem.lanes.zone]
    return problem.intensity[signal]


def gate_of(problem: Problem, job: int) -> FloatArray:
    """A job's threshold on each lane, in g/kWh: its own figure, or a percentile of the zone's history."""
    limits, signal = problem.limits[job], problem.jobs[job].spec.signal
    gate = np.full(len(problem.lanes), np.inf)
    if limits.gate_grams_per_kwh is not None:
        gate[:] = limits.gate_grams_per_kwh
    if limits.gate_percentile is not None:
        key = signal, limits.gate_percentile
        if key not in problem.gates:
            problem.gates[key] = _percentiles(problem, *key)
        gate = np.minimum(gate, problem.gates[key])
    return gate


def _percentiles(problem: Problem, signal: SignalKind, percent: float) -> FloatArray:
    """By lane; a zone without history is measured by its own forecast."""
    by_zone = np.full(len(problem.lanes.zones), np.inf)
    for row, zone in enumerate(problem.lanes.zones):
        history = problem.snapshot.histories.get((zone, signal))
        forecast = problem.carbon[signal].forecasts[row]
        if history is not None and history.grams_per_kwh:
            by_zone[row] = np.percentile(history.grams_per_kwh, percent)
        elif forecast is not None:
            by_zone[row] = np.percentile(forecast.grams_per_kwh, percent)
    return by_zone[problem.lanes.zone]


def _waits_for_signal(problem: Problem, job: int) -> bool:
    """Whether it asked to wait, however long, while nothing is known of the grid."""
    return problem.jobs[job].spec.schedule.on_signal_loss.action is SignalLossAction.WAIT and is_signal_lost(
        problem, job
    )


def _without_signal(problem: Problem, job: int, last: int) -> BoolArray:
    """The job's own rule for when nothing is known of the grid."""
    starts = np.arange(problem.line.starts)
    rule = problem.jobs[job].spec.schedule.on_signal_loss
    chosen = np.zeros((len(problem.lanes), starts.size), dtype=np.bool_)
    if rule.action is SignalLossAction.NOW:
        chosen[:, : last + 1] = True
    elif rule.action is SignalLossAction.LATEST_START:
        chosen[np.arange(len(problem.lanes)), _last_start(problem, job, last)] = True
    elif rule.action is SignalLossAction.LOCAL_HOUR:
        for row, lane in enumerate(problem.lanes.lanes):
            at = minutes_at_local_hour(problem.line, lane.spoke.facts.time_zone, rule.local_hour)
            first = next(
                (s for m in at if problem.earliest_start(job) <= (s := problem.line.start_at_or_after(m))),
                last,
            )
            chosen[row, min(first, last)] = True
    return chosen
