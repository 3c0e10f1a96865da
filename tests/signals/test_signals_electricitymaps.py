"""The Electricity Maps client against a server that speaks its shapes, and lies where it can."""

import logging
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from carbon_servers import TOKEN, FakeElectricityMaps, Fault, Reply, wave

from carbonfleet.api.signal import SignalKind
from carbonfleet.signals import PriceKind, Reason, SourceError
from carbonfleet.signals.reading import Unit
from carbonfleet.signals.source import (
    Ask,
    BadKeyError,
    Feed,
    MistrustedError,
    NoDataError,
    RefusedError,
    ThrottledError,
    UnavailableError,
    UnknownZoneError,
)

LIFECYCLE = SignalKind.AVERAGE_LIFECYCLE
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def ask(clock):
    def build(zone="NO-NO1", feed=Feed.MEASURED, kind=LIFECYCLE) -> Ask:
        now = clock.now()
        span = (now, now + DAY) if feed is Feed.FORECAST else (now - 3 * DAY, now)
        return Ask(zone, kind, feed, *span)

    return build


@pytest.mark.parametrize("version", ["v3", "v4"])
@pytest.mark.parametrize("feed", [Feed.MEASURED, Feed.FORECAST, Feed.PAST])
def test_both_versions_give_hourly_values_of_the_zone(electricitymaps, ask, clock, version, feed):
    batch = electricitymaps(version).fetch(ask(feed=feed), clock.now())
    assert batch.source == f"electricitymaps/{version}"
    assert not batch.rejected
    assert len(batch.readings) == {Feed.MEASURED: 24, Feed.FORECAST: 73, Feed.PAST: 72}[feed]
    for reading in batch.readings:
        assert reading.value == wave("NO-NO1", reading.start)
        assert (reading.zone, reading.step, reading.unit) == ("NO-NO1", HOUR, Unit.GRAMS_PER_KWH)


def test_every_request_disables_the_lookup_by_address(electricitymaps, ask, clock, maps):
    source = electricitymaps()
    for feed in (Feed.MEASURED, Feed.FORECAST, Feed.PAST):
        source.fetch(ask(feed=feed), clock.now())
    asked = maps.asked("carbon-intensity")
    assert len(asked) == 3
    assert {seen.query["disableCallerLookup"] for seen in asked} == {"true"}


def test_an_answer_for_another_zone_is_refused(electricitymaps, ask, clock, maps):
    maps.answer_zone = "DE"
    with pytest.raises(MistrustedError, match="asked for NO-NO1 and answered for 'DE'"):
        electricitymaps().fetch(ask(), clock.now())


def test_items_of_another_zone_are_refused(electricitymaps, ask, clock, maps):
    maps.tamper = lambda items: [{**items[0], "zone": "SE"}, *items[1:]]
    batch = electricitymaps().fetch(ask(), clock.now())
    assert [rejection.reason for rejection in batch.rejected] == [Reason.WRONG_ZONE]
    assert len(batch.readings) == 23


def test_an_unknown_zone_is_refused_before_it_is_asked_for(electricitymaps, ask, clock, maps):
    with pytest.raises(UnknownZoneError, match="knows no zone NO-NO9; did you mean NO-NO1"):
        electricitymaps().fetch(ask("NO-NO9"), clock.now())
    assert not maps.asked("carbon-intensity")


def test_an_unknown_zone_is_refused_even_without_the_list_of_zones(electricitymaps, ask, clock, maps):
    maps.faults[""] = Fault.ERROR  # the list of zones
    with pytest.raises(UnknownZoneError, match="HTTP 400"):
        electricitymaps().fetch(ask("NO-NO9"), clock.now())


def test_a_feed_outside_the_plan_is_not_asked_for(electricitymaps, ask, clock, maps):
    maps.access["NO-NO1"] = ["carbon-intensity/latest", "carbon-intensity/history"]
    with pytest.raises(RefusedError, match="does not include carbon-intensity/forecast for NO-NO1"):
        electricitymaps().fetch(ask(feed=Feed.FORECAST), clock.now())
    assert not maps.asked("forecast")


