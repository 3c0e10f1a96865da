"""Stability: a job leaves the place that it has, or was promised, only for a real gain."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from carbonfleet.placement.decision import Outcome, Window
from carbonfleet.placement.inputs import MINUTE, RESOLUTION, CapacityRuns
from carbonfleet.placement.inputs import slots_of as reserved
from carbonfleet.placement.plan_inputs import PlanInputs
from carbonfleet.placement.search.choice import Choice, rows_of, segments_of
from carbonfleet.placement.search.figures import review_of, window_at
from carbonfleet.placement.search.interruptible import (
    Cut,
    Found,
    Slots,
    best_over,
    cheapest_cut,
    choice_of,
    cut_of,
    end_slots,
    slots_for,
    within_limits,
)
from carbonfleet.placement.search.windows import tolerated_usd
from carbonfleet.placement.snapshot import Incumbent

Planned = Callable[[int, int], Choice | None]
"""The choice of an option and a start where that window is open and free now; None elsewhere."""


def real_gain(inputs: PlanInputs, job: int, window: Window) -> float:
    """What another place must gain on a window, in score: a share of its carbon, or of its cost."""
    share, per_gram = inputs.snapshot.assumptions.stability_share, float(inputs.demand.of(job).carbon_weight)
    return share * (per_gram * window.grams_co2e if per_gram else window.cost_usd)


def promised(
    inputs: PlanInputs, job: int, best: Choice | None, planned: Planned, waiting: Callable[[Choice], float]
) -> Choice | None:
    """The best choice, or where the job was planned already if that is still open and nearly as good.

    Until one of both is due, it is told anew only for a real gain: then the better is taken. A start that was promised
    is given up for the first one where it gains less than a share of what its delay must gain, its `waiting`.
    """
    incumbent, line = inputs.jobs[job].incumbent, inputs.line
    if incumbent is None or incumbent.is_under_way or best is None or best.is_late:
        return best
    start = line.start_at_or_after(line.minute(incumbent.start))
    old = min(
        (choice for option in options_at(inputs, incumbent) if (choice := planned(option, start)) is not None),
        key=lambda choice: choice.score,
        default=None,
    )
    if old is None or (old.option, old.start) == (best.option, best.start):
        return best
    window = window_at(inputs, job, old.option, segments_of(inputs, job, old))
    gain, assumptions = real_gain(inputs, job, window), inputs.snapshot.assumptions
    due = inputs.now + assumptions.review_lead * review_of(inputs, job, old.option, window, moving=False).required
    if best.start <= inputs.earliest_start(job) and waiting(old) > 0:
        gain = min(gain, (1 - assumptions.promised_gain_share) * waiting(old))
    elif min(old.start, best.start) <= line.start_at_or_after(line.minute(due)):
        gain = 0.0
    return best if old.score - best.score > gain else replace(old, instead=(best.option, best.start))


def options_at(inputs: PlanInputs, incumbent: Incumbent) -> list[int]:
    """The options of a cluster's pool."""
    place = incumbent.cluster, incumbent.pool
    return [row for row, option in enumerate(inputs.options.entries) if (option.cluster, option.pool.name) == place]


