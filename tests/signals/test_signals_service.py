"""The service as the hub uses it: one request per zone and refresh, and a chain of fallbacks that says so."""

import time
from datetime import timedelta

import numpy as np
import pytest
from carbon_servers import FakeElectricityMaps, Fault, wave

from carbonfleet.api.signal import SignalKind
from carbonfleet.signals import HistoryStore
from carbonfleet.signals.sources.static import StaticFactors

LIFECYCLE = SignalKind.AVERAGE_LIFECYCLE
HOUR = timedelta(hours=1)


def link(reading, zone="NO-NO1"):
    found = reading.forecasts.get((zone, LIFECYCLE))
    return found.link if found else None


def settle_down(signals, read, clock, *zones, rounds=8):
    """A few refreshes, so that forecast, measured values and the weeks before are all known."""
    for _ in range(rounds):
        read(signals, *zones)
        signals.await_answers()
        clock.forward(minutes=17)


def test_a_live_forecast_covers_the_asked_hours(make_signals, read, clock, electricitymaps):
    clock.forward(minutes=25)
    found = read(make_signals(electricitymaps()), hours=24).forecasts["NO-NO1", LIFECYCLE]
    assert (found.link, found.source) == ("forecast", "electricitymaps/v3")
    assert (found.start, found.step, found.end) == (clock.now() - timedelta(minutes=25), HOUR, found.start + 25 * HOUR)
    assert found.grams_per_kwh.tolist() == [wave("NO-NO1", found.start + HOUR * i) for i in range(25)]
    assert found.observed_at == clock.now()


def test_doubt_grows_with_the_hours_ahead(make_signals, read, electricitymaps):
    found = read(make_signals(electricitymaps()), hours=48).forecasts["NO-NO1", LIFECYCLE]
    relative = found.doubt_grams_per_kwh / found.grams_per_kwh
    assert (np.diff(relative) > 0).all()
    assert 0.04 <= relative[0] < relative[-1] < 0.15


def test_ten_thousand_jobs_cost_one_request_per_zone_and_refresh(make_signals, clock, token_file, electricitymaps):
    zones = [f"ZZ-{i}" for i in range(50)]
    with FakeElectricityMaps(zones, clock.now) as server:
        signals = make_signals(electricitymaps(url=server.url))
        jobs = [(zones[i % 50], LIFECYCLE) for i in range(10_000)]
        for refresh in range(1, 4):
            for _ in range(8):
                now = clock.forward(seconds=30)
                reading = signals.forecasts(jobs, now, now + timedelta(hours=96))
                signals.await_answers()
            assert set(reading.forecasts) == set(jobs)
            asked = [seen.query["zone"] for seen in server.asked("carbon-intensity")]
            assert len(asked) <= 50 * refresh
            assert max(asked.count(zone) for zone in zones) <= refresh
            clock.forward(minutes=13)
        assert len(server.asked("zones")) == 1


def test_a_cycle_from_cache_takes_less_than_fifty_milliseconds(make_signals, clock, electricitymaps):
    zones = [f"ZZ-{i}" for i in range(50)]
    with FakeElectricityMaps(zones, clock.now) as server:
        signals = make_signals(electricitymaps(url=server.url), patience_seconds=30)
        jobs = [(zones[i % 50], LIFECYCLE) for i in range(10_000)]
        now = clock.now()
        signals.forecasts(jobs, now, now + timedelta(hours=96))
        spans = []
        for _ in range(5):
            now = clock.forward(minutes=1)  # everything is computed anew
            began = time.thread_time()
            signals.forecasts(jobs, now, now + timedelta(hours=96))
            spans.append(time.thread_time() - began)
        assert min(spans) < 0.05


def test_one_zones_failure_never_touches_the_others(make_signals, read, maps, electricitymaps):
    maps.faults["CA-QC"] = Fault.ERROR
    reading = read(make_signals(electricitymaps()))
    assert {zone: found.link for (zone, _), found in reading.forecasts.items()} == {
        "NO-NO1": "forecast",
        "CA-QC": "annual",
        "US-MIDA-PJM": "forecast",
    }
    assert "HTTP 500" in reading.problems["CA-QC"]


def test_a_zone_that_does_not_exist_has_its_problem_in_words(make_signals, read, electricitymaps):
    reading = read(make_signals(electricitymaps()), "NO-NO1", "NO-NO7")
    assert link(reading) == "forecast"
    assert "knows no zone NO-NO7; did you mean NO-NO1" in reading.problems["NO-NO7"]