def test_a_plan_with_latest_alone_still_gives_the_level(electricitymaps, ask, clock, maps):
    maps.access["NO-NO1"] = ["carbon-intensity/latest"]
    batch = electricitymaps().fetch(ask(), clock.now())
    assert [reading.start for reading in batch.readings] == [clock.now()]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.UNAUTHORIZED, BadKeyError),
        (Fault.ZONE_UNAUTHORIZED, RefusedError),
        (Fault.FORBIDDEN, RefusedError),
        (Fault.NO_DATA, NoDataError),
        (Fault.THROTTLED, ThrottledError),
        (Fault.THROTTLED_WITH_TIME, ThrottledError),
        (Fault.ERROR, UnavailableError),
        (Fault.HTML, UnavailableError),
        (Fault.EMPTY, MistrustedError),
        (Fault.TRUNCATED, UnavailableError),
        (Fault.HANG, UnavailableError),
        (Fault.DRIP, UnavailableError),
        (Fault.REDIRECT, UnavailableError),
    ],
)
def test_each_failure_has_its_own_error(electricitymaps, ask, clock, maps, fault, error):
    maps.faults["NO-NO1"] = fault
    source = electricitymaps(read_seconds=2 if fault in {Fault.HANG, Fault.DRIP} else 60, tries=1)
    with pytest.raises(SourceError) as caught:
        source.fetch(ask(), clock.now())
    assert type(caught.value) is error
    if error is not ThrottledError:
        assert source.fetch(ask("CA-QC"), clock.now()).readings


def test_a_refused_connection_is_an_error_of_ours(electricitymaps, ask, clock, maps):
    maps.stop()
    with pytest.raises(UnavailableError, match="no connection"):
        electricitymaps().fetch(ask(), clock.now())


def test_a_redirect_does_not_carry_the_key_elsewhere(electricitymaps, ask, clock, maps):
    with FakeElectricityMaps(["NO-NO1"], clock.now) as other:
        maps.redirect_to = other.url
        maps.faults["NO-NO1"] = Fault.REDIRECT
        with pytest.raises(UnavailableError, match="has moved to"):
            electricitymaps().fetch(ask(), clock.now())
        assert not other.seen


def test_the_wait_that_the_server_names_is_kept(electricitymaps, ask, clock, maps):
    source = electricitymaps()
    maps.faults["NO-NO1"] = Fault.THROTTLED_WITH_TIME
    with pytest.raises(ThrottledError) as caught:
        source.fetch(ask(), clock.now())
    assert caught.value.retry_at == clock.now() + timedelta(seconds=120)
    maps.faults.clear()
    counted = len(maps.seen)
    with pytest.raises(ThrottledError):
        source.fetch(ask("CA-QC"), clock.forward(seconds=119))
    assert len(maps.seen) == counted
    assert source.fetch(ask("CA-QC"), clock.forward(seconds=2)).readings


def test_a_server_that_keeps_failing_is_left_alone_then_tried_once(electricitymaps, ask, clock, maps):
    source = electricitymaps(tries=1)
    maps.fault = Fault.ERROR
    for _ in range(12):
        with pytest.raises(UnavailableError):
            source.fetch(ask(), clock.now())
    assert len(maps.seen) == 5
    clock.forward(seconds=31)
    with pytest.raises(UnavailableError):
        source.fetch(ask(), clock.now())
    assert len(maps.seen) == 6
    maps.fault = None
    clock.forward(seconds=61)
    assert source.fetch(ask(), clock.now()).readings


def test_a_failed_request_is_tried_once_more(electricitymaps, ask, clock, maps):
    maps.faults["NO-NO1"] = Fault.ERROR
    with pytest.raises(UnavailableError):
        electricitymaps().fetch(ask(), clock.now())
    assert len(maps.asked("history")) == 2