def choice_for_running(inputs: PlanInputs, job: int, capacity: CapacityRuns) -> Choice | None:
    """What becomes of a job that runs: it goes on, pauses, or moves; its own GPUs count as free to it.

    It may leave only with a checkpoint, after the minimum dwell, while it has pauses left, and for a gain
    on the remaining work that exceeds what leaving costs: so neither from nor to a grid of whose hours nothing
    is known, for an annual mean is a guess. Where policy no longer allows its place it must leave. None where it
    must, and nothing else is open. Where people agreed that it goes, it goes if there is room now.
    """
    incumbent = inputs.jobs[job].incumbent
    options = [] if incumbent is None else options_at(inputs, incumbent)
    if incumbent is None or not options:
        return None
    home = _home(inputs, options)
    _give_back(inputs, job, home, capacity)
    slots = _slots_to_finish(inputs, job)
    keep = going_on(inputs, job, home, slots)
    if (agreed := _as_agreed(inputs, job, incumbent, home, slots)) is not None:
        return agreed
    if _is_forbidden(inputs, job, home):
        there = _elsewhere(inputs, job, home, slots, must=True)
        return None if there is not None and _needs_review(inputs, job, there) else there
    if not (_may_leave(inputs, job, incumbent) and inputs.hours_known[inputs.jobs[job].spec.signal][home]):
        return keep
    window = window_at(inputs, job, home, keep.segments)
    most_usd = tolerated_usd(inputs, job, window.cost_usd)
    here = _cut_at_home(inputs, job, home, slots, most_usd)
    there = _elsewhere(inputs, job, home, slots, most_usd=most_usd)
    if incumbent.agreed is not None:
        there = None  # people are not asked again while their word stands
    elif there is not None and there.running is Outcome.PAUSE and _needs_review(inputs, job, there):
        # It never pauses in the hope of a yes.
        there = _elsewhere(inputs, job, home, slots, most_usd=most_usd, at_once=True)
    alternatives = [(here, _gain_here(inputs, job, window)), (there, _gain_there(inputs, job, window))]
    good = [
        other
        for other, gain in alternatives
        if other is not None and keep.score - other.score > max(gain, _gain_of_waiting(inputs, job, keep, other))
    ]
    return min(good, key=lambda other: (other.score, other.option), default=keep)


def _gain_of_waiting(inputs: PlanInputs, job: int, at_once: Choice, later: Choice) -> float:
    """What a choice must gain, in score, for ending later than going on at once; less where that was planned."""
    assumptions, incumbent = inputs.snapshot.assumptions, inputs.jobs[job].incumbent
    planned = incumbent is not None and (incumbent.pause_is_due or incumbent.paused)
    gain = inputs.gain_per_start(job) * (assumptions.promised_gain_share if planned else 1.0)
    minutes = max(0, later.segments[-1][1] - at_once.segments[-1][1])
    return abs(at_once.score) * gain * minutes / inputs.line.slot_minutes


def _slots_to_finish(inputs: PlanInputs, job: int) -> Slots:
    """The slots below a running job's threshold; where they are too few to finish in, it gives the threshold up."""
    slots = slots_for(inputs, job)
    if inputs.limits[job].is_gated:
        minutes = slots.free.sum(axis=1) * inputs.line.slot_minutes
        if (minutes < inputs.demand.of(job).minutes).all():
            inputs.demand.mind_carbon_alone(job, True)
            slots = slots_for(inputs, job)
    return slots


def choice_for_paused(inputs: PlanInputs, job: int) -> Choice | None:
    """When a paused job goes on: where it was, or elsewhere for a real gain. None where nothing is free in time.

    Elsewhere people may have to agree, and it holds no GPUs meanwhile: so only where it can't go on at home.
    """
    incumbent = inputs.jobs[job].incumbent
    options = [] if incumbent is None else options_at(inputs, incumbent)
    if incumbent is None or not options:
        return None
    home, slots = _home(inputs, options), slots_for(inputs, job)
    if (agreed := _as_agreed(inputs, job, incumbent, home, slots)) is not None:
        return agreed
    here = _worth_staying_paused(inputs, job, home, slots)
    stay = window_at(inputs, job, home, here.segments) if here else None
    most_usd = tolerated_usd(inputs, job, stay.cost_usd) if stay else float("inf")
    if here is not None and not inputs.hours_known[inputs.jobs[job].spec.signal][home]:
        return here
    there = _elsewhere(inputs, job, home, slots, most_usd=most_usd, must=here is None)
    if here is None or there is None or stay is None:
        return here or there
    if _needs_review(inputs, job, there):
        return here
    gain = real_gain(inputs, job, stay)
    return there if here.score - there.score > max(gain, _gain_of_waiting(inputs, job, here, there)) else here


def as_paused(inputs: PlanInputs, job: int, choice: Choice | None) -> Choice | None:
    """A window in one piece for a job that is paused: the first that is free when none is in time."""
    incumbent = inputs.jobs[job].incumbent
    if choice is None or incumbent is None:
        return None
    at_home = choice.option in options_at(inputs, incumbent)
    now = Outcome.KEEP if at_home else Outcome.MOVE
    return replace(choice, running=now if choice.start == 0 else Outcome.PAUSE)


