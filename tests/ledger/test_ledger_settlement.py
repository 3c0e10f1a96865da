"""Settling: the grid revises its values, and the ledger says both what was thought and what was so."""

from datetime import timedelta

import numpy as np
import pytest
from carbon_servers import TOKEN, FakeElectricityMaps, Fault, wave
from ledger_values import HOUR, NOON, entry

from carbonfleet.api.signal import SignalKind
from carbonfleet.http import Endpoint, Key
from carbonfleet.hub.accounting import AT_ONCE, FinalPast, KnownPast, Settling
from carbonfleet.ledger import EntryKind
from carbonfleet.ledger.emissions import EnergyUse, Intensities, curve_of, emitted_grams, energy_use, settlement
from carbonfleet.signals import ElectricityMapsSettings, Signals, SignalSettings
from carbonfleet.signals.sources.electricitymaps import ElectricityMaps

LIFECYCLE = SignalKind.AVERAGE_LIFECYCLE
LATER = NOON + timedelta(days=3)


def held(zone, grams, settled=True):
    return Intensities(zone, NOON - 2 * HOUR, HOUR, np.array(grams, dtype=float), "grid", settled)


def final(zone, kind, start, end):
    """12 o'clock is the third value."""
    return held(zone, {"NO-NO1": [10, 20, 30, 40, 50], "US-MIDA-PJM": [500, 600, 700, 800, 900]}[zone])


def test_a_settlement_is_the_attempt_with_what_really_held():
    first = entry()
    made = settlement(first, final, LATER)

    assert (made.id, made.kind, made.settled, made.recorded_at) == ("settlement:1:1", EntryKind.SETTLEMENT, True, LATER)
    assert made.operational_grams == pytest.approx(1.1 * 0.8 * (30 + 40 + 50))
    assert made.grams == pytest.approx(made.operational_grams + 1.0 + 9.0)
    assert made.grams_per_kwh == pytest.approx(40)
    assert made.baseline_grams == pytest.approx(0.8 * (600 + 700 + 800) + 9.0)
    assert made.same_spoke_grams == pytest.approx(1.1 * 0.8 * (20 + 30 + 40) + 9.0)
    assert (made.energy_kwh, made.placement_id) == (first.energy_kwh, first.placement_id)


def test_settling_uses_energy_where_it_was_measured():
    use = EnergyUse(np.array([0.0, 3600.0, 10800.0]) + NOON.timestamp(), np.array([0.0, 2.0, 2.4]))
    made = settlement(entry(energy_curve=curve_of(use)), final, LATER)

    assert np.array_equal(energy_use(made).kwh, use.kwh)
    assert made.operational_grams == pytest.approx(1.1 * (2.0 * 30 + 0.2 * 40 + 0.2 * 50))


def test_nothing_is_settled_before_two_days_or_on_estimates():
    def estimated(zone, kind, start, end):
        return held(zone, [10] * 5, settled=zone == "NO-NO1")

    assert settlement(entry(), final, NOON + timedelta(hours=50)) is None
    assert settlement(entry(), estimated, LATER) is None
    assert settlement(entry(), lambda *_: None, LATER) is None


def test_an_attempt_without_a_baseline_gets_none_in_hindsight():
    bare = entry(baseline_grams=None, baseline_zone="", best_static_grams=None, best_static_zone="")

    assert settlement(bare, final, LATER).baseline_grams is None


@pytest.fixture
def maps(clock):
    with FakeElectricityMaps(("NO-NO1", "US-MIDA-PJM"), clock.now) as server:
        server.estimate_factor = 1.2
        yield server


