"""Stability: a job leaves the place that it has, or was promised, only for a real gain."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from carbonfleet.placement.capacity import slots_of as reserved
from carbonfleet.placement.choice import Choice, rows_of, segments_of
from carbonfleet.placement.decision import Outcome, Window
from carbonfleet.placement.grid import MINUTE, RESOLUTION
from carbonfleet.placement.interrupt import (
    choice_of,
    cut_of,
    end_slots,
    slots_for,
    within_limits,
)
from carbonfleet.placement.leave import leave_for
from carbonfleet.placement.measure import window_at
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.room import Room
from carbonfleet.placement.segment_search import Slots, best_over
from carbonfleet.placement.segments import Cut, Found, cheapest_cut
from carbonfleet.placement.snapshot import Incumbent
from carbonfleet.placement.wait import most_score

Fits = Callable[[int, int, int], Choice | None]
"""Whether one window (job, lane, start) is open and free now: the choice, or None."""


def real_gain(problem: Problem, job: int, window: Window) -> float:
    """What another place must gain on a window, in score: a share of its carbon, or of its cost."""
    share, per_gram = problem.snapshot.assumptions.stability_share, float(problem.demand.of(job).carbon_weight)
    return share * (per_gram * window.grams_co2e if per_gram else window.cost_usd)


def promised(problem: Problem, job: int, best: Choice | None, fits: Fits) -> Choice | None:
    """The best choice, or where the job was planned already if that is still open and nearly as good."""
    incumbent = problem.jobs[job].incumbent
    if incumbent is None or incumbent.is_under_way or best is None or best.is_late:
        return best
    start = problem.line.start_at_or_after(problem.line.minute(incumbent.start))
    old = min(
        (choice for lane in lanes_at(problem, incumbent) if (choice := fits(job, lane, start)) is not None),
        key=lambda choice: choice.score,
        default=None,
    )
    if old is None or (old.lane, old.start) == (best.lane, best.start):
        return best
    window = window_at(problem, job, old.lane, segments_of(problem, job, old))
    gain = real_gain(problem, job, window)
    return best if old.score - best.score > gain else replace(old, instead=(best.lane, best.start))


def lanes_at(problem: Problem, incumbent: Incumbent) -> list[int]:
    """The lanes of a cluster's pool."""
    return [
        row
        for row, lane in enumerate(problem.lanes.lanes)
        if (lane.cluster, lane.pool.name) == (incumbent.cluster, incumbent.pool)
    ]


def stay_or_go(problem: Problem, job: int, room: Room) -> Choice | None:
    """What becomes of a job that runs: it goes on, pauses, or moves; its own GPUs count as free to it.

    It may leave only with a checkpoint, after the minimum dwell, while it has pauses left, and for a gain
    on the remaining work that exceeds what leaving costs: so not where the grid at home is not known. Where
    policy no longer allows its place it must leave. None where it must, and nothing else is open. Where people
    agreed that it goes, it goes if there is room now.
    """
    incumbent = problem.jobs[job].incumbent
    lanes = [] if incumbent is None else lanes_at(problem, incumbent)
    if incumbent is None or not lanes:
        return None
    home = _home(problem, lanes)
    _give_back(problem, job, home, room)
    slots = _slots_to_finish(problem, job)
    keep = going_on(problem, job, home, slots)
    if (agreed := _as_agreed(problem, job, incumbent, home, slots)) is not None:
        return agreed
    if _is_forbidden(problem, job, home):
        there = _elsewhere(problem, job, home, slots)
        return None if there is not None and _needs_leave(problem, job, there) else there
    if not (_may_leave(problem, job, incumbent) and problem.known[problem.jobs[job].spec.signal][home]):
        return keep
    window = window_at(problem, job, home, keep.segments)
    here, there = _cut_at_home(problem, job, home, slots), _elsewhere(problem, job, home, slots)
    if incumbent.agreed is not None:
        there = None  # people are not asked again while their word stands
    elif there is not None and there.running is Outcome.PAUSE and _needs_leave(problem, job, there):
        there = _elsewhere(problem, job, home, slots, at_once=True)  # it never pauses in the hope of a yes
    options = [(here, _gain_here(problem, job, window)), (there, _gain_there(problem, job, window))]
    good = [
        option
        for option, gain in options
        if option is not None and keep.score - option.score > max(gain, _gain_of_waiting(problem, job, keep, option))
    ]
    return min(good, key=lambda option: (option.score, option.lane), default=keep)