def test_our_own_limit_holds_requests_back(electricitymaps, ask, clock, maps):
    source = electricitymaps(requests_per_minute=8)
    held = []
    for _ in range(60):
        try:
            source.fetch(ask(), clock.now())
        except ThrottledError as error:
            held.append(error.message)
        clock.forward(seconds=1)
    assert 7 <= len(maps.seen) <= 8
    assert len(held) >= 52
    assert all("our own limit" in message for message in held)


def test_an_unchanged_answer_is_not_sent_again(electricitymaps, ask, clock, maps):
    maps.etags = True
    source = electricitymaps()
    first = source.fetch(ask(), clock.now())
    second = source.fetch(ask(), clock.now())
    assert maps.asked("history")[1].headers["If-None-Match"]
    assert [reading.value for reading in first.readings] == [reading.value for reading in second.readings]


def test_the_token_is_in_no_message_and_no_log(electricitymaps, ask, clock, maps, caplog):
    caplog.set_level(logging.DEBUG)
    source = electricitymaps(read_seconds=0.3)
    said = []
    for fault in Fault:
        maps.faults["NO-NO1"] = fault
        try:
            source.fetch(ask(), clock.forward(hours=30))
        except SourceError as error:
            said.append(f"{error} {error!r} {error.__cause__!r}")
    assert len(said) == len(Fault)
    assert TOKEN not in "".join(said)
    assert TOKEN not in caplog.text
    assert maps.asked("history")[0].headers["auth-token"] == TOKEN


def test_a_missing_token_says_where_it_belongs(electricitymaps, ask, clock, token_file):
    token_file.unlink()
    with pytest.raises(BadKeyError, match=f"put one into {token_file}"):
        electricitymaps().fetch(ask(), clock.now())


def test_estimates_are_marked_and_settled_values_too(electricitymaps, ask, clock, maps):
    maps.estimated_hours = 6
    batch = electricitymaps().fetch(ask(), clock.now())
    assert [reading.settled for reading in batch.readings] == [True] * 18 + [False] * 6
    forecast = electricitymaps().fetch(ask(feed=Feed.FORECAST), clock.now())
    assert not any(reading.settled for reading in forecast.readings)


def test_direct_factors_are_asked_for_and_lifecycle_ones_refused(electricitymaps, ask, clock, maps):
    direct = SignalKind.AVERAGE_DIRECT
    source = electricitymaps()
    batch = source.fetch(ask(kind=direct), clock.now())
    assert batch.readings[0].value == pytest.approx(0.8 * wave("NO-NO1", batch.readings[0].start))
    assert not source.offers("NO-NO1", direct, Feed.FORECAST)
    maps.tamper = lambda items: [{**item, "emissionFactorType": "lifecycle"} for item in items]
    with pytest.raises(MistrustedError, match="WrongKind"):
        source.fetch(ask(kind=direct), clock.now())


def test_day_ahead_prices_may_be_negative(electricitymaps, ask, clock, maps):
    maps.curve = lambda zone, hour: 20.0
    batch = electricitymaps().fetch(ask(kind=PriceKind.DAY_AHEAD), clock.now())
    assert {reading.value for reading in batch.readings} == {-8.0}
    assert batch.readings[0].unit is Unit.EUR_PER_MWH


@pytest.mark.parametrize("location", ["59.9,10.7", "gcp:europe-north2"])
def test_a_zone_can_be_asked_for_by_place_or_cloud_region(electricitymaps, ask, clock, maps, location):
    maps.known_hosts[location] = "NO-NO1"
    source = electricitymaps(locations={"NO-NO1": location})
    assert source.fetch(ask(), clock.now()).readings
    maps.known_hosts[location] = "CA-QC"
    with pytest.raises(MistrustedError, match="answered for 'CA-QC'"):
        source.fetch(ask(), clock.now())


