"""Weeks of trouble in simulated time: whatever sources do, no forecast stands on data older than allowed."""

import random
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from carbon_servers import FakeElectricityMaps, Fault, wave
from placement_world import ANYWHERE, explained_plan, job, spoke, world

from carbonfleet.api.signal import SignalKind
from carbonfleet.placement.decision import Outcome
from carbonfleet.signals.regions import annual_factors
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
    "annual": timedelta(0),
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
        if now - forecast.observed_at > OLDEST[forecast.link.partition("+")[0].removesuffix(" blend")] + HOUR:
            found.append(f"{zone}: {forecast.link} stands on {forecast.observed_at} at {now}")
        if forecast.link not in {"static", "annual"} and (values < truth.min() / 4.1).any():
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


def test_a_source_dead_from_the_start_leaves_annual_means_and_the_reason(
    make_signals, read, clock, maps, electricitymaps
):
    maps.fault = Fault.ERROR
    signals = make_signals(electricitymaps(tries=1))
    for _ in range(48):
        reading = read(signals)
        signals.await_answers()
        assert {zone: found.link for (zone, _), found in reading.forecasts.items()} == dict.fromkeys(ZONES, "annual")
        assert set(reading.problems) == set(ZONES)
        clock.forward(hours=1)
    assert "HTTP 500" in reading.problems["CA-QC"] or "left alone" in reading.problems["CA-QC"]
    assert len(maps.seen) < 48 * len(ZONES), "a dead server is not hammered"


def test_without_the_annual_link_a_dead_source_leaves_no_forecast(make_signals, read, maps, electricitymaps):
    maps.fault = Fault.ERROR
    reading = read(make_signals(electricitymaps(tries=1), chain=["forecast", "profile", "last", "static"]))
    assert (reading.forecasts, set(reading.problems)) == ({}, set(ZONES))


MEANS = annual_factors(LIFECYCLE)
SPOKES = [spoke(zone.lower(), zone, gpus=8) for zone in ZONES]


def decided(reading, now: datetime, **schedule):
    queued = job("job", hours=1.0, submitted=now, schedule={"max_delay": timedelta(hours=24), **schedule})
    snapshot = world([queued], SPOKES, reading.forecasts.values(), (ANYWHERE,))
    snapshot = replace(snapshot, signal_problems=reading.problems, signals_awaited=reading.awaited)
    (decision,) = explained_plan(snapshot, now)
    return decision


def inverted(forecasts) -> list[str]:
    """Pairs of places whose order by what is known contradicts that of their annual means."""
    level = {zone: float(found.grams_per_kwh[:24].mean()) for (zone, _), found in forecasts.items()}
    pairs = [(clean, dirty) for clean in level for dirty in level if 2 * MEANS[clean][0] < MEANS[dirty][0]]
    return [
        f"{clean} {level[clean]:.0f}, {dirty} {level[dirty]:.0f}"
        for clean, dirty in pairs
        if level[clean] >= level[dirty]
    ]


def test_sources_down_for_a_week_one_after_the_other_never_invert_the_order_of_places(
    make_signals, read, clock, maps, electricitymaps
):
    with FakeElectricityMaps(ZONES, clock.now) as second:
        signals = make_signals(electricitymaps(tries=1), electricitymaps("v4", url=second.url, tries=1))
        links, weeks = set(), ([maps], [second], [maps, second], [])
        for down in weeks:
            for server in (maps, second):
                server.fault = Fault.ERROR if server in down else None
            for _ in range(7 * 4):
                reading = read(signals, hours=48)
                signals.await_answers()
                assert inverted(reading.forecasts) == []
                decision = decided(reading, clock.now())
                named = {candidate.cluster: candidate.link for candidate in decision.candidates}
                assert named == {zone.lower(): found.link for (zone, _), found in reading.forecasts.items()}
                assert len(named) == len(ZONES)
                assert decision.window.cluster != "us-mida-pjm"
                links |= set(named.values())
                clock.forward(hours=6)
    assert links >= {"forecast", "cached", "profile", "annual"}


def test_the_fixed_local_hour_chooses_when_and_the_annual_mean_where(make_signals, read, clock, maps, electricitymaps):
    maps.fault = Fault.ERROR
    reading = read(make_signals(electricitymaps(tries=1)))
    decision = decided(reading, clock.now(), on_signal_loss={"action": "local-hour"})
    assert (decision.window.cluster, decision.window.start.hour) == ("ca-qc", 2)
    assert "the job's own rule (local-hour) holds, and zones are compared by their annual means" in decision.message


def test_no_job_starts_blindly_while_a_first_answer_is_still_to_come(make_signals, read, clock, maps, electricitymaps):
    maps.fault = Fault.HANG
    signals = make_signals(electricitymaps(tries=1), patience_seconds=0)
    decision = decided(read(signals), clock.now())
    assert (decision.outcome, decision.reason) == (Outcome.WAIT, "SignalLost")
    assert decision.window.start == clock.now() + timedelta(hours=24)
    assert "their first answers are still to come" in decision.message
    assert decided(read(signals), clock.now(), max_delay=timedelta(0)).outcome is Outcome.START
    maps.release()
    signals.await_answers()
    decision = decided(read(signals), clock.now())
    assert (decision.outcome, decision.window.cluster) == (Outcome.START, "ca-qc")
    assert "no hour is known to be cleaner, so that the job does not wait for one" in decision.message


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
