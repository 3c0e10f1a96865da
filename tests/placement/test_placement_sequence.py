"""What holds at every step of a few hours of a hub's work: arrivals, edits, early ends, ill spokes, new forecasts."""

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbonfleet.placement import Incumbent, Outcome, Reservation, plan, residency_verdict
from fixtures.placement_world import BARE, HOUR, NOON, forecast, job, policy, spoke, world

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
ALWAYS = replace(BARE, improvement_cells=200_000, review_lead=HOUR)
DELAYS = {"urgent": timedelta(), "standard": 4 * HOUR, "flexible": 8 * HOUR}
RANK = {"urgent": 100, "standard": 50, "flexible": 10}
POLICIES = (
    policy(
        "default",
        residency={"anywhere": True},
        tiers=[
            {"name": name, "priority": RANK[name], "max_delay": f"{delay // HOUR}h"} for name, delay in DELAYS.items()
        ],
    ),
    policy("eu", scope={"data_classes": ["eu"]}, residency={"jurisdictions": ["EU", "EEA"]}),
)
PLACES = (("NO-NO1", ("EEA",)), ("CA-QC", ("CA",)), ("FR", ("EU", "EEA")))
DAYS = 12  # that the grid is known for
LONGEST_DRAIN = 300  # steps in which all that may run must have begun

grids = st.lists(st.integers(1, 900), min_size=12, max_size=24).map(lambda day: (day * 24 * DAYS)[: 24 * DAYS])
SCHEDULES = (
    *({}, {}, {"tier": "urgent"}, {"tier": "flexible"}, {"tier": "flexible"}, {"max_delay": "2h"}),
    {"deadline": NOON + 9 * HOUR},
    {"earliest_start": NOON + 2 * HOUR + 20 * MINUTE},
    {"max_intensity_grams_per_kwh": 300},
    {"interruptible": {"overhead": "10m", "minimum_run": "20m", "max_pauses": 2}},
)
asked = st.fixed_dictionaries(
    {
        "hours": st.sampled_from([0.4, 1, 1.5, 3, 5]),
        "gpus": st.integers(1, 3),
        "schedule": st.sampled_from(SCHEDULES),
        "objective": st.sampled_from([{}, {}, {"minimize": "cost"}, {"minimize": "composite"}, {"max_cost_usd": 9.0}]),
        "data_class": st.sampled_from(["public", "public", "eu"]),
        "review": st.sampled_from(["auto", "auto", "auto", "required"]),
    }
)
one = st.integers(0, 30)
arrivals = st.tuples(st.just("arrive"), asked)
queue_changes = st.one_of(
    *[arrivals] * 5,
    *[st.tuples(st.just("edit"), one, asked)] * 2,
    *[st.tuples(st.just("cancel"), one)] * 2,
    st.tuples(st.sampled_from(["agree", "fail", "overrun", "forget"]), one),
)
world_changes = st.one_of(
    st.tuples(st.sampled_from(["end", "ail"]), one),
    st.tuples(st.just("others"), one, st.integers(0, 2)),
    st.tuples(st.just("grid"), one, grids),
)
changes = st.integers(0, 15).flatmap(lambda number: queue_changes if number else world_changes)
waits = st.sampled_from([0, 0, 1, 7, 60, 60, 90, 300, 600, 1500]).map(lambda seconds: seconds * SECOND)
first = st.tuples(st.just(timedelta()), st.lists(arrivals, min_size=8, max_size=16), st.just(True))
others = st.tuples(waits, st.lists(changes, min_size=1, max_size=3), st.sampled_from([True, True, True, False]))
steps = st.tuples(first, st.lists(others, min_size=6, max_size=20)).map(lambda parts: [parts[0], *parts[1]])
fleets = st.lists(st.tuples(st.integers(2, 8), st.sampled_from([0.5, 2.0]), grids), min_size=1, max_size=3)


@dataclass
class Run:
    """An attempt that stands in Git."""

    job: object
    held: Reservation