def _gain_of_waiting(problem: Problem, job: int, at_once: Choice, later: Choice) -> float:
    """What a choice must gain, in score, for ending later than going on at once; less where that was planned."""
    assumptions, incumbent = problem.snapshot.assumptions, problem.jobs[job].incumbent
    planned = incumbent is not None and (incumbent.pause_is_due or incumbent.paused)
    gain = problem.gain_per_start(job) * (assumptions.promised_gain_share if planned else 1.0)
    minutes = max(0, later.segments[-1][1] - at_once.segments[-1][1])
    return at_once.score - most_score(at_once.score, gain, minutes / problem.line.slot_minutes)


def _slots_to_finish(problem: Problem, job: int) -> Slots:
    """The slots below a running job's threshold; where they are too few to finish in, it gives the threshold up."""
    slots = slots_for(problem, job)
    if problem.limits[job].is_gated:
        minutes = slots.free.sum(axis=1) * problem.line.slot_minutes
        if (minutes < problem.demand.of(job).minutes).all():
            problem.demand.mind_carbon_alone(job, True)
            slots = slots_for(problem, job)
    return slots


def taken_up(problem: Problem, job: int) -> Choice | None:
    """When a paused job goes on: where it was, or elsewhere for a real gain. None where nothing is free in time.

    Elsewhere people may have to agree, and it holds no GPUs meanwhile: so only where it can't go on at home.
    """
    incumbent = problem.jobs[job].incumbent
    lanes = [] if incumbent is None else lanes_at(problem, incumbent)
    if incumbent is None or not lanes:
        return None
    home, slots = _home(problem, lanes), slots_for(problem, job)
    if (agreed := _as_agreed(problem, job, incumbent, home, slots)) is not None:
        return agreed
    here = _worth_staying_paused(problem, job, home, slots)
    there = _elsewhere(problem, job, home, slots)
    if here is None or there is None:
        return here or there
    if _needs_leave(problem, job, there):
        return here
    gain = real_gain(problem, job, window_at(problem, job, home, here.segments))
    return there if here.score - there.score > max(gain, _gain_of_waiting(problem, job, here, there)) else here


def as_paused(problem: Problem, job: int, choice: Choice | None) -> Choice | None:
    """A window in one piece for a job that is paused: the first that is free when none is in time."""
    incumbent = problem.jobs[job].incumbent
    if choice is None or incumbent is None:
        return None
    at_home = choice.lane in lanes_at(problem, incumbent)
    now = Outcome.KEEP if at_home else Outcome.MOVE
    return replace(choice, running=now if choice.start == 0 else Outcome.PAUSE)


def _needs_leave(problem: Problem, job: int, there: Choice) -> bool:
    """Whether a person must agree before a job under way goes there."""
    window = window_at(problem, job, there.lane, there.segments)
    return leave_for(problem, job, there.lane, window, moving=True).required


def _as_agreed(problem: Problem, job: int, incumbent: Incumbent, home: int, slots: Slots) -> Choice | None:
    """The move that people agreed to, where there is room for it now and nothing else is against it."""
    if incumbent.agreed is None:
        return None
    return _elsewhere(problem, job, home, slots, at_once=True, only=incumbent.agreed)


def _home(problem: Problem, lanes: list[int]) -> int:
    return next((lane for lane in lanes if not problem.lanes.lanes[lane].spot), lanes[0])


def _gain_here(problem: Problem, job: int, window: Window) -> float:
    """What a pause must gain: little where the plan has it now."""
    incumbent = problem.jobs[job].incumbent
    due = incumbent is not None and incumbent.pause_is_due
    return _small_gain(problem, job, window) if due else _gain_there(problem, job, window)


def _gain_there(problem: Problem, job: int, window: Window) -> float:
    """What leaving must gain: little after a surprise, for the plan that it was started with holds no more."""
    incumbent, assumptions = problem.jobs[job].incumbent, problem.snapshot.assumptions
    surprised = incumbent is not None and incumbent.surprise > assumptions.surprise_share
    return _small_gain(problem, job, window) if surprised else real_gain(problem, job, window)


def _small_gain(problem: Problem, job: int, window: Window) -> float:
    assumptions = problem.snapshot.assumptions
    share = assumptions.surprised_gain_share / assumptions.stability_share if assumptions.stability_share else 0.0
    return min(share, 1.0) * real_gain(problem, job, window)


def _give_back(problem: Problem, job: int, home: int, room: Room) -> None:
    """The job's own reservations are free to it."""
    for reservation in problem.snapshot.reservations:
        if reservation.job_uid == problem.jobs[job].uid:
            first, end = reserved(reservation, problem.line)
            for row in rows_of(problem, job, home):
                room.take(row, -reservation.gpus, first, end)


def _left_minutes(problem: Problem, job: int, home: int) -> int:
    """What is left to run at home, without the start-up that lies behind."""
    left = float(problem.demand.of(job).minutes[home]) - float(problem.lanes.overhead_minutes[home])
    return max(1, round(left))


