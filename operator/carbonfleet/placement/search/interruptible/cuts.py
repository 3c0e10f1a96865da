"""Jobs that may be cut into segments: where and when each of them runs."""

from typing import Final

import numpy as np

from carbonfleet.placement.inputs import MINUTE, NEVER, BoolArray, IntArray, Segments
from carbonfleet.placement.plan_inputs import PlanInputs
from carbonfleet.placement.search.choice import Choice, quota_rows
from carbonfleet.placement.search.figures import window_at
from carbonfleet.placement.search.interruptible.segment_search import Slots, best_over, cheapest_on
from carbonfleet.placement.search.interruptible.segments import Cut, Found
from carbonfleet.placement.search.limits import LIMITS
from carbonfleet.placement.search.windows import options_left

GRAIN_USD: Final = 2.0**-40


def slots_for(inputs: PlanInputs, job: int) -> Slots:
    """Weigh the slots of all options for a job, and say which are free and within its times and thresholds."""
    line, terms, options = inputs.line, inputs.demand.of(job), inputs.options
    ends = end_slots(inputs, job)
    slots = _slots_seen(inputs, job, ends)
    flat = terms.gpus * options.usd_per_gpu_hour / 60.0
    minutes = terms.minutes
    egress = terms.usd - flat * minutes
    weight = terms.carbon_weight
    once = terms.money_weight * egress + weight * terms.transfer_fixed
    steady = terms.money_weight * flat + weight * terms.embodied / minutes
    score = inputs.carbon[inputs.jobs[job].spec.signal].by_slot[options.zone, :slots]
    score *= terms.slope[:, None]
    score += (steady * line.slot_minutes)[:, None]
    if inputs.prices.any:
        dear = inputs.prices.by_slot(slots) * terms.gpus[:, None]
        score += np.where(inputs.prices.has_hours[:, None], terms.money_weight * dear, 0)
    # Whole multiples of a power of two add up exactly, so that equal cuts cost the same and the first wins.
    score *= 1 / GRAIN_USD
    np.rint(score, out=score)
    score *= GRAIN_USD
    return Slots(score, once, _free(inputs, job, ends, slots))


