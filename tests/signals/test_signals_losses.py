"""Sources that die, flap, refuse and lie: jobs do what they declared, on nothing older than allowed."""

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from carbon_servers import Fault
from placement_world import ANYWHERE, HOUR, job, spoke, world

from carbonfleet.api.job import SignalLossAction
from carbonfleet.api.signal import SignalKind
from carbonfleet.placement.decision import Decision, Outcome
from carbonfleet.signals.settings import AgeLimits
from fixtures.placement_world import explained_plan as plan

LIFECYCLE = SignalKind.AVERAGE_LIFECYCLE
ZONES = {"oslo": "NO-NO1", "quebec": "CA-QC", "ohio": "US-MIDA-PJM"}
SPOKES = [spoke(name, zone, gpus=64) for name, zone in ZONES.items()]
DELAY = timedelta(hours=24)
LIMITS = AgeLimits()
OLDEST = {"forecast": LIMITS.forecast, "cached": LIMITS.cached, "profile": LIMITS.profile, "last": LIMITS.last}
ERRORS = (None, -5, 0, 2, 9e6, "NaN", True)


def dead_from_the_start(maps, hour, chance):
    maps.fault = Fault.ERROR


def dead_from_the_next_noon_on(maps, hour, chance):
    maps.fault = Fault.HTML if hour >= 24 else None


def flapping(maps, hour, chance):
    maps.fault = chance.choice([None, Fault.ERROR, Fault.TRUNCATED])


def rate_limited(maps, hour, chance):
    maps.fault = Fault.THROTTLED_WITH_TIME if hour % 5 else None


def lying(maps, hour, chance):
    def tamper(items):
        return [{**item, "carbonIntensity": chance.choice(ERRORS)} if chance.random() < 0.5 else item for item in items]

    maps.tamper = tamper
    maps.answer_zone = chance.choice(["", "", *ZONES.values()])
    maps.issued_age, maps.measured_age = HOUR * chance.choice([0, 3, 30]), HOUR * chance.choice([0, 6, 60])


SCENARIOS = (dead_from_the_start, dead_from_the_next_noon_on, flapping, rate_limited, lying)


@dataclass
class Fleet:
    """Jobs of every rule, one each six hours, planned anew each hour until they start."""

    waiting: list = field(default_factory=list)
    started: dict = field(default_factory=dict)
    """By job's name: its rule, submission, start, and whether all signals were lost then."""

    def submit(self, now: datetime, number: int) -> None:
        for action in SignalLossAction:
            schedule = {"max_delay": DELAY, "on_signal_loss": {"action": action.value}}
            self.waiting.append(job(f"{action.value}-{number}", hours=0.5, submitted=now, schedule=schedule))

    def cycle(self, reading, now: datetime) -> list[str]:
        """Plan; what is wrong with it."""
        snapshot = world(self.waiting, SPOKES, reading.forecasts.values(), (ANYWHERE,))
        snapshot = replace(snapshot, histories=reading.histories, signal_problems=reading.problems)
        found, lost = [], not any(forecast.tells_hours for forecast in reading.forecasts.values())
        for queued, decision in zip(self.waiting, _in_order(plan(snapshot, now), self.waiting), strict=True):
            found += [
                f"{queued.name}: {text}" for text in (*_too_old(decision, now), *_undeclared(queued, decision, lost))
            ]
            if decision.outcome is Outcome.START:
                self.started[queued.name] = lost
        self.waiting = [queued for queued in self.waiting if queued.name not in self.started]
        return found


def _in_order(decisions, jobs):
    by_uid = {decision.uid: decision for decision in decisions}
    return [by_uid[queued.uid] for queued in jobs]


def _too_old(decision: Decision, now: datetime) -> list[str]:
    """Each candidate says on which link it stands, and that it is not older than the link allows."""
    found = []
    for candidate in decision.candidates:
        if candidate.link in {"none", "annual"}:
            continue
        age = now - candidate.observed_at
        link = candidate.link.partition("+")[0].removesuffix(" blend")
        if age > OLDEST[link] + HOUR:
            found.append(f"{candidate.cluster} stands on {candidate.link} of {age}")
    return found


def _undeclared(queued, decision: Decision, lost: bool) -> list[str]:
    """What a job without any signal does beside what it declared."""
    if not lost:
        return []
    action, window, latest = queued.spec.schedule.on_signal_loss.action, decision.window, queued.submitted_at + DELAY
    is_right = {
        SignalLossAction.WAIT: lambda: decision.outcome is not Outcome.START and window is None,
        SignalLossAction.NOW: lambda: decision.outcome is Outcome.START,
        SignalLossAction.LOCAL_HOUR: lambda: window.start.astimezone(UTC).hour == 2,
        SignalLossAction.LATEST_START: lambda: abs(window.start - latest) <= HOUR,
    }
    return [] if is_right[action]() else [f"{action.value}: {decision.outcome} {window and window.start}"]


def simulate(make_signals, read, clock, maps, electricitymaps, scenario, *, hours: int) -> Fleet:
    signals = make_signals(electricitymaps(tries=1))
    fleet, chance = Fleet(), random.Random(7)
    for hour in range(hours):
        scenario(maps, hour, chance)
        if hour % 6 == 0:
            fleet.submit(clock.now(), hour)
        reading = read(signals, hours=72)
        signals.await_answers()
        assert fleet.cycle(reading, clock.now()) == []
        clock.forward(hours=1)
    return fleet


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_jobs_do_what_they_declared_whatever_the_sources_do(make_signals, read, clock, maps, electricitymaps, scenario):
    fleet = simulate(make_signals, read, clock, maps, electricitymaps, scenario, hours=30)
    if scenario is dead_from_the_start:
        assert all(fleet.started.values()), "nothing was known at any start"
        assert {queued.spec.schedule.on_signal_loss.action for queued in fleet.waiting} >= {SignalLossAction.WAIT}
    else:
        assert not all(fleet.started.values()), "something was known at some starts"


@pytest.mark.soak
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_four_weeks_of_each_loss_find_nothing_undeclared_and_nothing_old(
    make_signals, read, clock, maps, electricitymaps, scenario
):
    fleet = simulate(make_signals, read, clock, maps, electricitymaps, scenario, hours=28 * 24)
    print(f"{scenario.__name__}: {len(fleet.started)} started, {sum(fleet.started.values())} without any signal")
