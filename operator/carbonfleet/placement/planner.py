"""A planner that remembers its last plan, and works out anew only what a changed queue changes in it."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

import numpy as np

from carbonfleet.placement.assign import assigned, looker_for
from carbonfleet.placement.capacity import capacity_of
from carbonfleet.placement.choice import Choice
from carbonfleet.placement.decision import Decision, Plan, Words
from carbonfleet.placement.explain import words_for
from carbonfleet.placement.grid import MINUTE, IntArray, usable
from carbonfleet.placement.improve import may_better
from carbonfleet.placement.limits import Limits
from carbonfleet.placement.lineup import NO_ROW, Lineup, Takes, lineup_of, settled, takes_of
from carbonfleet.placement.look import Looker
from carbonfleet.placement.plan import (
    Reviews,
    decisions_of,
    denials_of,
    next_look,
    plan,
    plan_of,
    problem_for,
    refusals_of,
)
from carbonfleet.placement.policy import budgets, tiers
from carbonfleet.placement.problem import OrderKey, Problem, beside, extra_zones, order_keys, timeline_for
from carbonfleet.placement.replay import Replay, Unsettled
from carbonfleet.placement.rules import BoolArray
from carbonfleet.placement.same import is_same_ground
from carbonfleet.placement.snapshot import QueuedJob, Snapshot

MOST_PARTS: Final = 16
"""Problems that a remembered queue may consist of."""
MOST_LATER: Final = 0.2
"""The share of a queue that may have come since it was planned in one piece."""


@dataclass(frozen=True, slots=True, eq=False)
class Seat:
    """A job in its place in the order."""

    key: OrderKey
    job: QueuedJob
    limits: Limits


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """A plan, and what it takes to plan a little otherwise. Lists are by seat."""

    snapshot: Snapshot
    plan: Plan
    lookers: tuple[Looker, ...]
    """One for each part of the lineup."""
    lineup: Lineup
    takes: Takes
    seats: list[Seat]
    choices: list[Choice | None]
    decisions: list[Decision]
    free_before: IntArray
    """What was free before anybody had chosen, in the shape of the capacity."""

    @property
    def problem(self) -> Problem:
        """Of the first part; the lanes, times, grid and capacity are those of all."""
        return self.lookers[0].problem


class Planner:
    """`plan` with a memory: the same answers, faster where little has changed since the last.

    Within a slot, where jobs came, went or were changed, where reservations or free GPUs are others, or where
    only time has passed, the last plan is gone through again for the jobs that this touches. Otherwise, and where
    jobs under way, monthly budgets or a bettered tier are concerned, all is planned afresh.
    """

    def __init__(self) -> None:
        self._last: Remembered | None = None

    def __call__(self, snapshot: Snapshot, now: datetime) -> Plan:
        """As `plan`."""
        last, self._last = self._last, None
        self._last = (None if last is None else _again(last, snapshot, now)) or _afresh(snapshot, now)
        return plan(snapshot, now) if self._last is None else self._last.plan


def _afresh(snapshot: Snapshot, now: datetime) -> Remembered | None:
    """A whole plan; None of a queue that is not worth remembering."""
    refused = refusals_of(snapshot)
    problem = problem_for(snapshot, refused, now)
    if not problem.jobs or not len(problem.lanes) or problem.purses or any(map(_is_under_way, problem.jobs)):
        return None
    free_before = problem.capacity.free.copy()
    looker, rows = looker_for(problem), range(len(problem.jobs))
    choices = assigned(looker)
    lineup = lineup_of(problem, 0)
    settled(problem, lineup, rows, choices)
    decisions, denials = decisions_of(problem, rows, choices), denials_of(snapshot, refused, now)
    return Remembered(
        snapshot=snapshot,
        plan=plan_of([*decisions, *denials], now),
        lookers=(looker.later(problem, looker.room),),
        lineup=lineup,
        takes=takes_of(problem, rows, rows, choices),
        seats=_seats(problem),
        choices=choices,
        decisions=decisions,
        free_before=free_before,
    )


def _is_under_way(job: QueuedJob) -> bool:
    return job.incumbent is not None and job.incumbent.is_under_way


def _seats(problem: Problem) -> list[Seat]:
    keys = order_keys(problem.jobs, problem.limits, problem.demand)
    return [Seat(*each) for each in zip(keys, problem.jobs, problem.limits, strict=True)]


def _again(last: Remembered, snapshot: Snapshot, now: datetime) -> Remembered | None:
    """The last plan with what has changed; None where all must be planned afresh."""
    found = _changes(last, snapshot, now)
    if found is None:
        return None
    gone, came = found
    if len(last.lookers) == MOST_PARTS or sum(last.lineup.part > 0) + len(came) > MOST_LATER * len(last.seats):
        return None
    refused = refusals_of(replace(snapshot, jobs=tuple(came)))
    came = [job for job in came if job.uid not in refused]
    ground = _ground(last, snapshot, now, came)
    if ground is None:
        return None
    merged = _merged(last, ground, gone, came)
    if merged is None:
        return None
    lineup, takes, free = merged.lineup, merged.takes, ground.capacity.free
    free_before, least = free.copy(), last.problem.capacity.free
    replay = Replay(merged.lookers, lineup, merged.choices, takes, least, free - last.free_before, merged.is_bettered)
    try:
        replay.run(merged.new, merged.gone)
    except Unsettled:
        return None
    for part, looker in enumerate(merged.lookers):
        seats = [seat for seat in replay.changed if lineup.part[seat] == part]
        settled(looker.problem, lineup, seats, [replay.choices[seat] for seat in seats])
    decisions = _decisions(last, merged, replay)
    kept = np.array([seat for seat in range(len(lineup)) if seat not in merged.gone], dtype=np.int64)
    renumbered = np.full(len(lineup), NO_ROW)
    renumbered[kept] = np.arange(kept.size)
    some = kept.tolist()
    denials = denials_of(snapshot, refused, now)
    return Remembered(
        snapshot=snapshot,
        plan=_in_order(last.plan, [decisions[seat] for seat in some], denials, now),
        lookers=merged.lookers,
        lineup=lineup.taken(kept),
        takes=replay.takes().at(renumbered),
        seats=[merged.seats[seat] for seat in some],
        choices=[replay.choices[seat] for seat in some],
        decisions=[decisions[seat] for seat in some],
        free_before=free_before,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Merged:
    """The remembered seats, those that are gone included, and those of the jobs that came, in one order."""

    lookers: tuple[Looker, ...]
    lineup: Lineup
    takes: Takes
    seats: list[Seat]
    choices: list[Choice | None]
    decisions: list[Decision]
    new: set[int]
    gone: set[int]
    is_bettered: BoolArray


def _merged(last: Remembered, ground: Problem, gone: Sequence[int], came: Sequence[QueuedJob]) -> _Merged | None:
    """All seats in one order; None where the timeline would be another."""
    count, lineup, seats = len(last.seats), last.lineup, last.seats
    parts = [replace(ground, **_jobs_of(looker.problem)) for looker in last.lookers]
    lookers = [looker.later(part, looker.room) for looker, part in zip(last.lookers, parts, strict=True)]
    new_seats: list[Seat] = []
    if came:
        later = beside(ground, list(came), tiers(ground.snapshot.policies))
        new_seats = _seats(later)
        lineup = lineup.with_others(lineup_of(later, len(parts)))
        lookers.append(Looker(later, lookers[0].room, like=lookers[0]))
    together = [*seats, *new_seats]
    staying = np.ones(len(together), dtype=np.bool_)
    staying[list(gone)] = False
    if not staying.any() or not _is_on_time(ground, lineup.taken(np.flatnonzero(staying)), together, staying):
        return None
    places = [bisect_left(seats, seat.key, key=attrgetter("key")) for seat in new_seats]
    order = np.insert(np.arange(count), places, np.arange(count, len(together)))
    place = np.empty(len(together), dtype=np.int64)
    place[order] = np.arange(len(together))
    rows = order.tolist()
    again = _started(last, ground, lineup) - set(gone)
    choices = [*last.choices, *([None] * len(new_seats))]
    decisions = [*last.decisions, *(last.decisions[:1] * len(new_seats))]  # stand in until they are made
    return _Merged(
        lookers=tuple(lookers),
        lineup=lineup.taken(order),
        takes=last.takes.at(place[:count]),
        seats=[together[row] for row in rows],
        choices=[choices[row] for row in rows],
        decisions=[decisions[row] for row in rows],
        new=set(place[[*range(count, len(together)), *again]].tolist()),
        gone=set(place[list(gone)].tolist()),
        is_bettered=_bettered(ground, lineup, np.arange(len(together)) < count, staying)[order],
    )


def _jobs_of(problem: Problem) -> dict[str, Any]:
    """What of a problem depends on its jobs."""
    names = ("jobs", "limits", "demand", "admitted", "lost", "purses_of")
    return {name: getattr(problem, name) for name in names}


def _is_on_time(ground: Problem, lineup: Lineup, seats: Sequence[Seat], staying: BoolArray) -> bool:
    """Whether a plan afresh would look at the same starts and minutes."""
    latest = max(seat.limits.latest for seat, stays in zip(seats, staying.tolist(), strict=True) if stays)
    longest = int(lineup.minutes.max(initial=60))
    line = timeline_for(latest, longest, ground.now, ground.snapshot.assumptions)
    return (line.starts, line.minutes) == (ground.line.starts, ground.line.minutes)


def _started(last: Remembered, ground: Problem, lineup: Lineup) -> set[int]:
    """Seats that must choose again since time has passed: what begins at once ends later, and other figures hold."""
    if ground.now == last.plan.now:
        return set()
    soon = ground.line.moment(ground.line.slot_minutes)
    incumbents = [(row, seat.job.incumbent) for row, seat in enumerate(last.seats) if lineup.is_promised[row]]
    told = {row for row, incumbent in incumbents if incumbent is not None and incumbent.start < soon}
    begun = {row for row, choice in enumerate(last.choices) if choice is not None and choice.start == 0}
    return told | begun | set(np.flatnonzero(~lineup.is_plain[: len(last.seats)]).tolist())


def _bettered(ground: Problem, lineup: Lineup, *queues: BoolArray) -> BoolArray:
    """Seats of tiers that are few enough to be bettered, in one of some queues."""
    tiers, tier = np.unique(lineup.priority, return_inverse=True)
    free = lineup.is_plain & ~lineup.is_promised
    counts = [np.bincount(tier[free & queue], minlength=tiers.size).tolist() for queue in queues]
    found = [any(may_better(ground, count) for count in of_tier) for of_tier in zip(*counts, strict=True)]
    return np.array(found, dtype=np.bool_)[tier]


def _decisions(last: Remembered, merged: _Merged, replay: Replay) -> list[Decision]:
    """The decisions of all seats; those of seats that are gone are without meaning."""
    ground = merged.lookers[0].problem
    anew = replay.changed | _due(last, merged, replay)
    decisions = list(merged.decisions)
    for part, looker in enumerate(merged.lookers):
        seats = [seat for seat in sorted(anew) if merged.lineup.part[seat] == part and seat not in merged.gone]
        rows, choices = merged.lineup.row[seats].tolist(), [replay.choices[seat] for seat in seats]
        for seat, decision in zip(seats, decisions_of(looker.problem, rows, choices), strict=True):
            decisions[seat] = decision
    if ground.snapshot is not last.snapshot or ground.now != last.plan.now:
        tell = _Teller(merged, replay.choices).words_of
        kept = np.ones(len(decisions), dtype=np.bool_)
        kept[list(anew | merged.gone)] = False
        for seat in np.flatnonzero(kept).tolist():
            decisions[seat] = decisions[seat].retold(tell)
    return decisions


class _Teller:
    """Puts the decisions of a plan into words that came out as in the plan before it."""

    def __init__(self, merged: _Merged, choices: Sequence[Choice | None]) -> None:
        self._merged, self._choices, self._seat_of = merged, choices, dict[str, int]()

    def words_of(self, decision: Decision) -> Words:
        """The words of one of the decisions, seen in the finished plan."""
        merged = self._merged
        if not self._seat_of:
            self._seat_of.update({seat.job.uid: number for number, seat in enumerate(merged.seats)})
        seat = self._seat_of[decision.uid]
        problem = merged.lookers[int(merged.lineup.part[seat])].problem
        return words_for(problem, int(merged.lineup.row[seat]), self._choices[seat], decision)


def _due(last: Remembered, merged: _Merged, replay: Replay) -> set[int]:
    """Seats whose decision may be another though the choice is not."""
    due = {seat for seat, choice in enumerate(replay.choices) if choice is None}
    if merged.lookers[0].problem.now == last.plan.now:
        return due
    reviews = Reviews(merged.lookers[0].problem)
    return due | {seat for seat, one in enumerate(merged.seats) if reviews.may_want(one.job)}


def _in_order(last: Plan, decisions: Sequence[Decision], denials: Sequence[Decision], now: datetime) -> Plan:
    """Decisions in their order, which most of them have from the last plan."""
    found = {decision.uid: decision for decision in (*decisions, *denials)}
    known = [found.pop(decision.uid) for decision in last if decision.uid in found]
    return plan_of([*known, *found.values()], now)


def _changes(last: Remembered, snapshot: Snapshot, now: datetime) -> tuple[list[int], list[QueuedJob]] | None:
    """The seats whose jobs are gone, and the jobs that came; a changed job is both.

    None where the change is not one of the queue alone, within a slot.
    """
    line = last.problem.line
    in_slot = last.plan.now <= now < line.origin + line.slot_minutes * MINUTE
    same_look = next_look(last.snapshot, last.plan.now) == next_look(snapshot, now)
    if not in_slot or not same_look or not is_same_ground(last.snapshot, snapshot):
        return None
    jobs = {job.uid: job for job in snapshot.jobs}
    if len(jobs) != len(snapshot.jobs):
        return None
    minute = now.replace(second=0, microsecond=0)
    gone = []
    for index, seat in enumerate(last.seats):
        job, limits = jobs.get(seat.job.uid), seat.limits
        is_same = job is seat.job or job == seat.job
        if is_same and not (last.plan.now < limits.earliest <= now or limits.latest < minute):
            del jobs[seat.job.uid]
        else:
            gone.append(index)
    return gone, list(jobs.values())


def _ground(last: Remembered, snapshot: Snapshot, now: datetime, came: Sequence[QueuedJob]) -> Problem | None:
    """The first part's problem as of now; None where the jobs that came do not fit on its ground."""
    old = last.problem
    origin, assumptions = old.line.origin, snapshot.assumptions
    line = replace(old.line, now=now, now_minute=old.line.minute(now), next_minute=-((origin - now) // MINUTE))
    keys = {(job.spec.residency.data_class, job.namespace) for job in came} - old.purses_of.keys()
    fits = (
        {job.spec.signal for job in came} <= old.carbon.keys()
        and set(extra_zones(replace(snapshot, jobs=tuple(came)))) <= set(old.lanes.zones)
        and not any(budgets(snapshot.policies, *key) for key in keys)
        and not any(map(_is_under_way, came))
    )
    if not fits:
        return None
    carbon = {}
    for signal, grid in old.carbon.items():
        given = (snapshot.forecasts.get((zone, signal)) for zone in old.lanes.zones)
        forecasts = tuple(usable(forecast, line, assumptions) for forecast in given)
        if [one is None for one in forecasts] != [one is None for one in grid.forecasts]:
            return None
        carbon[signal] = replace(grid, forecasts=forecasts)
    capacity = capacity_of(snapshot, old.lanes, line, ())
    return replace(old, snapshot=snapshot, now=now, line=line, carbon=carbon, capacity=capacity, gates={})
