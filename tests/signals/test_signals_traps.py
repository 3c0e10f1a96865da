"""The ways in which carbon data lies, each of which ends in a reason and never in a plan."""

from datetime import UTC, datetime, timedelta

import pytest
from carbon_servers import FakeElectricityMaps, wave

from carbonfleet.api.signal import SignalKind
from carbonfleet.signals import PriceKind, Reason
from carbonfleet.signals.source import Ask, Feed
from carbonfleet.signals.validation import Frame, Point, validate

LIFECYCLE = SignalKind.AVERAGE_LIFECYCLE
HOUR = timedelta(hours=1)
NOON = datetime(2025, 12, 15, 12, tzinfo=UTC)


def screened(*points: tuple[object, object], kind=LIFECYCLE, feed=Feed.MEASURED):
    """Values kept and reasons for what was not."""
    ask = Ask("SE", kind, feed, NOON - 24 * HOUR, NOON)
    kept, refused = validate((Point(at, value) for at, value in points), Frame(ask, "test", HOUR, NOON))
    return [reading.value for reading in kept], [rejection.reason for rejection in refused]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.NULL),
        (float("nan"), Reason.NOT_A_NUMBER),
        (float("inf"), Reason.NOT_A_NUMBER),
        ("NaN", Reason.NOT_A_NUMBER),
        ("42", Reason.NOT_A_NUMBER),
        (True, Reason.NOT_A_NUMBER),
        ([3], Reason.NOT_A_NUMBER),
        (-1, Reason.NEGATIVE),
        (9e6, Reason.ABSURD),
        (0, Reason.TOO_CLEAN),
        (2, Reason.TOO_CLEAN),
    ],
)
def test_a_value_that_no_grid_has_is_refused_with_its_reason(value, reason):
    assert screened(("2025-12-15T10:00:00Z", value)) == ([], [reason])


def test_whole_numbers_and_fractions_are_both_numbers():
    kept, _ = screened(("2025-12-15T10:00:00.000Z", 42), ("2025-12-15T11:00:00+00:00", 42.5))
    assert kept == [42.0, 42.5]


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        ("2025-12-15T13:30:00Z", Reason.BAD_TIME),
        ("2025-12-15T14:00:00Z", Reason.FUTURE),
        ("2025-12-15T10:00:00", Reason.BAD_TIME),
        ("yesterday", Reason.BAD_TIME),
        (1765792800, Reason.BAD_TIME),
        (None, Reason.BAD_TIME),
    ],
)
def test_a_time_that_cannot_be_is_refused(at, reason):
    assert screened((at, 100)) == ([], [reason])


def test_an_hour_dated_by_its_end_is_not_the_future():
    assert screened(("2025-12-15T13:00:00Z", 100)) == ([100.0], [])


def test_a_time_of_another_zone_is_the_same_moment():
    """No day is special: an offset that daylight saving changes moves nothing."""
    assert screened(("2025-12-15T11:00:00+02:00", 100), ("2025-12-15T10:00:00Z", 101))[0] == [100.0, 101.0]


@pytest.mark.parametrize("order", [[8, 9, 9, 7, 10], [10, 9, 9, 8, 7], [9, 10, 7, 9, 8]])
def test_values_are_put_in_order_and_of_an_hour_twice_the_higher_counts(order):
    points = [(f"2025-12-15T{hour:02}:00:00Z", 100 + hour - place) for place, hour in enumerate(order)]
    twice = max(value for at, value in points if at.startswith("2025-12-15T09"))
    kept, refused = screened(*points)
    assert (len(kept), kept[2], refused) == (4, twice, [Reason.DUPLICATE])


@pytest.mark.parametrize(
    ("value", "reason"), [(10**400, Reason.ABSURD), (1e300, Reason.ABSURD), (-(10**400), Reason.ABSURD)]
)
def test_numbers_beyond_all_measure_are_refused_alone(value, reason):
    assert screened(("2025-12-15T09:00:00Z", 50), ("2025-12-15T10:00:00Z", value)) == ([50.0], [reason])


@pytest.mark.parametrize("feed", list(Feed)[:3])
@pytest.mark.parametrize(
    ("at", "reason"),
    [
        ("0001-01-01T00:00:00Z", Reason.STALE),
        ("0001-01-01T00:00:00+14:00", Reason.BAD_TIME),
        ("9999-12-31T23:00:00-14:00", Reason.BAD_TIME),
        ("9999-12-31T23:00:00Z", Reason.FUTURE),
        ("1970-01-01T00:00:00Z", Reason.STALE),
        ("2026-06-15T10:00:00Z", Reason.FUTURE),
    ],
)
def test_times_of_another_age_are_refused_alone_in_every_feed(at, reason, feed):
    assert screened(("2025-12-15T09:00:00Z", 50), (at, 50), feed=feed) == ([50.0], [reason])