def test_a_hanging_server_holds_a_cycle_only_once_and_not_for_long(make_signals, read, maps, electricitymaps):
    maps.fault = Fault.HANG
    signals = make_signals(electricitymaps(), patience_seconds=0.2)
    assert "no answer yet" in read(signals).problems["NO-NO1"]
    began = time.monotonic()
    for _ in range(500):
        assert "no answer yet" in read(signals).problems["NO-NO1"]
    assert time.monotonic() - began < 90  # each would have waited for 0.2 s
    maps.release()


def test_a_dead_source_leads_down_the_chain_in_order(make_signals, read, clock, maps, electricitymaps):
    factors = StaticFactors(LIFECYCLE, {"NO-NO1": (30.0, "static, as declared")})
    signals = make_signals(electricitymaps(tries=1), factors)
    read(signals)
    settle_down(signals, read, clock)
    maps.fault = Fault.ERROR
    seen = [link(read(signals))]
    for _ in range(80):
        clock.forward(hours=1)
        found = link(read(signals))
        if found != seen[-1]:
            seen.append(found)
        signals.await_answers()
    assert seen == ["forecast", "cached", "profile", "static"]


def test_without_enough_history_the_last_value_holds_with_growing_doubt(
    make_signals, read, clock, maps, electricitymaps
):
    maps.access["NO-NO1"] = ["carbon-intensity/latest"]
    signals = make_signals(electricitymaps(tries=1))
    first = read(signals, "NO-NO1").forecasts["NO-NO1", LIFECYCLE]
    assert (first.link, set(first.grams_per_kwh)) == ("last", {wave("NO-NO1", clock.now())})
    maps.fault = Fault.ERROR
    clock.forward(hours=6)
    later = read(signals, "NO-NO1").forecasts["NO-NO1", LIFECYCLE]
    assert later.doubt_grams_per_kwh[0] > first.doubt_grams_per_kwh[0]
    assert (np.diff(later.doubt_grams_per_kwh) >= 0).all()
    clock.forward(hours=7)
    assert "13h" in read(signals, "NO-NO1").problems["NO-NO1"]


def test_the_declared_order_of_the_chain_counts(make_signals, read, maps, electricitymaps):
    maps.access["NO-NO1"] = ["carbon-intensity/latest"]
    factors = StaticFactors(LIFECYCLE, {"NO-NO1": (30.0, "static, as declared")})
    assert link(read(make_signals(electricitymaps(), factors), "NO-NO1")) == "last"
    assert link(read(make_signals(electricitymaps(), factors, chain=["static", "last"]), "NO-NO1")) == "static"


def test_the_next_source_takes_over(make_signals, read, clock, maps, electricitymaps):
    maps.faults["NO-NO1"] = Fault.ERROR
    with FakeElectricityMaps(["NO-NO1"], clock.now, lambda zone, hour: 77.0) as second:
        reading = read(make_signals(electricitymaps(), electricitymaps("v4", url=second.url)), "NO-NO1")
    found = reading.forecasts["NO-NO1", LIFECYCLE]
    assert (found.source, found.grams_per_kwh[0]) == ("electricitymaps/v4", 77.0)


def test_a_refusal_is_remembered_for_a_day(make_signals, read, clock, maps, electricitymaps):
    maps.faults["NO-NO1"] = Fault.FORBIDDEN
    signals = make_signals(electricitymaps())
    for _ in range(20):
        read(signals, "NO-NO1")
        signals.await_answers()
        clock.forward(minutes=20)
    assert len(maps.asked("forecast")) == 1
    maps.faults.clear()
    clock.forward(hours=24)
    read(signals, "NO-NO1")
    signals.await_answers()
    assert link(read(signals, "NO-NO1")) == "forecast"


def test_what_was_answered_before_is_asked_again_after_one_refusal_and_the_zone_goes_on(
    make_signals, read, clock, maps, electricitymaps
):
    signals = make_signals(electricitymaps())
    settle_down(signals, read, clock, "NO-NO1")
    for fault in (Fault.UNAUTHORIZED, Fault.FORBIDDEN):
        maps.faults["NO-NO1"] = fault
        settle_down(signals, read, clock, "NO-NO1", rounds=1)
        (view,) = signals.overview([("NO-NO1", LIFECYCLE)])
        assert all("it answered this before, and is asked again" in each for each in view.troubles)
        maps.faults.clear()
        settle_down(signals, read, clock, "NO-NO1", rounds=3)
        assert signals.overview([("NO-NO1", LIFECYCLE)])[0].troubles == ()