@dataclass
class Hub:
    """A hub's work, step by step: what it is told to start it starts, and what it said it remembers."""

    fleet: list
    now: object = NOON
    queue: dict = field(default_factory=dict)
    runs: dict = field(default_factory=dict)
    ill: set = field(default_factory=set)
    others: dict = field(default_factory=dict)
    last: object = None
    came: int = 0

    def snapshot(self):
        """What the planner is shown now."""
        return world(
            self.queue.values(),
            [self._spoke(row) for row in range(len(self.fleet))],
            [forecast(PLACES[row][0], grid, observed_at=self.now) for row, (_, _, grid) in enumerate(self.fleet)],
            policies=POLICIES,
            assumptions=ALWAYS,
            reservations=tuple(run.held for run in self.runs.values()),
        )

    def _spoke(self, row):
        gpus, price, _ = self.fleet[row]
        zone, jurisdictions = PLACES[row]
        state = {"healthy": False, "reason": "Unreachable", "message": "not heard"} if row in self.ill else {}
        free = {"main": max(0, gpus - self.active(row) - self.taken_by_others(row))}
        return spoke(f"s{row}", zone, gpus, price, jurisdictions, free_gpus=free, **state)

    def active(self, row):
        """GPUs that runs use now."""
        held = [run.held for run in self.runs.values() if run.held.cluster == f"s{row}"]
        return sum(one.gpus for one in held if one.start <= self.now < one.end)

    def taken_by_others(self, row):
        """GPUs that no placement explains."""
        return max(0, min(self.others.get(row, 0), self.fleet[row][0] - self.active(row)))

    def wait(self, time):
        """Time passes, and runs end."""
        self.now += time
        self.runs = {uid: run for uid, run in self.runs.items() if run.held.end > self.now}

    def arrive(self, spec):
        self.came += 1
        new = job(f"job-{self.came:02}", submitted=self.now, **spec)
        self.queue[new.uid] = new

    def edit(self, number, spec):
        if self.queue:
            old = self._nth(self.queue, number)
            new = job(old.name, submitted=old.submitted_at, generation=old.generation + 1, attempt=old.attempt, **spec)
            self.queue[old.uid] = new

    def cancel(self, number):
        if self.queue:
            del self.queue[self._nth(self.queue, number).uid]

    def end(self, number):
        """A run ends before its time."""
        if self.runs:
            del self.runs[self._nth(self.runs, number).job.uid]

    def fail(self, number):
        """A run ends without a result, and its job wants another attempt."""
        if self.runs:
            run = self._nth(self.runs, number)
            del self.runs[run.job.uid]
            again = replace(run.job, attempt=run.job.attempt + 1, incumbent=None, remaining_fraction=0.5)
            self.queue[again.uid] = again

    def overrun(self, number):
        """A run takes longer than was expected."""
        if self.runs:
            run = self._nth(self.runs, number)
            run.held = replace(run.held, end=run.held.end + 25 * MINUTE)

    def forget(self, number):
        """A waiting job's status was not written."""
        if self.queue:
            old = self._nth(self.queue, number)
            self.queue[old.uid] = replace(old, incumbent=None)

    def agree(self, number):
        """People merge a proposal."""
        asked = [d for d in self.last or () if d.outcome is Outcome.START and d.review_required]
        asked = [d for d in asked if d.window.start >= self.now and self._is_current(d)]
        if asked:
            self._commit(asked[number % len(asked)])

    def ail(self, number):
        """A spoke is heard from no more, or again."""
        self.ill ^= {number % len(self.fleet)}

    def others_(self, number, gpus):
        self.others[number % len(self.fleet)] = gpus

    def grid(self, number, values):
        """A forecast says something else."""
        row = number % len(self.fleet)
        self.fleet[row] = (*self.fleet[row][:2], values)

    def _is_current(self, decision):
        queued = self.queue.get(decision.uid)
        return queued is not None and (queued.generation, queued.attempt) == (decision.generation, decision.attempt)

    @staticmethod
    def _nth(known, number):
        return known[sorted(known)[number % len(known)]]

    def _commit(self, decision):
        window, queued = decision.window, self.queue.pop(decision.uid)
        held = Reservation(
            decision.uid, decision.namespace, window.cluster, window.pool, window.gpus, window.start, window.end
        )
        self.runs[decision.uid] = Run(queued, held)

    def cycle(self, *, git_is_there=True):
        """Plan, check, commit what is to start, and tell the others."""
        snapshot = self.snapshot()
        made = plan(snapshot, self.now)
        check(self, snapshot, made)
        self.last = made
        for decision in made:
            if decision.outcome is Outcome.START and not decision.review_required and git_is_there:
                self._commit(decision)
            elif decision.outcome is Outcome.WAIT and decision.window is not None:
                window = decision.window
                told = Incumbent(window.cluster, window.pool, window.start)
                self.queue[decision.uid] = replace(self.queue[decision.uid], incumbent=told)
        return made

    def step(self, time, events, *, git_is_there=True):
        """Time passes, things happen, and the hub plans again."""
        self.wait(time)
        for name, *values in events:
            getattr(self, "others_" if name == "others" else name)(*values)
        return self.cycle(git_is_there=git_is_there)

    def drain(self):
        """All is well again and nothing comes any more: what may run at all begins in time."""
        self.ill, self.others = set(), {}
        for _ in range(LONGEST_DRAIN):
            made = self.cycle()
            while any(decision.review_required for decision in made) and self._agree_to_all():
                made = self.cycle()
            waiting = [decision for decision in made if decision.outcome is Outcome.WAIT or decision.review_required]
            if not waiting:
                return
            due = min(decision.recheck_at for decision in waiting)
            self.wait(max(due - self.now, SECOND))
        raise AssertionError(f"these never begin: {[(d.name, d.reason) for d in waiting]}")

    def _agree_to_all(self):
        before = len(self.queue)
        for _ in range(before):
            self.agree(0)
        return len(self.queue) < before


