"""WattTime: pounds that become grams, tokens that expire, ends that are inclusive."""

import threading
from datetime import timedelta

import pytest
from carbon_servers import PASSWORD, USER, FakeWattTime, Fault, pounds

from carbonfleet.api.signal import SignalKind
from carbonfleet.http import Key
from carbonfleet.signals import TraceSource
from carbonfleet.signals.reading import hourly_means
from carbonfleet.signals.source import Ask, BadKeyError, Feed, MistrustedError, RefusedError, UnavailableError
from carbonfleet.signals.sources.watttime import WattTime, WattTimeSettings

MARGINAL = SignalKind.MARGINAL
ZONE, REGION = "US-CAL-CISO", "CAISO_NORTH"


@pytest.fixture
def server(clock):
    with FakeWattTime([REGION], clock.now) as server:
        yield server


@pytest.fixture
def source(server, clock, endpoint, tmp_path) -> WattTime:
    (tmp_path / "user").write_text(USER)
    (tmp_path / "password").write_text(PASSWORD)
    keys = {"username": Key(file=tmp_path / "user"), "password": Key(file=tmp_path / "password")}
    return WattTime(WattTimeSettings(endpoint=endpoint(server.url), regions={ZONE: REGION}, **keys), clock)


def ask(clock, feed=Feed.FORECAST, zone=ZONE, hours=48) -> Ask:
    now, span = clock.now(), timedelta(hours=hours)
    return Ask(zone, MARGINAL, feed, *((now, now + span) if feed is Feed.FORECAST else (now - span, now)))


def test_pounds_per_megawatt_hour_become_grams_per_kilowatt_hour(source, clock):
    readings = source.fetch(ask(clock), clock.now()).readings
    assert readings[0].value == pytest.approx(pounds(REGION, clock.now()) * 0.45359237, rel=1e-12)
    assert {(reading.step, reading.kind) for reading in readings} == {(timedelta(minutes=5), MARGINAL)}


def test_the_whole_horizon_comes_not_a_day_of_it(source, clock, server):
    assert len(source.fetch(ask(clock), clock.now()).readings) == 48 * 12
    assert server.asked("forecast")[0].query["horizon_hours"] == "48"


def test_an_hour_is_the_mean_of_its_twelve_values(source, clock):
    hours = hourly_means(source.fetch(ask(clock), clock.now()).readings)
    mean = sum(pounds(REGION, clock.now() + timedelta(minutes=5 * i)) for i in range(12)) / 12
    assert hours[clock.now()][0] == pytest.approx(mean * 0.45359237)
    assert hours[clock.now()][1] == pytest.approx(1.0)


def test_their_inclusive_end_gives_no_value_too_many(source, clock):
    asked = ask(clock, Feed.PAST, hours=24)
    clock.forward(hours=48)
    readings = source.fetch(asked, clock.now()).readings
    assert (readings[0].start, readings[-1].end) == (asked.start, asked.end)
    assert len(readings) == 288


def test_an_expired_token_leads_to_one_login(source, clock, server):
    source.fetch(ask(clock), clock.now())
    source.fetch(ask(clock), clock.forward(minutes=29))
    assert server.logins == 1
    source.fetch(ask(clock), clock.forward(minutes=2))
    assert server.logins == 2


def test_many_threads_share_one_login(source, clock, server):
    threads = [threading.Thread(target=source.fetch, args=(ask(clock), clock.now())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert server.logins == 1
    assert len(server.asked("forecast")) == 8


def test_a_wrong_password_is_a_bad_key_and_is_not_repeated_in_words(source, clock, tmp_path):
    (tmp_path / "password").write_text("wrong-secret")
    with pytest.raises(BadKeyError) as caught:
        source.fetch(ask(clock), clock.now())
    assert "wrong-secret" not in repr(caught.value)


def test_a_region_outside_the_plan_is_refused(source, clock, server):
    server.regions.clear()
    with pytest.raises(RefusedError, match="does not include CAISO_NORTH"):
        source.fetch(ask(clock), clock.now())


@pytest.mark.parametrize("switch", ["units", "answer_region"])
def test_other_units_and_other_regions_are_not_believed(source, clock, server, switch):
    setattr(server, switch, "dollars_per_mwh")
    with pytest.raises(MistrustedError):
        source.fetch(ask(clock), clock.now())


def test_it_offers_marginal_values_alone(source):
    assert source.offers(ZONE, MARGINAL, Feed.FORECAST)
    assert not source.offers(ZONE, SignalKind.AVERAGE_LIFECYCLE, Feed.FORECAST)
    assert source.offers("CA-QC", MARGINAL, Feed.FORECAST), "the region table knows Quebec's"


def test_a_server_that_fails_is_an_error_of_ours(source, clock, server):
    server.fault = Fault.ERROR
    with pytest.raises(UnavailableError):
        source.fetch(ask(clock), clock.now())


def test_a_check_names_the_regions_outside_the_plan(source, clock):
    findings = source.check([ZONE, "CA-QC", "XX"], clock.now())
    assert [(finding.zone, finding.feed, finding.reason) for finding in findings] == [
        ("CA-QC", "measured", "NotLicensed"),
        ("CA-QC", "forecast", "NotLicensed"),
        (ZONE, "measured", "Ready"),
        (ZONE, "forecast", "Ready"),
        ("XX", "", "UnknownZone"),
    ]


def test_steps_of_different_length_reach_the_ledger_as_hours(make_signals, source, clock):
    """Five minutes while WattTime answers, hours from another source before it."""
    start = clock.now() - timedelta(hours=1)
    other = TraceSource("trace", [(ZONE, MARGINAL)], lambda zone, kind, hour: 500.0 if hour < start else None)
    signals = make_signals(source, other)
    signals.settle(ZONE, MARGINAL, start, clock.now())
    found = signals.intensities(ZONE, MARGINAL, start - timedelta(hours=2), clock.now())
    mean = sum(pounds(REGION, start + timedelta(minutes=5 * i)) for i in range(12)) / 12 * 0.45359237
    assert [reading.step for reading in found] == [timedelta(hours=1)] * 3
    assert [reading.value for reading in found] == [500.0, 500.0, pytest.approx(mean)]