def test_a_refused_key_of_one_zone_is_no_wrong_key_while_others_are_answered(
    make_signals, read, clock, maps, electricitymaps
):
    signals = make_signals(electricitymaps())
    read(signals, "CA-QC")
    maps.faults["NO-NO1"] = Fault.UNAUTHORIZED
    for _ in range(8):
        reading = read(signals, "CA-QC", "NO-NO1")
        signals.await_answers()
        clock.forward(minutes=17)
    assert "it answers for others, so that the key is good" in reading.problems["NO-NO1"]
    assert link(reading, "CA-QC") == "forecast"


def test_a_stale_forecast_counts_as_cached_and_an_old_one_not_at_all(make_signals, read, clock, maps, electricitymaps):
    maps.access = {zone: ["carbon-intensity/forecast"] for zone in maps.zones}
    maps.issued_age = timedelta(hours=6)
    signals = make_signals(electricitymaps())
    assert link(read(signals)) == "cached"
    maps.fault = Fault.ERROR
    clock.forward(hours=19)
    assert "is 25h old" in read(signals).problems["NO-NO1"]


def test_the_history_survives_a_restart(make_signals, read, clock, maps, electricitymaps, tmp_path):
    url = f"sqlite:///{tmp_path / 'signals.db'}"
    signals = make_signals(electricitymaps(), store=HistoryStore(url))
    read(signals)
    settle_down(signals, read, clock)
    read(signals)
    signals.await_answers()
    before = read(signals)
    signals.close()
    maps.stop()
    after = read(make_signals(electricitymaps(tries=1), store=HistoryStore(url)))
    assert after.histories == before.histories
    assert len(after.histories["NO-NO1", LIFECYCLE].grams_per_kwh) >= 27 * 24
    assert link(after) == "forecast"
    np.testing.assert_array_equal(
        after.forecasts["NO-NO1", LIFECYCLE].grams_per_kwh, before.forecasts["NO-NO1", LIFECYCLE].grams_per_kwh
    )


def test_a_short_forecast_is_continued_on_the_profile_and_says_so(make_signals, read, clock, maps, electricitymaps):
    maps.horizon_limit = 24
    signals = make_signals(electricitymaps())
    settle_down(signals, read, clock)
    found = read(signals, "NO-NO1", hours=72).forecasts["NO-NO1", LIFECYCLE]
    assert (found.link, found.source) == ("forecast+profile", "electricitymaps/v3")
    assert found.end >= clock.now() + timedelta(hours=72)
    exact = [wave("NO-NO1", found.start + HOUR * i) for i in range(found.grams_per_kwh.size)]
    np.testing.assert_allclose(found.grams_per_kwh, exact, rtol=0.01)


def test_a_settled_value_replaces_its_estimate_and_both_are_kept(make_signals, read, clock, maps, electricitymaps):
    maps.estimate_factor = 1.2
    store = HistoryStore()
    signals = make_signals(electricitymaps(), store=store)
    hour = clock.now() - HOUR
    signals.refresh([("NO-NO1", LIFECYCLE)])
    (polled,) = signals.intensities("NO-NO1", LIFECYCLE, hour, hour + HOUR)
    clock.forward(hours=50)
    (settled,) = signals.settle("NO-NO1", LIFECYCLE, hour, hour + HOUR)
    assert (polled.settled, settled.settled) == (False, True)
    assert polled.value == pytest.approx(1.2 * settled.value)
    assert len(store.readings("NO-NO1", LIFECYCLE, hour, hour + HOUR)) == 2


def test_measured_errors_replace_the_usual_ones(make_signals, read, clock, maps, electricitymaps):
    maps.forecast_curve = lambda zone, issued, hour: wave(zone, hour) + 5.0
    maps.horizon_limit = 6
    signals = make_signals(electricitymaps(), limits={"measured": "1m"})  # no blend with our own
    for _ in range(64):
        read(signals, "NO-NO1")
        signals.await_answers()
        clock.forward(hours=1)
    found = read(signals, "NO-NO1", hours=5).forecasts["NO-NO1", LIFECYCLE]
    np.testing.assert_allclose(found.doubt_grams_per_kwh[1:4], 5.0, rtol=0.01)