@pytest.fixture
def signals(maps, clock, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    endpoint = Endpoint(url=maps.url, connect_seconds=2, read_seconds=60, retry_seconds=0.01, requests_per_minute=6000)
    source = ElectricityMaps(ElectricityMapsSettings(endpoint=endpoint, token=Key(file=tmp_path / "token")), clock)
    service = Signals([source], clock, None, SignalSettings())
    yield service
    service.close()


@pytest.fixture
def settling(ledger, signals, clock):
    made = Settling(ledger, signals, clock)
    yield made
    made.close()


def run_one(ledger, signals, clock):
    """An attempt from noon to three, accounted at three from what the grid then said."""
    clock.set(NOON + 3 * HOUR)
    signals.refresh([("NO-NO1", LIFECYCLE), ("US-MIDA-PJM", LIFECYCLE)])
    past, use = KnownPast(signals), EnergyUse.constant(NOON, NOON + 3 * HOUR, 2.4)
    known = past("NO-NO1", LIFECYCLE, NOON, NOON + 3 * HOUR)
    grams = emitted_grams(use, known, 1.1)
    first = entry(operational_grams=grams, grams=grams + 10.0, settled=known.settled, source=known.source)
    ledger.record(first)
    return first


def true_grams():
    return 1.1 * 0.8 * sum(wave("NO-NO1", NOON + hour * HOUR) for hour in range(3))


def test_revised_values_are_recorded_beside_the_first(ledger, signals, clock, settling):
    first = run_one(ledger, signals, clock)
    assert first.operational_grams == pytest.approx(1.2 * true_grams())
    assert not first.settled

    clock.set(NOON + timedelta(hours=50))
    assert settling.step() == 0, "the attempt ended less than 48 hours ago"

    clock.set(NOON + timedelta(hours=52))
    assert settling.step() == 1
    lines = list(ledger.entries())
    assert lines[0] == first
    assert lines[1].kind is EntryKind.SETTLEMENT
    assert lines[1].settled
    assert lines[1].operational_grams == pytest.approx(true_grams())
    assert ledger.attempts() == [lines[1]]

    clock.forward(hours=5)
    assert settling.step() == 0, "an attempt is settled once"
    assert len(list(ledger.entries())) == 2


def test_values_that_stay_estimates_are_tried_again_and_then_left(ledger, signals, clock, settling, maps):
    run_one(ledger, signals, clock)
    maps.estimated_hours = 24 * 20
    clock.set(NOON + timedelta(days=4))
    assert settling.step() == 0
    assert settling.step() == 0  # the round is over
    asked = len(maps.seen)
    assert settling.step() == 0
    assert len(maps.seen) == asked, "nothing is asked until the next round"

    maps.estimated_hours = 6
    clock.forward(hours=2)
    assert settling.step() == 1

    ledger.record(entry(2))
    clock.set(NOON + timedelta(days=32))
    assert settling.step() == 0
    assert len(list(ledger.entries())) == 3


def test_a_backlog_is_settled_a_few_at_a_time(ledger, signals, clock, settling):
    count = 2 * AT_ONCE + 3
    ledger.record_all(entry(number) for number in range(count))
    clock.set(LATER)

    assert [settling.step() for _ in range(4)] == [AT_ONCE, AT_ONCE, 3, 0]
    assert all(line.settled for line in ledger.attempts())


def test_settling_runs_beside_the_cycles(ledger, signals, clock, settling):
    run_one(ledger, signals, clock)
    clock.set(LATER)
    settling.begin()
    settling.wait(timeout_seconds=180)

    assert ledger.attempts()[0].settled


def test_a_dead_source_settles_nothing_and_stops_nothing(ledger, signals, clock, settling, maps):
    first = run_one(ledger, signals, clock)
    maps.fault = Fault.ERROR
    clock.set(LATER)

    assert settling.step() == 0
    assert list(ledger.entries()) == [first]


def test_a_long_attempt_is_asked_for_in_parts(signals, clock, maps):
    clock.set(NOON + timedelta(days=40))
    found = FinalPast(signals)("NO-NO1", LIFECYCLE, NOON, NOON + timedelta(days=25))

    assert found.settled
    assert found.grams_per_kwh.size == 25 * 24
    assert len(maps.asked("past-range")) == 4


@pytest.mark.parametrize("factor", [0.01, 0.1, 0.3, 10])
@pytest.mark.parametrize("zone", ["NO-NO1", "US-MIDA-PJM"])
@pytest.mark.parametrize("odd", range(3))
def test_a_single_odd_hour_of_the_past_is_in_no_account_and_the_line_says_so(signals, clock, maps, zone, factor, odd):
    def curve(zone, hour):
        return wave(zone, hour) * (factor if hour == NOON + HOUR * odd else 1)

    maps.curve = curve
    clock.set(LATER)
    found = FinalPast(signals)(zone, LIFECYCLE, NOON, NOON + 3 * HOUR)

    true = [wave(zone, NOON + HOUR * each) for each in range(3) if each != odd]
    assert set(found.grams_per_kwh) <= {round(each, 3) for each in true}
    assert not found.settled, "the first account stands until the hour is known"
    assert found.source == "electricitymaps/v3; 1 h unknown or in doubt, as those beside them"


@pytest.mark.parametrize("factor", [0.1, 10])
def test_an_odd_hour_does_not_displace_what_was_believed_while_it_was_new(signals, clock, maps, factor):
    clock.set(NOON + 3 * HOUR)
    maps.estimate_factor = 1.0
    signals.refresh([("NO-NO1", LIFECYCLE)])
    maps.curve = lambda zone, hour: wave(zone, hour) * (factor if hour == NOON + HOUR else 1)
    clock.set(LATER)
    found = FinalPast(signals)("NO-NO1", LIFECYCLE, NOON, NOON + 3 * HOUR)

    assert found.grams_per_kwh.tolist() == [round(wave("NO-NO1", NOON + HOUR * each), 3) for each in range(3)]
    assert not found.settled


def test_hours_that_were_all_clean_are_accounted_as_they_were(signals, clock, maps):
    """A fall that lasts is seen more than once."""
    maps.curve = lambda zone, hour: wave(zone, hour) / (4 if hour >= NOON else 1)
    clock.set(LATER)
    found = FinalPast(signals)("US-MIDA-PJM", LIFECYCLE, NOON, NOON + 3 * HOUR)

    assert found.grams_per_kwh.tolist() == [round(wave("US-MIDA-PJM", NOON + HOUR * each) / 4, 3) for each in range(3)]
    assert found.settled
