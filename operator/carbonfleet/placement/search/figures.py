"""The exact figures of one window, and of its baseline."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from carbonfleet.placement.decision import Baseline, Window
from carbonfleet.placement.inputs import EPOCH, MINUTE, RESOLUTION, IntArray, Segments, Terms, Timeline
from carbonfleet.placement.plan_inputs import PlanInputs
from carbonfleet.placement.rules import NO_REVIEW, ReviewRuling, review_verdict
from carbonfleet.placement.snapshot import HOUR, FloatArray


def window_at(inputs: PlanInputs, job: int, option: int, segments: Segments) -> Window:
    """The figures of a run in the given segments. Energy, overhead and price go by their total length.

    The score alone goes by the likely lengths of the run, where these are not the declared one.
    """
    terms, line = inputs.demand.of(job), inputs.line
    grid = inputs.carbon[inputs.jobs[job].spec.signal]
    zone = int(inputs.options.zone[option])
    minutes = sum(end - begin for begin, end in segments)
    share = minutes / float(terms.minutes[option])
    carbon_total = _total(grid.total[zone], segments)
    operational = float(terms.operational[option]) * carbon_total
    transfer = float(terms.transfer[option]) * carbon_total / share + float(terms.transfer_fixed[option])
    embodied = float(terms.embodied[option]) * share
    cost = _cost(inputs, job, option, segments, share)
    grams = operational + transfer + embodied
    energy = float(terms.energy_kwh[option]) * share
    weighed = grams
    if len(terms.lengths) > 1 and len(segments) == 1:
        begin, running = segments[0][0], grid.total[zone]
        ends = begin + np.rint(terms.lengths[:, option] * share).astype(np.int64)
        likely = float((running[np.minimum(ends, line.minutes)] - running[begin]).mean())
        weighed += float(terms.operational[option] + terms.transfer[option]) * (likely - carbon_total)
    return Window(
        cluster=inputs.options.entries[option].cluster,
        pool=inputs.options.entries[option].pool.name,
        gpus=int(terms.gpus[option]),
        spot=inputs.options.entries[option].spot,
        segments=tuple(_times(line, begin, end) for begin, end in segments),
        energy_kwh=energy,
        grams_co2e=grams,
        operational_grams=operational,
        transfer_grams=transfer,
        embodied_grams=embodied,
        cost_usd=cost,
        score_usd=float(terms.money_weight) * cost + float(terms.carbon_weight) * weighed,
        grams_per_kwh=carbon_total / minutes * RESOLUTION,
        doubt_grams=float(terms.operational[option]) * _total(grid.doubt[zone], segments),
    )


def windows_at(inputs: PlanInputs, jobs: Sequence[int], options: Sequence[int], starts: Sequence[int]) -> list[Window]:
    """The figures of uninterrupted runs, all at once; equal to `window_at` for each."""
    if not jobs:
        return []
    job, option, line = np.array(jobs), np.array(options), inputs.line
    terms = inputs.demand.at(job, option)
    begin = line.start_minutes[np.array(starts)]
    minutes = terms.minutes
    end = np.minimum(begin + minutes, line.minutes)
    total, doubt = _totals(inputs, job, option, begin, end)
    operational = terms.operational * total
    transfer = terms.transfer * total + terms.transfer_fixed
    embodied = terms.embodied
    cost = _costs(inputs, terms, option, begin, end)
    grams = operational + transfer + embodied
    weighed = grams
    if len(terms.lengths) > 1:
        ends = np.minimum(begin + terms.lengths, line.minutes)
        likely = np.mean([_totals(inputs, job, option, begin, each)[0] for each in ends], axis=0)
        weighed = grams + (terms.operational + terms.transfer) * (likely - total)
    score = terms.money_weight * cost + terms.carbon_weight * weighed
    columns = (
        *(terms.energy_kwh, grams, operational, transfer, embodied, cost, score),
        *(total / minutes * RESOLUTION, terms.operational * doubt),
    )
    entries = ((option, inputs.options.entries[option]) for option in set(options))
    places = {option: (found.cluster, found.pool.name, found.spot) for option, found in entries}
    heads = zip(options, terms.gpus.tolist(), begin.tolist(), minutes.tolist(), strict=True)
    figures = zip(*(column.tolist() for column in columns), strict=True)
    return [
        Window(*places[option][:2], gpus, places[option][2], (_times(line, at, at + length),), *numbers)
        for (option, gpus, at, length), numbers in zip(heads, figures, strict=True)
    ]


def _totals(
    inputs: PlanInputs, job: IntArray, option: IntArray, begin: IntArray, end: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Carbon totals and their doubt, each job by its own signal."""
    total, doubt = np.empty(job.size), np.empty(job.size)
    zone = inputs.options.zone[option]
    for signal, grid in inputs.carbon.items():
        rows = inputs.weighs[signal][job].nonzero()[0]
        z, b, e = zone[rows], begin[rows], end[rows]
        total[rows] = grid.total[z, e] - grid.total[z, b]
        doubt[rows] = grid.doubt[z, e] - grid.doubt[z, b]
    return total, doubt


