"""Energinet: Denmark's two zones, five minutes, times that say no zone."""

from datetime import timedelta

import pytest
from carbon_servers import Fault
from fake_generation import FakeEnerginet, denmark

from carbonfleet.api.signal import SignalKind
from carbonfleet.signals.source import Ask, Feed, MistrustedError, SourceError, UnknownZoneError
from carbonfleet.signals.sources.energinet import Energinet, EnerginetSettings

DIRECT = SignalKind.AVERAGE_DIRECT
DAY = timedelta(days=1)


@pytest.fixture
def server(clock):
    with FakeEnerginet(clock.now) as server:
        yield server


@pytest.fixture
def source(server, clock, endpoint) -> Energinet:
    return Energinet(EnerginetSettings(endpoint=endpoint(server.url)), clock)


def ask(clock, feed=Feed.MEASURED, zone="DK-DK1", span=DAY) -> Ask:
    now = clock.now()
    return Ask(zone, DIRECT, feed, *((now, now + span) if feed is Feed.FORECAST else (now - span, now)))


def test_measured_values_stand_at_their_utc_times(source, clock):
    readings = source.fetch(ask(clock), clock.now()).readings
    assert len(readings) == 22 * 12
    assert all(reading.value == pytest.approx(denmark(reading.start)) for reading in readings)
    assert readings[0].start == clock.now() - DAY


def test_the_forecast_is_theirs(source, clock, server):
    readings = source.fetch(ask(clock, Feed.FORECAST), clock.now()).readings
    assert readings[0].start == clock.now()
    assert not readings[0].settled
    assert server.asked("CO2EmisProg")


def test_a_month_comes_whole(source, clock):
    assert len(source.fetch(ask(clock, span=28 * DAY), clock.now()).readings) == (28 * 24 - 2) * 12


def test_values_of_the_other_area_are_not_mixed_in(source, clock, server):
    server.subject = lambda seen: "DK2"
    with pytest.raises(MistrustedError, match="WrongZone"):
        source.fetch(ask(clock), clock.now())


def test_denmarks_zones_are_offered_direct_alone(source, clock):
    assert source.offers("DK-DK2", DIRECT, Feed.FORECAST)
    assert not source.offers("DK-DK2", SignalKind.AVERAGE_LIFECYCLE, Feed.MEASURED)
    assert not source.offers("DE", DIRECT, Feed.MEASURED)
    with pytest.raises(UnknownZoneError):
        source.fetch(ask(clock, zone="DE"), clock.now())


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in (Fault.HANG, Fault.DRIP)])
def test_however_it_fails_it_is_an_error_of_ours(source, clock, server, fault):
    server.fault = fault
    with pytest.raises(SourceError):
        source.fetch(ask(clock), clock.now())
    assert [finding.ok for finding in source.check(["DK-DK1", "DE"], clock.now())] == [False, False]


def test_records_in_another_form_are_not_believed(source, clock, server):
    server.reply = lambda seen: type(server).reply(server, seen).__class__(200, {"records": "many"})
    with pytest.raises(MistrustedError):
        source.fetch(ask(clock), clock.now())


def test_a_check_tries_each_of_its_zones(source, clock):
    assert [(each.zone, each.feed, each.ok) for each in source.check(["DE", "DK-DK1"], clock.now())] == [
        ("DK-DK1", "measured", True),
        ("DK-DK1", "forecast", True),
    ]
