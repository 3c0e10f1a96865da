"""The exact figures of one window, and of its baseline."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from carbonfleet.placement.decision import Baseline, Window
from carbonfleet.placement.demand import Terms
from carbonfleet.placement.grid import EPOCH, MINUTE, RESOLUTION, IntArray, Segments, Timeline
from carbonfleet.placement.problem import PRICE_RESOLUTION, Problem
from carbonfleet.placement.snapshot import HOUR, FloatArray


def window_at(problem: Problem, job: int, lane: int, segments: Segments) -> Window:
    """The figures of a run in the given segments. Energy, overhead and price go by their total length."""
    terms, line = problem.demand.of(job), problem.line
    grid = problem.carbon[problem.jobs[job].spec.signal]
    zone = int(problem.lanes.zone[lane])
    minutes = sum(end - begin for begin, end in segments)
    share = minutes / float(terms.minutes[lane])
    carbon_total = _total(grid.total[zone], segments)
    operational = float(terms.operational[lane]) * carbon_total
    transfer = float(terms.transfer[lane]) * carbon_total / share + float(terms.transfer_fixed[lane])
    embodied = float(terms.embodied[lane]) * share
    cost = _cost(problem, job, lane, segments, share)
    grams = operational + transfer + embodied
    energy = float(terms.energy_kwh[lane]) * share
    return Window(
        cluster=problem.lanes.lanes[lane].cluster,
        pool=problem.lanes.lanes[lane].pool.name,
        gpus=int(terms.gpus[lane]),
        spot=problem.lanes.lanes[lane].spot,
        segments=tuple(_times(line, begin, end) for begin, end in segments),
        energy_kwh=energy,
        grams_co2e=grams,
        operational_grams=operational,
        transfer_grams=transfer,
        embodied_grams=embodied,
        cost_usd=cost,
        score_usd=float(terms.money_weight) * cost + float(terms.carbon_weight) * grams,
        grams_per_kwh=carbon_total / minutes * RESOLUTION,
        doubt_grams=float(terms.operational[lane]) * _total(grid.doubt[zone], segments),
    )


def windows_at(problem: Problem, jobs: Sequence[int], lanes: Sequence[int], starts: Sequence[int]) -> list[Window]:
    """The figures of uninterrupted runs, all at once; equal to `window_at` for each."""
    if not jobs:
        return []
    job, lane, line = np.array(jobs), np.array(lanes), problem.line
    terms = problem.demand.at(job, lane)
    begin = line.start_minutes[np.array(starts)]
    minutes = terms.minutes
    end = np.minimum(begin + minutes, line.minutes)
    total, doubt = _totals(problem, job, lane, begin, end)
    operational = terms.operational * total
    transfer = terms.transfer * total + terms.transfer_fixed
    embodied = terms.embodied
    cost = _costs(problem, terms, lane, begin, end)
    grams = operational + transfer + embodied
    score = terms.money_weight * cost + terms.carbon_weight * grams
    columns = (
        *(terms.energy_kwh, grams, operational, transfer, embodied, cost, score),
        *(total / minutes * RESOLUTION, terms.operational * doubt),
    )
    places = [(found.cluster, found.pool.name, found.spot) for found in problem.lanes.lanes]
    heads = zip(lanes, terms.gpus.tolist(), begin.tolist(), minutes.tolist(), strict=True)
    figures = zip(*(column.tolist() for column in columns), strict=True)
    return [
        Window(*places[lane][:2], gpus, places[lane][2], (_times(line, at, at + length),), *numbers)
        for (lane, gpus, at, length), numbers in zip(heads, figures, strict=True)
    ]


def _totals(
    problem: Problem, job: IntArray, lane: IntArray, begin: IntArray, end: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Carbon totals and their doubt, each job by its own signal."""
    total, doubt = np.empty(job.size), np.empty(job.size)
    zone = problem.lanes.zone[lane]
    signals = np.array([problem.jobs[row].spec.signal for row in job])
    for signal, grid in problem.carbon.items():
        rows = np.flatnonzero(signals == signal)
        z, b, e = zone[rows], begin[rows], end[rows]
        total[rows] = grid.total[z, e] - grid.total[z, b]
        doubt[rows] = grid.doubt[z, e] - grid.doubt[z, b]
    return total, doubt