def _needs_review(inputs: PlanInputs, job: int, there: Choice) -> bool:
    """Whether a person must agree before a job under way goes there."""
    window = window_at(inputs, job, there.option, there.segments)
    return review_of(inputs, job, there.option, window, moving=True).required


def _as_agreed(inputs: PlanInputs, job: int, incumbent: Incumbent, home: int, slots: Slots) -> Choice | None:
    """The move that people agreed to, where there is room for it now and nothing else is against it."""
    if incumbent.agreed is None:
        return None
    return _elsewhere(inputs, job, home, slots, at_once=True, only=incumbent.agreed)


def _home(inputs: PlanInputs, options: list[int]) -> int:
    return next((option for option in options if not inputs.options.entries[option].spot), options[0])


def _gain_here(inputs: PlanInputs, job: int, window: Window) -> float:
    """What a pause must gain: little where the plan has it now."""
    incumbent = inputs.jobs[job].incumbent
    is_due = incumbent is not None and incumbent.pause_is_due
    return (_small_gain if is_due else _gain_there)(inputs, job, window)


def _gain_there(inputs: PlanInputs, job: int, window: Window) -> float:
    """What leaving must gain: little after a surprise, for the plan that it was started with holds no more."""
    incumbent, assumptions = inputs.jobs[job].incumbent, inputs.snapshot.assumptions
    surprised = incumbent is not None and incumbent.surprise > assumptions.surprise_share
    return _small_gain(inputs, job, window) if surprised else real_gain(inputs, job, window)


def _small_gain(inputs: PlanInputs, job: int, window: Window) -> float:
    assumptions = inputs.snapshot.assumptions
    share = assumptions.surprised_gain_share / assumptions.stability_share if assumptions.stability_share else 0.0
    return min(share, 1.0) * real_gain(inputs, job, window)


def _give_back(inputs: PlanInputs, job: int, home: int, capacity: CapacityRuns) -> None:
    """The job's own reservations are free to it."""
    for reservation in inputs.snapshot.reservations:
        if reservation.job_uid == inputs.jobs[job].uid:
            first, end = reserved(reservation, inputs.line)
            for row in rows_of(inputs, job, home):
                capacity.take(row, -reservation.gpus, first, end)


def _left_minutes(inputs: PlanInputs, job: int, home: int) -> int:
    """What is left to run at home, without the start-up that lies behind."""
    left = float(inputs.demand.of(job).minutes[home]) - float(inputs.demand.of(job).startup[home])
    return max(1, round(left))


def _spared(inputs: PlanInputs, job: int, home: int) -> float:
    """Minutes of start-up that home does not need again."""
    return float(inputs.demand.of(job).minutes[home]) - _left_minutes(inputs, job, home)


def going_on(inputs: PlanInputs, job: int, home: int, slots: Slots) -> Choice:
    """To the end without a pause. As in a cut, what begins in a slot is weighed from the slot's begin."""
    minutes, line = _left_minutes(inputs, job, home), inputs.line
    segments = ((line.now_minute, min(line.now_minute + minutes, line.minutes)),)
    total = np.concatenate([[0.0], np.cumsum(slots.score[home])])
    slot = (line.now_minute + minutes) / line.slot_minutes
    score = float(np.interp(slot, np.arange(total.size), total))
    return Choice(home, 0, score, segments=segments, running=Outcome.KEEP)


def unbroken(inputs: PlanInputs, job: int) -> Window | None:
    """What it would be for a job that is under way to go on where it is, at once and to the end."""
    incumbent = inputs.jobs[job].incumbent
    options = [] if incumbent is None else options_at(inputs, incumbent)
    if not options:
        return None
    home = _home(inputs, options)
    return window_at(inputs, job, home, going_on(inputs, job, home, slots_for(inputs, job)).segments)


def _is_forbidden(inputs: PlanInputs, job: int, home: int) -> bool:
    refusals = inputs.admission.refusals(inputs.jobs[job], home)
    return any(refusal.reason in {"ResidencyPolicy", "ResidencyRequest"} for refusal in refusals)


