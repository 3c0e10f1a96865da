"""The Carbon Aware SDK's web API, with the faults of its own."""

from datetime import timedelta

import pytest
from carbon_servers import FakeCarbonAwareSdk, wave

from carbonfleet.api.signal import SignalKind
from carbonfleet.signals import Reason
from carbonfleet.signals.source import Ask, Feed, MistrustedError, RefusedError, UnknownZoneError
from carbonfleet.signals.sources.carbonawaresdk import CarbonAwareSdk, CarbonAwareSdkSettings

LIFECYCLE = SignalKind.AVERAGE_LIFECYCLE
ZONE, LOCATION = "US-MIDA-PJM", "eastus"


@pytest.fixture
def server(clock):
    with FakeCarbonAwareSdk([LOCATION], clock.now) as server:
        yield server


@pytest.fixture
def source(server, clock, endpoint) -> CarbonAwareSdk:
    locations = {ZONE: LOCATION, "FR": "francecentral"}
    settings = CarbonAwareSdkSettings(endpoint=endpoint(server.url), kind=LIFECYCLE, locations=locations)
    return CarbonAwareSdk(settings, clock)


def ask(clock, feed=Feed.FORECAST, zone=ZONE) -> Ask:
    now, day = clock.now(), timedelta(days=1)
    return Ask(zone, LIFECYCLE, feed, *((now, now + day) if feed is Feed.FORECAST else (now - day, now)))


def test_forecasts_come_in_steps_of_their_duration(source, clock):
    readings = source.fetch(ask(clock), clock.now()).readings
    assert len(readings) == 48
    assert readings[0].step == timedelta(minutes=30)
    assert readings[0].value == wave(LOCATION, readings[0].start)


def test_measured_values_have_hours(source, clock):
    readings = source.fetch(ask(clock, Feed.MEASURED), clock.now()).readings
    assert [reading.step for reading in readings] == [timedelta(hours=1)] * 24


def test_minus_one_stands_for_null_and_is_refused(source, clock, server):
    server.nulls = 3
    batch = source.fetch(ask(clock), clock.now())
    assert [rejection.reason for rejection in batch.rejected] == [Reason.NULL] * 3


def test_times_of_update_are_not_taken_for_times_of_value(source, clock, server):
    server.times_of_update = True
    with pytest.raises(MistrustedError, match="BadTime"):
        source.fetch(ask(clock, Feed.MEASURED), clock.now())


def test_a_source_without_forecasts_is_refused_for_good(source, clock, server):
    server.has_forecast = False
    with pytest.raises(RefusedError, match="has no forecasts"):
        source.fetch(ask(clock), clock.now())


def test_another_location_is_not_believed(source, clock, server):
    server.answer_location = "westus"
    with pytest.raises(MistrustedError, match="another location"):
        source.fetch(ask(clock), clock.now())


def test_an_unknown_location_is_named(source, clock):
    with pytest.raises(UnknownZoneError, match="Unknown location francecentral"):
        source.fetch(ask(clock, zone="FR"), clock.now())
    findings = source.check([ZONE, "FR"], clock.now())
    assert [(finding.zone, finding.ok) for finding in findings] == [
        *[("FR", False)] * 2,
        *[(ZONE, True)] * 2,
    ]