def _costs(inputs: PlanInputs, terms: Terms, option: IntArray, begin: IntArray, end: IntArray) -> FloatArray:
    options, usd = inputs.options, terms.usd
    flat = terms.gpus * terms.minutes / 60 * options.usd_per_gpu_hour[option]
    cost: FloatArray = usd - flat + flat
    if inputs.prices.any:
        hourly = usd - flat + terms.gpus * inputs.prices.between(option, begin, end)
        cost = np.where(inputs.prices.has_hours[option], hourly, cost)
    return cost


def _times(line: Timeline, begin: int, end: int) -> tuple[datetime, datetime]:
    """What starts in the present minute starts now, not when the minute began."""
    start = line.now if begin == line.now_minute else line.moment(begin)
    return start, start + (end - begin) * MINUTE


def _cost(inputs: PlanInputs, job: int, option: int, segments: Segments, share: float) -> float:
    terms = inputs.demand.of(job)
    usd, gpus = float(terms.usd[option]), float(terms.gpus[option])
    flat = gpus * float(terms.minutes[option]) / 60 * float(inputs.options.usd_per_gpu_hour[option])
    egress = usd - flat
    if inputs.prices.has_hours[option]:
        return egress + gpus * sum(float(inputs.prices.between(option, begin, end)) for begin, end in segments)
    return egress + flat * share


def _total(running: FloatArray, segments: Segments) -> float:
    last = running.size - 1
    return float(sum(running[min(end, last)] - running[min(begin, last)] for begin, end in segments))


def baseline_of(inputs: PlanInputs, job: int, option: int, window: Window) -> Baseline | None:
    """The window's length and energy in the baseline region, begun when the job was submitted.

    None where its grid is not known now; from now on where the hours since the submission were not measured.
    """
    queued = inputs.jobs[job]
    region = queued.spec.baseline_region or inputs.snapshot.default_baseline_region
    found = _place_of(inputs, region)
    if found is None:
        return None
    cluster, zone, pue = found
    grid = inputs.carbon[queued.spec.signal]
    row = grid.zones.get(zone)
    if row is None or grid.forecasts[row] is None:
        return None
    minutes = round(sum((end - start).total_seconds() for start, end in window.segments) / 60)
    at_once = ((inputs.line.now_minute, inputs.line.now_minute + minutes),)
    intensity = at_submission(inputs, job, zone, minutes)
    if intensity is None:
        intensity = _total(grid.total[row], at_once) / minutes * RESOLUTION
    if pue is None:
        pue = float(inputs.options.pue[option])
    grams = window.energy_kwh * pue * intensity + window.embodied_grams
    doubt = window.energy_kwh * pue * _total(grid.doubt[row], at_once) / minutes * RESOLUTION
    return Baseline(region, cluster, zone, grams, intensity, doubt)


def at_submission(inputs: PlanInputs, job: int, zone: str, minutes: int) -> float | None:
    """Mean intensity (g/kWh) of a run of so many minutes in a zone, begun when the job was submitted.

    None for a job that was submitted just now, and where an hour of such a run was neither measured nor forecast.
    """
    queued, line = inputs.jobs[job], inputs.line
    if line.now - queued.submitted_at < line.slot_minutes * MINUTE:
        return None
    key = zone, queued.spec.signal
    forecast, history = inputs.snapshot.forecasts.get(key), inputs.snapshot.histories.get(key)
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


def _place_of(inputs: PlanInputs, region: str) -> tuple[str, str, float | None] | None:
    """Cluster, zone and PUE of a region; a region without a spoke has no PUE of its own."""
    if not region:
        return None
    spokes = (spoke.facts for spoke in inputs.snapshot.spokes if spoke.facts.region == region)
    facts = min(spokes, key=lambda facts: facts.name, default=None)
    if facts is not None:
        return facts.name, facts.zone, facts.pue
    zone = inputs.snapshot.region_zones.get(region)
    return None if zone is None else ("", zone, None)


def review_of(inputs: PlanInputs, job: int, option: int, window: Window, *, moving: bool) -> ReviewRuling:
    """Whether people must agree to a window of a job (a row of the inputs); what they agreed to is not asked again."""
    queued, policies = inputs.jobs[job], inputs.snapshot.policies
    if queued.incumbent is not None and queued.incumbent.agreed == (window.cluster, window.pool):
        return NO_REVIEW
    baseline = baseline_of(inputs, job, option, window)
    saving = 100 * (1 - window.grams_co2e / baseline.grams_co2e) if baseline and baseline.grams_co2e else None
    goes_elsewhere = bool(queued.moves_from) and window.cluster != queued.moves_from
    return review_verdict(
        policies,
        queued.spec,
        queued.namespace,
        cost_usd=window.cost_usd,
        saving_percent=saving,
        moving=moving or goes_elsewhere,
    )
