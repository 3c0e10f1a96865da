"""Jobs that may be cut into segments: where and when each of them runs."""

from typing import Final

import numpy as np

from carbonfleet.placement.choice import Choice, quota_rows
from carbonfleet.placement.grid import MINUTE, RESOLUTION, IntArray, Segments
from carbonfleet.placement.limits import NEVER
from carbonfleet.placement.measure import window_at
from carbonfleet.placement.problem import PRICE_RESOLUTION, Problem
from carbonfleet.placement.rules import BoolArray
from carbonfleet.placement.segment_search import Slots, best_over, cheapest_on
from carbonfleet.placement.segments import Cut, Found
from carbonfleet.placement.weigh import gate_of, lanes_left

GRAIN_USD: Final = 2.0**-40


def slots_for(problem: Problem, job: int) -> Slots:
    """Weigh the slots of all lanes for a job, and say which are free and within its times and thresholds."""
    line, terms, lanes = problem.line, problem.demand.of(job), problem.lanes
    ends = end_slots(problem, job)
    slots = _slots_seen(problem, job, ends)
    flat = terms.gpus * lanes.usd_per_gpu_hour / 60.0
    minutes = terms.minutes
    egress = terms.usd - flat * minutes
    weight = terms.carbon_weight
    once = terms.money_weight * egress + weight * terms.transfer_fixed
    steady = terms.money_weight * flat + weight * terms.embodied / minutes
    score = problem.carbon[problem.jobs[job].spec.signal].by_slot[lanes.zone, :slots]
    score *= terms.slope[:, None]
    score += (steady * line.slot_minutes)[:, None]
    if problem.price_total.size:
        edges = slice(0, slots * line.slot_minutes + 1, line.slot_minutes)
        dear = np.diff(problem.price_total[:, edges], axis=1) * PRICE_RESOLUTION * terms.gpus[:, None]
        score += np.where(problem.has_hours[:, None], terms.money_weight * dear, 0)
    # Whole multiples of a power of two add up exactly, so that equal cuts cost the same and the first wins.
    score *= 1 / GRAIN_USD
    np.rint(score, out=score)
    score *= GRAIN_USD
    return Slots(score, once, _free(problem, job, ends, slots))


