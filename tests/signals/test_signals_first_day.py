"""Sudden changes, from the first hour on: no start because of one value, and a true fall is believed within an hour."""

import math
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from carbon_servers import FakeElectricityMaps
from placement_world import ANYWHERE, explained_plan, job, spoke, world

from carbonfleet.api.signal import SignalKind
from carbonfleet.placement.decision import Outcome
from carbonfleet.signals import HistoryStore, TraceSource
from carbonfleet.signals.regions import annual_factors
from carbonfleet.signals.source import Ask, Batch

LIFECYCLE = SignalKind.AVERAGE_LIFECYCLE
HOUR = timedelta(hours=1)
ZONE = "PL"
KEY = (ZONE, LIFECYCLE)
LEVEL = annual_factors(LIFECYCLE)[ZONE][0]
SPOKES = [spoke("poland", ZONE, gpus=8)]
DIPS = (3, 10, 100)
DAYS = (0, 1, 7, 28)


def usual(hour: datetime) -> float:
    """A day's wave about the zone's annual mean."""
    return round(LEVEL * (1 + 0.12 * math.sin(2 * math.pi * hour.hour / 24)), 1)


class Grid:
    """A zone known for some days, whose values from now on are divided by a factor in so many hours."""

    def __init__(self, clock, days: int, factor: float, hours: int) -> None:
        self.clock, self.factor = clock, factor
        self.falls_at = clock.now()
        self.begins_at, self.rises_at = self.falls_at - days * 24 * HOUR, self.falls_at + hours * HOUR
        clock.forward(minutes=5)

    def value(self, zone: str, kind: SignalKind, hour: datetime) -> float | None:
        """As it is measured."""
        if hour < self.begins_at:
            return None
        return usual(hour) / (self.factor if self.falls_at <= hour < self.rises_at else 1)

    def source(self, name: str = "made") -> TraceSource:
        """What tells of it."""
        return TraceSource(name, [KEY], self.value, with_forecast=False)


def decided(signals, now: datetime, submitted: datetime):
    """On a job that waits for a grid below half of its usual level."""
    signals.forecasts([KEY], now, now + 48 * HOUR)
    signals.await_answers()  # a profile is learned in the background
    reading = signals.forecasts([KEY], now, now + 48 * HOUR)
    waits = {"action": "latest-start"}
    schedule = {"max_delay": 24 * HOUR, "max_intensity_grams_per_kwh": LEVEL / 2, "on_signal_loss": waits}
    snapshot = world(
        [job(hours=1.0, submitted=submitted, schedule=schedule)], SPOKES, reading.forecasts.values(), (ANYWHERE,)
    )
    snapshot = replace(snapshot, histories=reading.histories, signal_problems=reading.problems)
    (decision,) = explained_plan(snapshot, now)
    return decision, reading


def settled_down(signals, clock, days: int) -> None:
    """What was known before the fall."""
    if days:
        before = clock.now() - HOUR
        clock.set(before)
        decided(signals, before, before)
        clock.forward(hours=1)


@pytest.mark.parametrize("factor", DIPS)
@pytest.mark.parametrize("days", DAYS)
def test_no_start_comes_of_a_single_value(make_signals, clock, days, factor):
    outcomes, told, begun = {}, {}, clock.now()
    for divisor in (1, factor):
        clock.set(begun)
        signals = make_signals(Grid(clock, days, divisor, hours=1).source())
        settled_down(signals, clock, days)
        submitted = clock.now()
        found = []
        for hour in range(6):
            clock.set(submitted + HOUR * hour)
            found.append(decided(signals, clock.now(), submitted))
        outcomes[divisor] = [decision.outcome for decision, _ in found]
        told[divisor] = ["is in doubt until it is seen twice, and left out" in each.message for each, _ in found]
        assert all(value > LEVEL / 2 for _, reading in found for value in reading.histories[KEY].grams_per_kwh)
    started = [pair for pair in zip(outcomes[factor], outcomes[1], strict=True) if pair[0] is Outcome.START]
    assert all(otherwise is Outcome.START for _, otherwise in started)
    assert (told[factor][0], any(told[1])) == (True, False)


@pytest.mark.parametrize("factor", DIPS)
@pytest.mark.parametrize("days", DAYS)
@pytest.mark.parametrize("hours", range(2, 7))
def test_a_true_fall_is_believed_within_the_hour(make_signals, clock, days, factor, hours):
    grid = Grid(clock, days, factor, hours)
    signals = make_signals(grid.source())
    settled_down(signals, clock, days)
    begun = clock.now()
    assert decided(signals, begun, begun)[0].outcome is not Outcome.START
    for hour in range(1, hours):
        decision, reading = decided(signals, clock.forward(hours=1), begun)
        fallen = [grid.falls_at + HOUR * each for each in (0, hour)]
        assert [reading.histories[KEY].at(each) for each in fallen] == [usual(each) / factor for each in fallen]
        assert decision.outcome is Outcome.START
        assert "in doubt" not in decision.message