def _may_leave(inputs: PlanInputs, job: int, incumbent: Incumbent) -> bool:
    asked = inputs.jobs[job].spec.schedule.interruptible
    if asked is None or incumbent.pauses_used >= asked.max_pauses:
        return False
    if incumbent.pause_is_due:
        return True
    dwell = max(inputs.snapshot.assumptions.minimum_dwell, asked.minimum_run)
    return incumbent.since is None or inputs.now - incumbent.since >= dwell


def _cut_at_home(inputs: PlanInputs, job: int, home: int, slots: Slots, most_usd: float) -> Choice | None:
    """The best way to go on at home with pauses, the first of which may be now."""
    cut, spared = cut_of(inputs, job, home), _spared(inputs, job, home)
    lengths = tuple(max(1e-6, length - spared / inputs.line.slot_minutes) for length in cut.slots)
    found = cheapest_cut(slots.score[home], slots.free[home], Cut(lengths, cut.minimum_run, cut.latest_begin, True))
    if found is None:
        return None
    length = float(_left_minutes(inputs, job, home))
    paused = found.segments[0][0] > 0
    if paused:
        # It stops at once: that is a pause before the first of the segments that are left.
        asked = inputs.jobs[job].spec.schedule.interruptible
        length += asked.overhead / MINUTE if asked else 0
    choice = choice_of(inputs, job, home, found, 0.0, length)
    outcome = Outcome.PAUSE if paused else Outcome.KEEP
    return replace(choice, running=outcome) if within_limits(inputs, job, choice, most_usd) else None


def _worth_staying_paused(inputs: PlanInputs, job: int, home: int, slots: Slots) -> Choice | None:
    """The best way for a paused job to go on where it was: later only where that saves enough."""
    best = _later_at_home(inputs, job, home, slots)
    if best is None or not inputs.gain_per_start(job):
        return best
    now = _later_at_home(inputs, job, home, slots, at_once=True)
    too_little = now is not None and now.score - best.score < _gain_of_waiting(inputs, job, now, best)
    return now if too_little else best


def _later_at_home(inputs: PlanInputs, job: int, home: int, slots: Slots, *, at_once: bool = False) -> Choice | None:
    """The best way for a paused job to go on where it was, now or later; or `at_once` and without another pause."""
    asked = inputs.jobs[job].spec.schedule.interruptible
    extra = asked.overhead / MINUTE if asked else 0.0
    lengths = tuple(
        max(1e-6, length - _spared(inputs, job, home) / inputs.line.slot_minutes)
        for length in cut_of(inputs, job, home, extra).slots
    )
    if at_once:
        lengths = lengths[:1]
    end = 0 if at_once else int(end_slots(inputs, job)[home])
    shortest = cut_of(inputs, job, home).minimum_run
    found = cheapest_cut(slots.score[home], slots.free[home], Cut(lengths, shortest, end))
    if found is None:
        return None
    choice = choice_of(inputs, job, home, found, 0.0, _left_minutes(inputs, job, home) + extra)
    outcome = Outcome.KEEP if choice.start == 0 else Outcome.PAUSE
    return replace(choice, running=outcome) if within_limits(inputs, job, choice) else None