def _spared(problem: Problem, job: int, home: int) -> float:
    """Minutes of start-up that home does not need again."""
    return float(problem.demand.of(job).minutes[home]) - _left_minutes(problem, job, home)


def going_on(problem: Problem, job: int, home: int, slots: Slots) -> Choice:
    """To the end without a pause. As in a cut, what begins in a slot is weighed from the slot's begin."""
    minutes, line = _left_minutes(problem, job, home), problem.line
    segments = ((line.now_minute, min(line.now_minute + minutes, line.minutes)),)
    total = np.concatenate([[0.0], np.cumsum(slots.score[home])])
    slot = (line.now_minute + minutes) / line.slot_minutes
    score = float(np.interp(slot, np.arange(total.size), total))
    return Choice(home, 0, score, segments=segments, running=Outcome.KEEP)


def unbroken(problem: Problem, job: int) -> Window | None:
    """What it would be for a job that is under way to go on where it is, at once and to the end."""
    incumbent = problem.jobs[job].incumbent
    lanes = [] if incumbent is None else lanes_at(problem, incumbent)
    if not lanes:
        return None
    home = _home(problem, lanes)
    return window_at(problem, job, home, going_on(problem, job, home, slots_for(problem, job)).segments)


def _is_forbidden(problem: Problem, job: int, home: int) -> bool:
    refusals = problem.admission.refusals(problem.jobs[job], problem.lanes.lanes[home])
    return any(refusal.reason in {"ResidencyPolicy", "ResidencyRequest"} for refusal in refusals)


def _may_leave(problem: Problem, job: int, incumbent: Incumbent) -> bool:
    asked = problem.jobs[job].spec.schedule.interruptible
    if asked is None or incumbent.pauses_used >= asked.max_pauses:
        return False
    if incumbent.pause_is_due:
        return True
    dwell = max(problem.snapshot.assumptions.minimum_dwell, asked.minimum_run)
    return incumbent.since is None or problem.now - incumbent.since >= dwell


def _cut_at_home(problem: Problem, job: int, home: int, slots: Slots) -> Choice | None:
    """The best way to go on at home with pauses, the first of which may be now."""
    cut, spared = cut_of(problem, job, home), _spared(problem, job, home)
    lengths = tuple(max(1e-6, length - spared / problem.line.slot_minutes) for length in cut.slots)
    found = cheapest_cut(slots.score[home], slots.free[home], Cut(lengths, cut.minimum_run, cut.latest_begin, True))
    if found is None:
        return None
    length = float(_left_minutes(problem, job, home))
    paused = found.segments[0][0] > 0
    if paused:
        # It stops at once: that is a pause before the first of the segments that are left.
        asked = problem.jobs[job].spec.schedule.interruptible
        length += asked.overhead / MINUTE if asked else 0
    choice = choice_of(problem, job, home, found, 0.0, length)
    outcome = Outcome.PAUSE if paused else Outcome.KEEP
    return replace(choice, running=outcome) if within_limits(problem, job, choice) else None


def _worth_staying_paused(problem: Problem, job: int, home: int, slots: Slots) -> Choice | None:
    """The best way for a paused job to go on where it was: later only where that saves enough."""
    best = _later_at_home(problem, job, home, slots)
    if best is None or not problem.gain_per_start(job):
        return best
    now = _later_at_home(problem, job, home, slots, at_once=True)
    too_little = now is not None and now.score - best.score < _gain_of_waiting(problem, job, now, best)
    return now if too_little else best


def _later_at_home(problem: Problem, job: int, home: int, slots: Slots, *, at_once: bool = False) -> Choice | None:
    """The best way for a paused job to go on where it was, now or later; or `at_once` and without another pause."""
    asked = problem.jobs[job].spec.schedule.interruptible
    extra = asked.overhead / MINUTE if asked else 0.0
    lengths = tuple(
        max(1e-6, length - _spared(problem, job, home) / problem.line.slot_minutes)
        for length in cut_of(problem, job, home, extra).slots
    )
    if at_once:
        lengths = lengths[:1]
    end = 0 if at_once else int(end_slots(problem, job)[home])
    shortest = cut_of(problem, job, home).minimum_run
    found = cheapest_cut(slots.score[home], slots.free[home], Cut(lengths, shortest, end))
    if found is None:
        return None
    choice = choice_of(problem, job, home, found, 0.0, _left_minutes(problem, job, home) + extra)
    outcome = Outcome.KEEP if choice.start == 0 else Outcome.PAUSE
    return replace(choice, running=outcome) if within_limits(problem, job, choice) else None


