"""Weeks of trouble in simulated time: whatever sources do, no forecast stands on data older than allowed."""

import random
from datetime import datetime, timedelta

import numpy as np
import pytest
from carbon_servers import Fault, wave

from carbonfleet.api.signal import SignalKind
from carbonfleet.signals.settings import AgeLimits
from carbonfleet.signals.sources.static import StaticFactors

LIFECYCLE = SignalKind.AVERAGE_LIFECYCLE
HOUR = timedelta(hours=1)
ZONES = ("NO-NO1", "CA-QC", "US-MIDA-PJM")
LIMITS = AgeLimits()
OLDEST = {
    "forecast": LIMITS.forecast,
    "cached": LIMITS.cached,
    "profile": LIMITS.profile,
    "last": LIMITS.last,
    "static": timedelta(0),
}
QUICK_FAULTS = [fault for fault in Fault if fault not in {Fault.HANG, Fault.DRIP}]


def lies(chance: random.Random):
    """An answer with some of its values replaced by what data errors look like."""
    errors = [None, -5, 0, 2, 9e6, "NaN", True, 12.5e9]

    def tamper(items):
        return [{**item, "carbonIntensity": chance.choice(errors)} if chance.random() < 0.2 else item for item in items]

    return tamper


class Trouble:
    """One hour's mischief at a time, from a seed."""

    def __init__(self, maps, seed: int) -> None:
        self._maps = maps
        self._chance = random.Random(seed)

    def next_hour(self) -> None:
        maps, chance = self._maps, self._chance
        maps.faults = {zone: chance.choice(QUICK_FAULTS) for zone in ZONES if chance.random() < 0.3}
        maps.fault = chance.choice(QUICK_FAULTS) if chance.random() < 0.2 else None
        maps.tamper = lies(chance) if chance.random() < 0.4 else lambda items: items
        maps.answer_zone = chance.choice(ZONES) if chance.random() < 0.1 else ""
        maps.issued_age = HOUR * chance.choice([0, 0, 0, 3, 30])
        maps.measured_age = HOUR * chance.choice([0, 0, 1, 6])
        maps.horizon_limit = chance.choice([72, 72, 24, 3])


def violations(reading, now: datetime) -> list[str]:
    """What is wrong with a cycle's reading."""
    found = []
    for (zone, _), forecast in reading.forecasts.items():
        values = forecast.grams_per_kwh
        truth = np.array([wave(zone, forecast.start + HOUR * i) for i in range(values.size)])
        if now - forecast.observed_at > OLDEST[forecast.link.partition("+")[0]] + HOUR:
            found.append(f"{zone}: {forecast.link} stands on {forecast.observed_at} at {now}")
        if forecast.link != "static" and (values < truth.min() / 4.1).any():
            found.append(f"{zone}: {values.min()} g in a zone of at least {truth.min()}")
        if not forecast.start <= now < forecast.end:
            found.append(f"{zone}: {forecast.link} does not cover {now}")
    missing = set(ZONES) - {zone for zone, _ in reading.forecasts}
    found += [f"{zone}: neither forecast nor problem" for zone in missing - set(reading.problems)]
    return found


def simulate(make_signals, read, clock, maps, electricitymaps, *, days: int, seed: int, static: bool) -> set[str]:
    """Hourly cycles over `days`; the links that served."""
    factors = [StaticFactors(LIFECYCLE, dict.fromkeys(ZONES, (450.0, "static, as declared")))] if static else []
    signals = make_signals(electricitymaps(tries=1), *factors)
    trouble, links = Trouble(maps, seed), set()
    for _ in range(days * 24):
        trouble.next_hour()
        reading = read(signals, hours=48)
        signals.await_answers()
        assert violations(reading, clock.now()) == []
        links |= {forecast.link for forecast in reading.forecasts.values()}
        clock.forward(minutes=60)
    return links


def test_days_of_every_trouble_leave_no_forecast_on_bad_data(make_signals, read, clock, maps, electricitymaps):
    links = simulate(make_signals, read, clock, maps, electricitymaps, days=4, seed=1, static=True)
    assert {"forecast", "cached"} <= links


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_four_weeks_of_every_trouble_leave_no_forecast_on_bad_data(
    make_signals, read, clock, maps, electricitymaps, seed
):
    simulate(make_signals, read, clock, maps, electricitymaps, days=28, seed=seed, static=bool(seed % 2))


def test_a_source_dead_from_the_start_leaves_problems_and_no_forecast(make_signals, read, clock, maps, electricitymaps):
    maps.fault = Fault.ERROR
    signals = make_signals(electricitymaps(tries=1))
    for _ in range(48):
        reading = read(signals)
        signals.await_answers()
        assert not reading.forecasts
        assert set(reading.problems) == set(ZONES)
        clock.forward(hours=1)
    assert len(maps.seen) < 48 * len(ZONES), "a dead server is not hammered"


def test_a_source_that_comes_back_is_used_again_within_the_hour(make_signals, read, clock, maps, electricitymaps):
    signals = make_signals(electricitymaps(tries=1))
    maps.fault = Fault.ERROR
    for _ in range(30):
        read(signals)
        signals.await_answers()
        clock.forward(minutes=20)
    maps.fault = None
    for _ in range(6):
        read(signals)
        signals.await_answers()
        clock.forward(minutes=10)
    reading = read(signals)
    assert {forecast.link for forecast in reading.forecasts.values()} == {"forecast"}
    assert len(reading.forecasts) == 3
