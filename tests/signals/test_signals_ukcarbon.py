"""The UK Carbon Intensity API: half hours, times without seconds, values that are not there yet."""

from datetime import timedelta

import pytest
from carbon_servers import FakeUkCarbon, Fault, uk_value

from carbonfleet.api.signal import SignalKind
from carbonfleet.signals import Reason
from carbonfleet.signals.source import Ask, Feed, NoDataError, UnavailableError
from carbonfleet.signals.sources.ukcarbon import UkCarbon, UkCarbonSettings

DIRECT, LIFECYCLE = SignalKind.AVERAGE_DIRECT, SignalKind.AVERAGE_LIFECYCLE
HALF_HOUR = timedelta(minutes=30)


@pytest.fixture
def server(clock):
    clock.forward(minutes=10)
    with FakeUkCarbon(clock.now) as server:
        yield server


@pytest.fixture
def source(server, clock, endpoint) -> UkCarbon:
    return UkCarbon(UkCarbonSettings(endpoint=endpoint(server.url)), clock)


def past(clock, hours=24) -> Ask:
    return Ask("GB", DIRECT, Feed.MEASURED, clock.now() - timedelta(hours=hours), clock.now())


def test_the_forecast_begins_with_the_half_hour_that_holds_now(source, clock):
    now = clock.now()
    readings = source.fetch(Ask("GB", DIRECT, Feed.FORECAST, now, now + timedelta(hours=48)), now).readings
    assert readings[0].start <= now < readings[0].end
    assert len(readings) == 96
    assert readings[0].value == uk_value(readings[0].start) + 10


def test_measured_values_end_where_actual_is_null(source, clock):
    batch = source.fetch(past(clock), clock.now())
    assert {rejection.reason for rejection in batch.rejected} == {Reason.NULL}
    assert batch.readings[-1].start == clock.now().replace(minute=0) - timedelta(hours=1)
    assert batch.readings[-1].value == uk_value(batch.readings[-1].start)


def test_the_slot_before_the_asked_one_is_left_out(source, clock, server):
    asked = past(clock)
    readings = source.fetch(asked, clock.now()).readings
    assert readings[0].end > asked.start
    assert readings[0].start <= asked.start


def test_a_month_is_asked_for_in_what_they_allow(source, clock):
    readings = source.fetch(past(clock, hours=28 * 24), clock.now()).readings
    assert len(readings) > 13 * 48


def test_lifecycle_values_follow_from_the_mix_without_imports(source, clock):
    ask = Ask("GB", LIFECYCLE, Feed.MEASURED, clock.now() - timedelta(hours=6), clock.now())
    readings = source.fetch(ask, clock.now()).readings
    assert readings[-1].start == clock.now().replace(minute=0) - timedelta(hours=1)
    for reading in readings:
        gas = 20 + reading.start.hour
        grams = 490 * gas + 12 * 20 + 11 * (45 - reading.start.hour) + 655 * 0.5
        assert reading.value == pytest.approx(grams / 85.5)
        assert reading.kind is LIFECYCLE


def test_great_britain_is_offered_direct_and_measured_with_its_lifecycle(source):
    assert source.offers("GB", DIRECT, Feed.FORECAST)
    assert source.offers("GB", LIFECYCLE, Feed.PAST)
    assert not source.offers("GB", LIFECYCLE, Feed.FORECAST)
    assert not source.offers("GB", SignalKind.MARGINAL, Feed.MEASURED)
    assert not source.offers("FR", DIRECT, Feed.FORECAST)


def test_nothing_measured_yet_is_no_data_rather_than_zero(source, clock, server):
    server.actual_lag = timedelta(days=10)
    with pytest.raises(NoDataError, match="Null"):
        source.fetch(past(clock), clock.now())


def test_their_refusals_are_quoted(source, clock, server):
    server.fault = Fault.ERROR
    with pytest.raises(UnavailableError):
        source.fetch(past(clock), clock.now())
    findings = source.check(["GB"], clock.now())
    assert [finding.ok for finding in findings] == [False]