def _slots_seen(problem: Problem, job: int, ends: IntArray) -> int:
    """How far a job's slots reach: to the last end, and that of a run at once, whatever other jobs look at."""
    line = problem.line
    at_once = line.now_minute + int(problem.demand.of(job).minutes.max(initial=1))
    return min(line.slots, max(int(ends.max(initial=0)), at_once // line.slot_minutes + 1))


def _free(problem: Problem, job: int, ends: IntArray, slots: int) -> BoolArray:
    line, gpus, capacity = problem.line, problem.demand.of(job).gpus, problem.capacity.free[:, :slots]
    free: BoolArray = capacity[problem.lanes.place] >= gpus[:, None]
    for row in quota_rows(problem, job):
        free &= capacity[row] >= gpus[:, None]
    slot = np.arange(slots)
    free &= slot >= problem.earliest_start(job)
    free &= slot < ends[:, None]
    if problem.limits[job].is_gated and not problem.gives_up_threshold(job):
        edges = slot * line.slot_minutes
        total = problem.carbon[problem.jobs[job].spec.signal].total
        now = (total[:, edges + 1] - total[:, edges])[problem.lanes.zone] * RESOLUTION
        free &= now <= gate_of(problem, job)[:, None]
    return free & lanes_left(problem, job)[:, None]


def end_slots(problem: Problem, job: int) -> IntArray:
    """By which slot the last segment must have ended, shape (lanes,).

    That is where an unbroken run would have ended that began at the latest start, or the deadline.
    """
    line, minutes = problem.line, problem.demand.of(job).minutes
    overhead = problem.lanes.overhead_minutes
    whole = (minutes - overhead) / max(problem.jobs[job].remaining_fraction, 1e-9) + overhead
    latest = max(line.minute(problem.limits[job].latest), 0) + np.minimum(np.ceil(whole), NEVER)
    end: IntArray = np.minimum(latest, problem.deadline_minute(job)) // line.slot_minutes
    return np.clip(end, 0, line.slots).astype(np.int64)


def cut_of(problem: Problem, job: int, lane: int, extra_minutes: float = 0) -> Cut:
    """What a job asks for on a lane, in slots."""
    asked, incumbent = problem.jobs[job].spec.schedule.interruptible, problem.jobs[job].incumbent
    slot = problem.line.slot_minutes
    minutes = float(problem.demand.of(job).minutes[lane]) + problem.line.next_minute + extra_minutes
    if asked is None:
        return Cut((minutes / slot,), 1, problem.latest_start(job))
    pauses = max(0, asked.max_pauses - (incumbent.pauses_used if incumbent else 0))
    pauses = min(pauses, int(minutes // slot))
    each = asked.overhead / MINUTE
    lengths = tuple((minutes + count * each) / slot for count in range(pauses + 1))
    shortest = min(-(-asked.minimum_run // (slot * MINUTE)), int(np.ceil(lengths[0])))
    return Cut(lengths, max(1, shortest), problem.latest_start(job))


def segmented(problem: Problem, job: int) -> Choice | None:
    """The best cut of a job over all lanes; None where there is none within its times and limits."""
    slots = slots_for(problem, job)

    def choice_at(lane: int, found: Found) -> Choice | None:
        choice = choice_of(problem, job, lane, found, float(slots.once[lane]))
        return choice if within_limits(problem, job, choice) else None

    return best_over(slots, _cuts_of(problem, job, np.flatnonzero(slots.free.any(axis=1))), choice_at)


def _cuts_of(problem: Problem, job: int, lanes: IntArray) -> dict[int, Cut]:
    """What a job asks for on lanes: the same where it runs as long."""
    minutes, known = problem.demand.of(job).minutes[lanes].tolist(), dict[int, Cut]()
    for lane, length in zip(lanes.tolist(), minutes, strict=True):
        if length not in known:
            known[length] = cut_of(problem, job, lane)
    return {lane: known[length] for lane, length in zip(lanes.tolist(), minutes, strict=True)}


def on_lanes(problem: Problem, job: int, slots: Slots, lanes: IntArray) -> list[Choice]:
    """The best cut on each of some lanes, where there is one within the job's limits."""
    found = cheapest_on(slots, _cuts_of(problem, job, lanes))
    choices = (choice_of(problem, job, lane, found[lane], float(slots.once[lane])) for lane in sorted(found))
    return [choice for choice in choices if within_limits(problem, job, choice)]


def choice_of(problem: Problem, job: int, lane: int, found: Found, once: float, length: float | None = None) -> Choice:
    """Slots as minutes: what begins in slot 0 begins now, and the end is cut off when the work is done.

    What begins now within a minute ends within one: it must be over when its last slot is.
    """
    line = problem.line
    asked = problem.jobs[job].spec.schedule.interruptible
    each = asked.overhead / MINUTE if asked else 0.0
    left = float(problem.demand.of(job).minutes[lane]) if length is None else length
    left += each * (len(found.segments) - 1)
    segments: list[tuple[int, int]] = []
    for first, end in found.segments:
        begin = line.begin(first)
        late = line.next_minute - line.now_minute if first == 0 else 0
        stop = min(end * line.slot_minutes - late, begin + int(np.ceil(left - 1e-9)))
        left -= stop - begin
        segments.append((begin, stop))
    kept: Segments = tuple(segment for segment in segments if segment[0] < segment[1])
    return Choice(lane, found.segments[0][0], found.cost + once, segments=kept)


def within_limits(problem: Problem, job: int, choice: Choice) -> bool:
    """The job's own limits on cost and carbon, and the budgets of its policies."""
    objective = problem.jobs[job].spec.objective
    window = window_at(problem, job, choice.lane, choice.segments)
    hours = window.gpus * sum((end - begin) / 60 for begin, end in choice.segments)
    purses = [problem.purses[index] for index in problem.purse_rows(job)]
    return (
        (objective.max_cost_usd is None or window.cost_usd <= objective.max_cost_usd)
        and (objective.carbon_budget_kg is None or window.grams_co2e <= objective.carbon_budget_kg * 1000)
        and all(window.grams_co2e <= purse.carbon_kg * 1000 and hours <= purse.gpu_hours for purse in purses)
    )