def check(hub, snapshot, made):
    """All that must hold of a plan."""
    decisions = {decision.uid: decision for decision in made}
    assert [d.key for d in made] == sorted(queued.key for queued in snapshot.jobs)
    assert made.now == hub.now
    for queued in snapshot.jobs:
        decision = decisions[queued.uid]
        assert (decision.generation, decision.attempt) == (queued.generation, queued.attempt)
        check_one(hub, snapshot, queued, decision)
    check_capacity(hub, snapshot, made)
    check_nothing_is_free(hub, snapshot, made)
    check_order(hub, snapshot, made)


def check_one(hub, snapshot, queued, decision):
    """Of one job: its place, times and limits, and that what it says fits the time."""
    window, now = decision.window, hub.now
    assert decision.recheck_at >= now
    if window is None:
        assert decision.outcome in (Outcome.BLOCKED, Outcome.WAIT)
        assert decision.outcome is Outcome.BLOCKED or decision.reason == "WaitingForCapacity"
        return
    spec, schedule = queued.spec, queued.spec.schedule
    place = next(place for place in snapshot.spokes if place.name == window.cluster)
    assert place.healthy
    assert residency_verdict(
        snapshot.policies, spec.residency.data_class, queued.namespace, spec.residency, place.facts
    ).allowed
    earliest = max(now, schedule.earliest_start or now)
    assert window.start >= earliest
    assert schedule.deadline is None or window.end <= schedule.deadline
    assert spec.objective.max_cost_usd is None or window.cost_usd <= spec.objective.max_cost_usd + 1e-9
    assert window.gpus == spec.resources.gpus
    asked = spec.resources.duration * queued.remaining_fraction
    assert abs(sum((end - begin for begin, end in window.segments), timedelta()) - asked) <= 21 * MINUTE
    lead = ALWAYS.review_lead if decision.review_required else timedelta()
    assert (decision.outcome is Outcome.START) == (window.start <= now + lead)
    assert decision.review_required == (spec.review == "required")
    delay = DELAYS[schedule.tier] if schedule.max_delay is None else schedule.max_delay
    on_time = window.start <= max(queued.submitted_at + delay, earliest)
    assert on_time or decision.reason in ("WaitingForCapacity", "Placed")


def check_nothing_is_free(hub, snapshot, made):
    """A job that is told that it waits for GPUs finds none in time beside what all the others hold."""
    held = [*snapshot.reservations]
    for row, place in enumerate(snapshot.spokes):
        others = hub.taken_by_others(row)
        held.append(Reservation("others", "", place.name, "main", others, NOON, NOON + 24 * DAYS * HOUR))
    silent = replace(snapshot, spokes=tuple(replace(place, free_gpus=None) for place in snapshot.spokes))
    for queued in snapshot.jobs:
        decision = next(decision for decision in made if decision.uid == queued.uid)
        if decision.reason == "WaitingForCapacity":
            windows = [one for other in made if other.uid != queued.uid for one in _held(other)]
            jobs = (replace(queued, incumbent=None),)
            (alone,) = plan(replace(silent, jobs=jobs, reservations=(*held, *windows)), made.now)
            assert alone.window is None or alone.window.start > made.now
            assert alone.reason == "WaitingForCapacity"


def _held(decision):
    window = decision.window
    if window is None:
        return []
    place = decision.uid, decision.namespace, window.cluster, window.pool, window.gpus
    return [Reservation(*place, begin, end) for begin, end in window.segments]


def check_capacity(hub, snapshot, made):
    """While a planned job runs, no more GPUs are held than there are."""
    for row, place in enumerate(snapshot.spokes):
        there = place.facts.pools[0].gpus - hub.taken_by_others(row)
        spans = [
            (begin, end, decision.window.gpus)
            for decision in made
            if decision.window is not None and decision.window.cluster == place.name
            for begin, end in decision.window.segments
        ]
        held = [(one.start, one.end, one.gpus) for one in snapshot.reservations if one.cluster == place.name]
        for moment in {begin for begin, _, _ in (*spans, *held)}:
            if any(begin <= moment < end for begin, end, _ in spans):
                used = sum(gpus for begin, end, gpus in (*spans, *held) if begin <= moment < end)
                assert used <= there


def check_order(hub, snapshot, made):
    """The order of the input changes nothing."""
    turned = replace(
        snapshot,
        jobs=snapshot.jobs[::-1],
        spokes=snapshot.spokes[::-1],
        reservations=snapshot.reservations[::-1],
        forecasts=dict(reversed(snapshot.forecasts.items())),
    )
    assert plan(turned, hub.now) == made


def play(fleet, happening):
    """A few hours of a hub, to the end."""
    hub = Hub(list(fleet))
    for time, events, git_is_there in happening:
        hub.step(time, events, git_is_there=git_is_there)
    hub.drain()


@given(fleets, steps)
@settings(max_examples=15)
def test_all_that_must_hold_holds_at_every_step(fleet, happening):
    play(fleet, happening)


@pytest.mark.soak
@given(fleets, steps)
@settings(max_examples=1500)
def test_the_same_holds_for_many_more_sequences(fleet, happening):
    play(fleet, happening)