def _elsewhere(
    inputs: PlanInputs,
    job: int,
    home: int,
    slots: Slots,
    *,
    most_usd: float = float("inf"),
    at_once: bool = False,
    only: tuple[str, str] | None = None,
    must: bool = False,
) -> Choice | None:
    """The best place on another option, or on the `only` cluster and pool, with checkpoint, transfer and start-up.

    One of whose hours nothing is known counts only where the job `must` go, or people agreed to it.
    """
    asked, incumbent = inputs.jobs[job].spec.schedule.interruptible, inputs.jobs[job].incumbent
    extra = asked.overhead / MINUTE if asked else 0.0
    runs, ends = incumbent is not None and incumbent.running, end_slots(inputs, job)
    hours_known = inputs.hours_known[inputs.jobs[job].spec.signal]
    more: dict[int, float] = {}
    cuts: dict[int, Cut] = {}
    for option, place in enumerate(inputs.options.entries):
        is_meant = only == (place.cluster, place.pool.name) if only else must or bool(hours_known[option])
        is_home = inputs.options.capacity_row[option] == inputs.options.capacity_row[home]
        if is_meant and not is_home and slots.free[option].any() and ends[option] > 0:
            more[option] = extra + _redone_minutes(inputs, job, home, option)
            cut = cut_of(inputs, job, option, more[option])
            lengths = (cut.slots[:-1] if runs else ()) or cut.slots  # leaving uses up one of the pauses
            cuts[option] = replace(cut, slots=lengths, latest_begin=0 if at_once else int(ends[option]))
    once = slots.once.copy()
    for option in cuts:
        once[option] += _move_usd(inputs, job, home, option)

    def choice_at(option: int, found: Found) -> Choice | None:
        length = float(inputs.demand.of(job).minutes[option]) + more[option]
        choice = choice_of(inputs, job, option, found, float(once[option]), length)
        return choice if within_limits(inputs, job, choice, most_usd) else None

    best = best_over(replace(slots, once=once), cuts, choice_at)
    return best and replace(best, running=Outcome.MOVE if best.start == 0 else Outcome.PAUSE)


def _redone_minutes(inputs: PlanInputs, job: int, home: int, option: int) -> float:
    """What must be done again on another spoke: all that is done, where it can't reach the checkpoint."""
    here, there = inputs.options.entries[home].spoke.facts, inputs.options.entries[option].spoke.facts
    queued = inputs.jobs[job]
    shares = here.name == there.name or (here.store and here.store == there.store)
    if shares or queued.spec.workload.checkpoints.uri is not None:
        return 0.0
    left = float(inputs.demand.of(job).minutes[option]) - float(inputs.demand.of(job).startup[option])
    return left / max(queued.remaining_fraction, 1e-9) - left


def _move_usd(inputs: PlanInputs, job: int, home: int, option: int) -> float:
    """What carrying the checkpoint to another spoke costs, in score."""
    grams, usd = _carried(inputs, job, home, option)
    terms = inputs.demand.of(job)
    return float(terms.money_weight) * usd + float(terms.carbon_weight) * grams


def _carried(inputs: PlanInputs, job: int, home: int, option: int) -> tuple[float, float]:
    """The carbon (grams) and the price (USD) of carrying the checkpoint to another spoke."""
    here, there = inputs.options.entries[home], inputs.options.entries[option]
    if here.cluster == there.cluster:
        return 0.0, 0.0
    gib = inputs.jobs[job].spec.workload.checkpoints.size_gib
    grid = inputs.carbon[inputs.jobs[job].spec.signal]
    now = inputs.line.now_minute
    zones = inputs.options.zone[[home, option]]
    grams_per_kwh = float(np.mean(grid.total[zones, now + 1] - grid.total[zones, now])) * RESOLUTION
    grams = gib * inputs.snapshot.assumptions.transfer_kwh_per_gib * grams_per_kwh
    return grams, gib * here.spoke.facts.egress_usd_per_gib


def own_cost(inputs: PlanInputs, job: int, option: int, window: Window) -> tuple[float, float, float]:
    """What moving a job to a window costs by itself, and what the window would not cost without: minutes, grams, USD.

    To save, start up and do again what can't be carried, and to carry the checkpoint and the data.
    """
    asked, incumbent = inputs.jobs[job].spec.schedule.interruptible, inputs.jobs[job].incumbent
    options = [] if incumbent is None else options_at(inputs, incumbent)
    if not options:
        return 0.0, 0.0, 0.0
    home, saving = _home(inputs, options), asked.overhead / MINUTE if asked else 0.0
    minutes = saving + float(inputs.demand.of(job).startup[option]) + _redone_minutes(inputs, job, home, option)
    whole = sum((end - start) / MINUTE for start, end in window.segments)
    share = min(1.0, minutes / whole) if whole else 0.0
    grams, usd = _carried(inputs, job, home, option)
    grams += window.transfer_grams + share * (window.grams_co2e - window.transfer_grams)
    return minutes, grams, usd + share * window.cost_usd