@pytest.mark.parametrize("factor", DIPS)
@pytest.mark.parametrize("days", DAYS)
def test_a_single_odd_hour_of_the_past_is_not_read_again(make_signals, clock, factor, days):
    grid = Grid(clock, max(1, days), factor, hours=1)
    signals = make_signals(grid.source())
    settled_down(signals, clock, days)
    clock.forward(hours=30)
    found = signals.settle(*KEY, grid.falls_at - HOUR, grid.falls_at + 2 * HOUR)
    assert [each.start - grid.falls_at for each in found] == [-HOUR, HOUR]


class NewestAlone(TraceSource):
    """A plan without history."""

    def fetch(self, ask: Ask, now: datetime) -> Batch:
        batch = super().fetch(ask, now)
        return replace(batch, readings=batch.readings[-1:])


@pytest.mark.parametrize("factor", DIPS)
@pytest.mark.parametrize("days", [0, 7])
@pytest.mark.parametrize("source", [TraceSource, NewestAlone])
@pytest.mark.parametrize("hours", [1, 3])
def test_a_restart_believes_no_single_value_and_delays_no_true_fall(
    make_signals, clock, tmp_path, factor, days, source, hours
):
    grid = Grid(clock, days, factor, hours)

    def restarted():
        told = source("made", [KEY], grid.value, with_forecast=False)
        return make_signals(told, store=HistoryStore(f"sqlite:///{tmp_path / 'signals.db'}"))

    settled_down(restarted(), clock, days)
    begun = clock.now()
    for _ in range(3):
        decision, reading = decided(restarted(), clock.forward(minutes=5), begun)
        assert all(value > LEVEL / 2 for value in reading.histories[KEY].grams_per_kwh)
        assert "is in doubt until it is seen twice, and left out" in decision.message
    clock.set(begun)
    decision, reading = decided(restarted(), clock.forward(hours=1), begun)
    assert (min(reading.histories[KEY].grams_per_kwh) < LEVEL / 2) == (hours > 1)
    assert (hours == 1) or (decision.outcome is Outcome.START and "in doubt" not in decision.message)


@pytest.mark.parametrize("factor", DIPS)
def test_a_second_source_confirms_a_fall_at_once(make_signals, clock, factor):
    grid = Grid(clock, 7, factor, hours=1)
    signals = make_signals(grid.source(), grid.source("another"))
    settled_down(signals, clock, 7)
    decided(signals, clock.now(), clock.now())
    signals.await_answers()
    decision, reading = decided(signals, clock.now(), clock.now())
    assert reading.histories[KEY].at(grid.falls_at) == usual(grid.falls_at) / factor
    assert decision.outcome is Outcome.START


def test_a_second_source_that_differs_serves_in_place_of_the_doubted_one(make_signals, clock):
    true = Grid(clock, 7, 1, hours=6)
    clock.forward(minutes=-5)
    fallen = Grid(clock, 7, 10, hours=6)
    signals = make_signals(fallen.source(), true.source("another"))
    settled_down(signals, clock, 7)
    decided(signals, clock.now(), clock.now())
    signals.await_answers()
    decision, reading = decided(signals, clock.now(), clock.now())
    assert reading.histories[KEY].at(true.falls_at) == usual(true.falls_at)
    assert decision.outcome is not Outcome.START


@pytest.mark.parametrize(
    ("zone", "measured", "days", "said"),
    [
        ("US-MIDA-PJM", lambda hour: 400.0 + hour.hour, 1, 5.0),
        ("US-MIDA-PJM", lambda hour: 400.0 + hour.hour, 1, 40.0),
        ("US-MIDA-PJM", lambda hour: 400.0 + hour.hour, 1, 133.0),
        ("US-MIDA-PJM", None, 0, 5.0),
        ("US-MIDA-PJM", None, 0, 43.0),
        ("DE", lambda hour: 130.0 + 563.0 * ((hour.toordinal() * 24 + hour.hour) % 97) / 96, 28, 33.0),
        ("DE", lambda hour: 130.0 + 563.0 * ((hour.toordinal() * 24 + hour.hour) % 97) / 96, 28, 60.0),
    ],
)
def test_a_flat_forecast_that_contradicts_all_that_is_known_is_dropped(
    make_signals, read, clock, electricitymaps, zone, measured, days, said
):
    with FakeElectricityMaps([zone], clock.now, lambda _, hour: measured(hour) if measured else said) as server:
        server.access[zone] = ["carbon-intensity/history", "carbon-intensity/past-range"] if measured else []
        signals = make_signals(electricitymaps(url=server.url))
        for _ in range(1 + 4 * (days > 1)):
            clock.forward(minutes=17)
            read(signals, zone)
            signals.await_answers()
        server.access[zone] = ["carbon-intensity/forecast"]
        server.forecast_curve = lambda *_: said
        second = make_signals(electricitymaps(url=server.url), store=signals._archive._store)
        for _ in range(3):
            clock.forward(minutes=17)
            reading = read(second, zone)
            second.await_answers()
        found = reading.forecasts[zone, LIFECYCLE]
        assert found.link != "forecast"
        assert found.grams_per_kwh.min() > said
        (view,) = second.overview([(zone, LIFECYCLE)])
        assert any("no plausible value" in trouble for trouble in view.troubles)