def test_zero_is_a_value_where_it_can_be_one():
    assert screened(("2025-12-15T10:00:00Z", 0), kind=SignalKind.MARGINAL) == ([0.0], [])
    assert screened(("2025-12-15T10:00:00Z", -20), kind=PriceKind.DAY_AHEAD) == ([-20.0], [])
    assert screened(("2025-12-15T10:00:00Z", -1), kind=PriceKind.GPU_SPOT) == ([], [Reason.NEGATIVE])


def _week(signals, read, clock):
    """Enough of the past to know a zone by."""
    signals.refresh([("NO-NO1", LIFECYCLE)])
    for _ in range(6):
        clock.forward(minutes=17)
        read(signals, "NO-NO1")
        signals.await_answers()


def tampered(change):
    """Every value of an answer put through `change`."""
    return lambda items: [{**item, "carbonIntensity": change(item["carbonIntensity"])} for item in items]


@pytest.mark.parametrize("change", [lambda v: v / 10, lambda v: v * 6])
def test_a_forecast_unlike_its_zone_is_not_planned_with(make_signals, read, clock, maps, electricitymaps, change):
    maps.curve = lambda zone, hour: wave(zone, hour) / 10 + 100
    signals = make_signals(electricitymaps())
    _week(signals, read, clock)
    lie = tampered(change)
    maps.tamper = lambda items: items if "zone" in items[0] else lie(items)  # forecasts alone
    clock.forward(hours=26)
    for _ in range(3):
        clock.forward(minutes=17)
        read(signals, "NO-NO1")
        signals.await_answers()
    (view,) = signals.overview([("NO-NO1", LIFECYCLE)])
    assert view.link != "forecast"
    assert any("unlike" in trouble.lower() for trouble in view.troubles)


def test_an_answer_that_is_mostly_unlike_its_zone_is_left_alone(make_signals, read, clock, maps, electricitymaps):
    """Its other values may be as wrong: a third of them look right by chance."""
    maps.curve = lambda zone, hour: 100.0
    signals = make_signals(electricitymaps())
    _week(signals, read, clock)
    maps.curve = lambda zone, hour: 120.0 if hour.hour % 3 == 0 else 9.0
    for _ in range(4):
        clock.forward(minutes=17)
        read(signals, "NO-NO1")
        signals.await_answers()
    found = read(signals, "NO-NO1").forecasts["NO-NO1", LIFECYCLE]
    assert 120.0 not in found.grams_per_kwh


def test_single_hours_unlike_the_zone_are_bridged(make_signals, read, clock, maps, electricitymaps):
    maps.curve = lambda zone, hour: 100.0
    signals = make_signals(electricitymaps())
    _week(signals, read, clock)

    def spikes(items):
        items[2]["carbonIntensity"], items[5]["carbonIntensity"] = 10, 1900
        return items

    maps.tamper = spikes
    for _ in range(4):
        clock.forward(minutes=17)
        read(signals, "NO-NO1")
        signals.await_answers()
    found = read(signals, "NO-NO1").forecasts["NO-NO1", LIFECYCLE]
    assert (found.link, set(found.grams_per_kwh)) == ("forecast", {100.0})


def test_a_grid_that_becomes_dirtier_is_believed_in_the_end(make_signals, read, clock, maps, electricitymaps):
    maps.curve = lambda zone, hour: 60.0
    maps.access["NO-NO1"] = ["carbon-intensity/history", "carbon-intensity/past-range"]
    signals = make_signals(electricitymaps())
    _week(signals, read, clock)
    maps.curve = lambda zone, hour: 400.0
    clock.forward(hours=2)
    read(signals, "NO-NO1")
    signals.await_answers()
    clock.forward(hours=1)
    assert read(signals, "NO-NO1").histories["NO-NO1", LIFECYCLE].grams_per_kwh[-20:] == (400.0,) * 20