def test_a_check_asks_for_each_zone_and_feed_and_names_what_is_wrong(electricitymaps, clock, maps):
    maps.access["CA-QC"] = ["carbon-intensity/history"]
    findings = electricitymaps().check(["CA-QC", "NO-NO1", "NO-N01"], clock.now())
    assert [(finding.zone, finding.feed, finding.ok, finding.reason) for finding in findings] == [
        ("CA-QC", "measured", True, "Ready"),
        ("CA-QC", "forecast", False, "NotLicensed"),
        ("NO-N01", "measured", False, "UnknownZone"),
        ("NO-N01", "forecast", False, "UnknownZone"),
        ("NO-NO1", "measured", True, "Ready"),
        ("NO-NO1", "forecast", True, "Ready"),
    ]
    measured = findings[4]
    assert (measured.grams_per_kwh, measured.age_seconds) == (wave("NO-NO1", clock.now()), 0)
    assert measured.licence == "© Electricity Maps, by your plan's terms"
    assert len(maps.asked("history")) == 2


def test_a_check_is_not_ready_where_the_data_routes_refuse_the_key_though_the_list_of_zones_is_open(
    electricitymaps, clock, maps
):
    maps.faults |= dict.fromkeys(("NO-NO1", "CA-QC"), Fault.UNAUTHORIZED)
    (finding,) = electricitymaps().check(["NO-NO1", "CA-QC"], clock.now())
    assert (finding.zone, finding.ok, finding.reason) == ("", False, "BadKey")
    maps.faults.pop("CA-QC")
    found = electricitymaps().check(["NO-NO1", "CA-QC"], clock.now())
    assert [(each.zone, each.ok) for each in found] == [*[("CA-QC", True)] * 2, *[("NO-NO1", False)] * 2]


@pytest.mark.parametrize("header", ["X-RateLimit-Remaining", "RateLimit-Remaining"])
def test_a_check_tells_how_many_requests_are_left(electricitymaps, clock, maps, header):
    maps.headers = {header: "41"}
    measured, _ = electricitymaps().check(["NO-NO1"], clock.now())
    assert measured.remaining_requests == 41
    assert "41 requests left" in measured.message


@pytest.mark.parametrize("version", ["v3", "v4"])
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"error": "Rate limit exceeded"}, ThrottledError),
        ({"message": "Too many requests, slow down"}, ThrottledError),
        ({"error": "Monthly quota used up"}, ThrottledError),
        ("<html><body>429 Too Many Requests</body></html>", ThrottledError),
        ("<!DOCTYPE html><title>Attention Required!</title>", UnavailableError),
        ("  <html><h1>Forbidden</h1>", UnavailableError),
    ],
)
def test_a_rate_limit_or_a_gateway_does_not_read_as_a_refused_key(
    electricitymaps, ask, clock, maps, version, status, body, error
):
    maps.replies["NO-NO1"] = Reply(status, body.encode() if isinstance(body, str) else body)
    with pytest.raises(SourceError) as caught:
        electricitymaps(version, tries=1).fetch(ask(), clock.now())
    assert type(caught.value) is error


def shifted(body, hours: float, **changes):
    """A forecast whose values are of other hours; a change to None leaves a field out."""
    items = [
        {**each, "datetime": (datetime.fromisoformat(each["datetime"]) + hours * HOUR).isoformat()}
        for each in body["forecast"]
    ]
    return {key: value for key, value in {**body, "forecast": items, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    "said", [None, "", "yesterday", 5, [], "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2025-12-15T12:00:00"]
)
def test_a_forecast_that_does_not_say_when_it_was_made_is_as_old_as_its_first_hour(
    electricitymaps, ask, clock, maps, said
):
    maps.mangle = lambda seen, reply: (
        replace(reply, body=shifted(reply.body, -60, updatedAt=said)) if "forecast" in seen.path else reply
    )
    issued = electricitymaps().fetch(ask(feed=Feed.FORECAST), clock.now()).issued_at
    assert issued == (clock.now() if said == "9999-12-31T23:59:59Z" else clock.now() - 60 * HOUR)


def test_newest_first_costs_nothing(electricitymaps, ask, clock, maps):
    maps.tamper = lambda items: items[::-1]
    batch = electricitymaps().fetch(ask(), clock.now())
    assert ([each.value for each in batch.readings], batch.rejected) == (
        [wave("NO-NO1", clock.now() - hour * HOUR) for hour in range(23, -1, -1)],
        (),
    )