def _costs(problem: Problem, terms: Terms, lane: IntArray, begin: IntArray, end: IntArray) -> FloatArray:
    lanes, usd = problem.lanes, terms.usd
    flat = terms.gpus * terms.minutes / 60 * lanes.usd_per_gpu_hour[lane]
    cost: FloatArray = usd - flat + flat
    if problem.price_total.size:
        dear = problem.price_total[lane, end] - problem.price_total[lane, begin]
        hourly = usd - flat + terms.gpus * dear * PRICE_RESOLUTION
        cost = np.where(problem.has_hours[lane], hourly, cost)
    return cost


def _times(line: Timeline, begin: int, end: int) -> tuple[datetime, datetime]:
    """What starts in the present minute starts now, not when the minute began."""
    start = line.now if begin == line.now_minute else line.moment(begin)
    return start, start + (end - begin) * MINUTE


def _cost(problem: Problem, job: int, lane: int, segments: Segments, share: float) -> float:
    terms = problem.demand.of(job)
    usd, gpus = float(terms.usd[lane]), float(terms.gpus[lane])
    flat = gpus * float(terms.minutes[lane]) / 60 * float(problem.lanes.usd_per_gpu_hour[lane])
    egress = usd - flat
    if problem.price_total.size and problem.has_hours[lane]:
        return egress + gpus * _total(problem.price_total[lane], segments) * PRICE_RESOLUTION
    return egress + flat * share


def _total(running: FloatArray, segments: Segments) -> float:
    last = running.size - 1
    return float(sum(running[min(end, last)] - running[min(begin, last)] for begin, end in segments))


def baseline_of(problem: Problem, job: int, lane: int, window: Window) -> Baseline | None:
    """The window's length and energy in the baseline region, begun when the job was submitted.

    None where its grid is not known now; from now on where the hours since the submission were not measured.
    """
    queued = problem.jobs[job]
    region = queued.spec.baseline_region or problem.snapshot.default_baseline_region
    found = _place_of(problem, region)
    if found is None:
        return None
    cluster, zone, pue = found
    grid = problem.carbon[queued.spec.signal]
    row = grid.zones.get(zone)
    if row is None or grid.forecasts[row] is None:
        return None
    minutes = round(sum((end - start).total_seconds() for start, end in window.segments) / 60)
    intensity = at_submission(problem, job, zone, minutes)
    if intensity is None:
        begin = problem.line.now_minute
        intensity = _total(grid.total[row], ((begin, begin + minutes),)) / minutes * RESOLUTION
    if pue is None:
        pue = float(problem.lanes.pue[lane])
    grams = window.energy_kwh * pue * intensity + window.embodied_grams
    return Baseline(region, cluster, grams, intensity)


def at_submission(problem: Problem, job: int, zone: str, minutes: int) -> float | None:
    """Mean intensity (g/kWh) of a run of so many minutes in a zone, begun when the job was submitted.

    None for a job that was submitted just now, and where an hour of such a run was neither measured nor forecast.
    """
    queued, line = problem.jobs[job], problem.line
    if line.now - queued.submitted_at < line.slot_minutes * MINUTE:
        return None
    key = zone, queued.spec.signal
    forecast, history = problem.snapshot.forecasts.get(key), problem.snapshot.histories.get(key)
    step = min(HOUR, forecast.step) if forecast is not None else HOUR
    moment, total = queued.submitted_at, 0.0
    end = moment + minutes * MINUTE
    while moment < end:
        value = forecast.at(moment) if forecast is not None else None
        if value is None:
            value = history.at(moment) if history is not None else None
        if value is None:
            return None
        until = min(end, moment + step - (moment - EPOCH) % step)
        total += value * ((until - moment) / MINUTE)
        moment = until
    return total / minutes


def _place_of(problem: Problem, region: str) -> tuple[str, str, float | None] | None:
    """Cluster, zone and PUE of a region; a region without a spoke has no PUE of its own."""
    if not region:
        return None
    spokes = (spoke.facts for spoke in problem.snapshot.spokes if spoke.facts.region == region)
    facts = min(spokes, key=lambda facts: facts.name, default=None)
    if facts is not None:
        return facts.name, facts.zone, facts.pue
    zone = problem.snapshot.region_zones.get(region)
    return None if zone is None else ("", zone, None)