def test_a_direct_zero_in_a_fossil_zone_is_not_clean(make_signals, clock, maps, electricitymaps):
    maps.curve = lambda zone, hour: 600.0
    signals, wanted = make_signals(electricitymaps()), [("NO-NO1", SignalKind.AVERAGE_DIRECT)]
    for _ in range(6):
        signals.forecasts(wanted, clock.now(), clock.now() + 24 * HOUR)
        signals.await_answers()
        clock.forward(minutes=17)
    maps.tamper = tampered(lambda value: 0)
    clock.forward(hours=6)
    signals.forecasts(wanted, clock.now(), clock.now() + 24 * HOUR)
    signals.await_answers()
    found = signals.forecasts(wanted, clock.now(), clock.now() + 24 * HOUR).forecasts[wanted[0]]
    assert found.grams_per_kwh.min() == pytest.approx(480)


def test_a_null_in_a_forecast_is_bridged_and_a_long_gap_ends_it(make_signals, read, clock, maps, electricitymaps):
    def holes(items):
        for index in (3, 10, 11, 12, 13):
            items[index]["carbonIntensity"] = None
        return items

    maps.tamper = holes
    maps.curve = lambda zone, hour: 100.0
    found = read(make_signals(electricitymaps()), "NO-NO1", hours=24).forecasts["NO-NO1", LIFECYCLE]
    assert found.grams_per_kwh.tolist() == [100.0] * 10


def test_a_null_is_missing_and_never_zero(make_signals, clock, maps, electricitymaps):
    """Zero grams are possible in direct values of a clean zone: a null read as 0 would pass there."""
    maps.curve = lambda zone, hour: 0.0
    maps.tamper = lambda items: [*items[:5], {**items[5], "carbonIntensity": None}, *items[6:]]
    signals, wanted = make_signals(electricitymaps()), [("NO-NO1", SignalKind.AVERAGE_DIRECT)]
    signals.refresh(wanted)
    (view,) = signals.overview(wanted)
    assert [rejection.reason for rejection in view.rejected] == [Reason.NULL]
    assert len(signals.forecasts(wanted, clock.now(), clock.now() + HOUR).histories[wanted[0]].grams_per_kwh) == 23


def test_stale_measurements_are_not_the_present(make_signals, read, maps, electricitymaps):
    maps.access["NO-NO1"] = ["carbon-intensity/history"]
    maps.measured_age = timedelta(hours=50)
    reading = read(make_signals(electricitymaps()), "NO-NO1")
    assert "the last measured value is 50h old" in reading.problems["NO-NO1"]


def test_kinds_never_mix(make_signals, clock, maps, electricitymaps):
    """Forecasts are lifecycle: a job that decides by direct values does not get one."""
    signals = make_signals(electricitymaps())
    wanted = [("NO-NO1", kind) for kind in SignalKind]
    for _ in range(2):
        reading = signals.forecasts(wanted, clock.now(), clock.now() + 24 * HOUR)
        signals.await_answers()
    links = {kind: found.link for (_, kind), found in reading.forecasts.items()}
    assert links == {LIFECYCLE: "forecast", SignalKind.AVERAGE_DIRECT: "profile"}
    assert "no source offers it" in reading.problems["NO-NO1"]


def test_whole_numbers_from_the_server_are_as_good(make_signals, read, clock, maps, electricitymaps):
    maps.whole_points = True
    maps.access["NO-NO1"] = ["carbon-intensity/history"]
    found = read(make_signals(electricitymaps()), "NO-NO1").forecasts["NO-NO1", LIFECYCLE]
    assert found.grams_per_kwh[0] == round(wave("NO-NO1", clock.now()))


@pytest.mark.parametrize("day", [datetime(2025, 3, 30, tzinfo=UTC), datetime(2025, 10, 26, tzinfo=UTC)])
def test_days_on_which_clocks_change_are_days_like_others(make_signals, read, clock, maps, electricitymaps, day):
    clock.set(day)
    found = read(make_signals(electricitymaps()), "NO-NO1", hours=48).forecasts["NO-NO1", LIFECYCLE]
    assert found.grams_per_kwh.tolist() == [wave("NO-NO1", day + i * HOUR) for i in range(48)]


def test_a_server_that_guesses_the_zone_by_address_is_never_asked_to(clock, maps):
    """The trap itself: without the switch the fake answers for another zone, as the real one does."""
    import requests

    headers = {"auth-token": "em-secret-token-123"}
    url = f"{maps.url}/v3/carbon-intensity/latest"
    maps.zones.append("DE")
    guessed = requests.get(url, {"zone": "NO-N01"}, headers=headers, timeout=60)
    assert (guessed.status_code, guessed.json()["zone"]) == (200, "DE")
    plain = requests.get(url, {"zone": "NO-N01", "disableCallerLookup": "true"}, headers=headers, timeout=60)
    assert plain.status_code == 400
    assert isinstance(maps, FakeElectricityMaps)