def _slots_seen(inputs: PlanInputs, job: int, ends: IntArray) -> int:
    """How far a job's slots reach: to the last end, and that of a run at once, whatever other jobs look at."""
    line = inputs.line
    at_once = line.now_minute + int(inputs.demand.of(job).minutes.max(initial=1))
    return min(line.slots, max(int(ends.max(initial=0)), at_once // line.slot_minutes + 1))


def _free(inputs: PlanInputs, job: int, ends: IntArray, slots: int) -> BoolArray:
    gpus, capacity = inputs.demand.of(job).gpus, inputs.capacity.free[:, :slots]
    free: BoolArray = capacity[inputs.options.capacity_row] >= gpus[:, None]
    for row in quota_rows(inputs, job):
        free &= capacity[row] >= gpus[:, None]
    slot = np.arange(slots)
    for limit in LIMITS:
        free &= limit.slots(inputs, job, slot)
    free &= slot < ends[:, None]
    return free & options_left(inputs, job)[:, None]


def end_slots(inputs: PlanInputs, job: int) -> IntArray:
    """By which slot the last segment must have ended, shape (options,).

    That is where an unbroken run would have ended that began at the latest start, or the deadline.
    """
    line, minutes = inputs.line, inputs.demand.of(job).minutes
    overhead = inputs.demand.of(job).startup
    whole = (minutes - overhead) / max(inputs.jobs[job].remaining_fraction, 1e-9) + overhead
    latest = max(line.minute(inputs.limits[job].latest), 0) + np.minimum(np.ceil(whole), NEVER)
    end: IntArray = np.minimum(latest, inputs.deadline_minute(job)) // line.slot_minutes
    return np.clip(end, 0, line.slots).astype(np.int64)


def cut_of(inputs: PlanInputs, job: int, option: int, extra_minutes: float = 0) -> Cut:
    """What a job asks for on an option, in slots."""
    asked, incumbent = inputs.jobs[job].spec.schedule.interruptible, inputs.jobs[job].incumbent
    slot = inputs.line.slot_minutes
    minutes = float(inputs.demand.of(job).minutes[option]) + inputs.line.next_minute + extra_minutes
    if asked is None:
        return Cut((minutes / slot,), 1, inputs.latest_start(job))
    pauses = max(0, asked.max_pauses - (incumbent.pauses_used if incumbent else 0))
    pauses = min(pauses, int(minutes // slot))
    each = asked.overhead / MINUTE
    lengths = tuple((minutes + count * each) / slot for count in range(pauses + 1))
    shortest = min(-(-asked.minimum_run // (slot * MINUTE)), int(np.ceil(lengths[0])))
    return Cut(lengths, max(1, shortest), inputs.latest_start(job))


def segmented(inputs: PlanInputs, job: int, most_usd: float) -> Choice | None:
    """The best cut of a job over all options that costs no more; None where none is within its times and limits."""
    slots = slots_for(inputs, job)

    def choice_at(option: int, found: Found) -> Choice | None:
        choice = choice_of(inputs, job, option, found, float(slots.once[option]))
        return choice if within_limits(inputs, job, choice, most_usd) else None

    return best_over(slots, _cuts_of(inputs, job, np.flatnonzero(slots.free.any(axis=1))), choice_at)


def _cuts_of(inputs: PlanInputs, job: int, options: IntArray) -> dict[int, Cut]:
    """What a job asks for on options: the same where it runs as long."""
    minutes, known = inputs.demand.of(job).minutes[options].tolist(), dict[int, Cut]()
    for option, length in zip(options.tolist(), minutes, strict=True):
        if length not in known:
            known[length] = cut_of(inputs, job, option)
    return {option: known[length] for option, length in zip(options.tolist(), minutes, strict=True)}


def on_options(inputs: PlanInputs, job: int, slots: Slots, options: IntArray, most_usd: float) -> list[Choice]:
    """The best cut on each of some options, where there is one within the job's limits that costs no more."""
    found = cheapest_on(slots, _cuts_of(inputs, job, options))
    choices = (choice_of(inputs, job, option, found[option], float(slots.once[option])) for option in sorted(found))
    return [choice for choice in choices if within_limits(inputs, job, choice, most_usd)]


def choice_of(
    inputs: PlanInputs, job: int, option: int, found: Found, once: float, length: float | None = None
) -> Choice:
    """Slots as minutes: what begins in slot 0 begins now, and the end is cut off when the work is done.

    What begins now within a minute ends within one: it must be over when its last slot is.
    """
    line = inputs.line
    asked = inputs.jobs[job].spec.schedule.interruptible
    each = asked.overhead / MINUTE if asked else 0.0
    left = float(inputs.demand.of(job).minutes[option]) if length is None else length
    left += each * (len(found.segments) - 1)
    segments: list[tuple[int, int]] = []
    for first, end in found.segments:
        begin = line.begin(first)
        late = line.next_minute - line.now_minute if first == 0 else 0
        stop = min(end * line.slot_minutes - late, begin + int(np.ceil(left - 1e-9)))
        left -= stop - begin
        segments.append((begin, stop))
    kept: Segments = tuple(segment for segment in segments if segment[0] < segment[1])
    return Choice(option, found.segments[0][0], found.cost + once, segments=kept)


def within_limits(inputs: PlanInputs, job: int, choice: Choice, most_usd: float = float("inf")) -> bool:
    """The job's own limits on cost and carbon, its cost tolerance in USD, and the budgets of its policies."""
    window = window_at(inputs, job, choice.option, choice.segments)
    hours = window.gpus * sum((end - begin) / 60 for begin, end in choice.segments)
    remaining_budgets = [inputs.remaining_budgets[index] for index in inputs.budget_rows(job)]
    allowed = window.cost_usd <= most_usd and all(limit.allows(inputs, job, window) for limit in LIMITS)
    return allowed and all(
        window.grams_co2e <= remaining_budget.carbon_kg * 1000 and hours <= remaining_budget.gpu_hours
        for remaining_budget in remaining_budgets
    )