def _elsewhere(
    problem: Problem,
    job: int,
    home: int,
    slots: Slots,
    *,
    at_once: bool = False,
    only: tuple[str, str] | None = None,
) -> Choice | None:
    """The best place on another lane, or on the `only` cluster and pool, with checkpoint, transfer and start-up."""
    asked, incumbent = problem.jobs[job].spec.schedule.interruptible, problem.jobs[job].incumbent
    extra = asked.overhead / MINUTE if asked else 0.0
    runs, ends = incumbent is not None and incumbent.running, end_slots(problem, job)
    more: dict[int, float] = {}
    cuts: dict[int, Cut] = {}
    for lane, place in enumerate(problem.lanes.lanes):
        is_meant = only is None or only == (place.cluster, place.pool.name)
        is_home = problem.lanes.place[lane] == problem.lanes.place[home]
        if is_meant and not is_home and slots.free[lane].any() and ends[lane] > 0:
            more[lane] = extra + _redone_minutes(problem, job, home, lane)
            cut = cut_of(problem, job, lane, more[lane])
            lengths = (cut.slots[:-1] if runs else ()) or cut.slots  # leaving uses up one of the pauses
            cuts[lane] = replace(cut, slots=lengths, latest_begin=0 if at_once else int(ends[lane]))
    once = slots.once.copy()
    for lane in cuts:
        once[lane] += _move_usd(problem, job, home, lane)

    def choice_at(lane: int, found: Found) -> Choice | None:
        length = float(problem.demand.of(job).minutes[lane]) + more[lane]
        choice = choice_of(problem, job, lane, found, float(once[lane]), length)
        return choice if within_limits(problem, job, choice) else None

    best = best_over(replace(slots, once=once), cuts, choice_at)
    return best and replace(best, running=Outcome.MOVE if best.start == 0 else Outcome.PAUSE)


def _redone_minutes(problem: Problem, job: int, home: int, lane: int) -> float:
    """What must be done again on another spoke: all that is done, where it can't reach the checkpoint."""
    here, there = problem.lanes.lanes[home].spoke.facts, problem.lanes.lanes[lane].spoke.facts
    queued = problem.jobs[job]
    shares = here.name == there.name or (here.store and here.store == there.store)
    if shares or queued.spec.workload.checkpoints.uri is not None:
        return 0.0
    left = float(problem.demand.of(job).minutes[lane]) - float(problem.lanes.overhead_minutes[lane])
    return left / max(queued.remaining_fraction, 1e-9) - left


def _move_usd(problem: Problem, job: int, home: int, lane: int) -> float:
    """What carrying the checkpoint to another spoke costs, in score."""
    grams, usd = _carried(problem, job, home, lane)
    terms = problem.demand.of(job)
    return float(terms.money_weight) * usd + float(terms.carbon_weight) * grams


def _carried(problem: Problem, job: int, home: int, lane: int) -> tuple[float, float]:
    """The carbon (grams) and the price (USD) of carrying the checkpoint to another spoke."""
    here, there = problem.lanes.lanes[home], problem.lanes.lanes[lane]
    if here.cluster == there.cluster:
        return 0.0, 0.0
    gib = problem.jobs[job].spec.workload.checkpoints.size_gib
    grid = problem.carbon[problem.jobs[job].spec.signal]
    now = problem.line.now_minute
    zones = problem.lanes.zone[[home, lane]]
    grams_per_kwh = float(np.mean(grid.total[zones, now + 1] - grid.total[zones, now])) * RESOLUTION
    grams = gib * problem.snapshot.assumptions.transfer_kwh_per_gib * grams_per_kwh
    return grams, gib * here.spoke.facts.egress_usd_per_gib


def own_cost(problem: Problem, job: int, lane: int, window: Window) -> tuple[float, float, float]:
    """What moving a job to a window costs by itself, and what the window would not cost without: minutes, grams, USD.

    To save, start up and do again what can't be carried, and to carry the checkpoint and the data.
    """
    asked, incumbent = problem.jobs[job].spec.schedule.interruptible, problem.jobs[job].incumbent
    lanes = [] if incumbent is None else lanes_at(problem, incumbent)
    if not lanes:
        return 0.0, 0.0, 0.0
    home, saving = _home(problem, lanes), asked.overhead / MINUTE if asked else 0.0
    minutes = saving + float(problem.lanes.overhead_minutes[lane]) + _redone_minutes(problem, job, home, lane)
    whole = sum((end - start) / MINUTE for start, end in window.segments)
    share = min(1.0, minutes / whole) if whole else 0.0
    grams, usd = _carried(problem, job, home, lane)
    grams += window.transfer_grams + share * (window.grams_co2e - window.transfer_grams)
    return minutes, grams, usd + share * window.cost_usd
