"""Times of cron expressions in time zones, and on the days on which clocks change."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from carbonfleet.api.schedule import MOST_COUNTED, CronTimes, due_of, job_name
from carbonfleet.api.schedule.times import CronExpression, TimeZoneName

OSLO = "Europe/Oslo"
HOW = "write minute"


def times(expression, zone, after, count):
    found = islice(CronTimes(expression, ZoneInfo(zone)).after(datetime.fromisoformat(after)), count)
    return [moment.strftime("%m-%d %H:%M") for moment in found]


@pytest.mark.parametrize(
    ("expression", "zone", "after", "expected"),
    [
        ("0 7 * * *", "Etc/UTC", "2026-01-31T07:00Z", ["02-01 07:00", "02-02 07:00"]),
        ("0 7 * * *", OSLO, "2026-01-31T05:59Z", ["01-31 06:00", "02-01 06:00"]),
        ("0 7 * * 1-5", OSLO, "2026-01-30T12:00Z", ["02-02 06:00", "02-03 06:00"]),
        ("30 18 1 */3 *", "America/New_York", "2026-01-02T00:00Z", ["04-01 22:30", "07-01 22:30"]),
        ("0 0 13 * FRI", "Etc/UTC", "2026-02-12T00:00Z", ["02-13 00:00", "02-20 00:00"]),
        ("0 7 * * *", "Asia/Kathmandu", "2026-01-31T00:00Z", ["01-31 01:15", "02-01 01:15"]),
    ],
)
def test_times_are_those_of_the_zone(expression, zone, after, expected):
    assert times(expression, zone, after, len(expected)) == expected


@pytest.mark.parametrize(
    ("expression", "zone", "after", "expected"),
    [
        pytest.param(
            *("0 7 * * *", OSLO, "2026-03-28T00:00Z", ["03-28 06:00", "03-29 05:00", "03-30 05:00"]),
            id="7 o'clock stays 7 o'clock",
        ),
        pytest.param(
            *("30 2 * * *", OSLO, "2026-03-28T12:00Z", ["03-29 01:00", "03-30 00:30"]),
            id="an hour that is not there: at its end",
        ),
        pytest.param(
            *("0 2,3 * * *", OSLO, "2026-03-28T12:00Z", ["03-29 01:00", "03-30 00:00", "03-30 01:00"]),
            id="two that fall on one moment are one",
        ),
        pytest.param(
            *("30 2 * * *", OSLO, "2026-10-24T12:00Z", ["10-25 00:30", "10-26 01:30"]),
            id="an hour that is there twice: the first time alone",
        ),
        pytest.param(
            *("45 2 * * *", OSLO, "2026-10-25T01:30Z", ["10-26 01:45"]), id="asked within the hour that is there again"
        ),
        pytest.param(
            *("30 * * * *", OSLO, "2026-10-25T00:00Z", ["10-25 00:30", "10-25 01:30", "10-25 02:30"]),
            id="every hour: also the second",
        ),
        pytest.param(
            *("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00Z", ["10-03 15:30", "10-04 15:15"]),
            id="a gap of half an hour",
        ),
    ],
)
def test_days_on_which_clocks_change(expression, zone, after, expected):
    assert times(expression, zone, after, len(expected)) == expected


ZONES = st.sampled_from(["Etc/UTC", OSLO, "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Pacific/Apia"])
EXPRESSIONS = st.sampled_from(
    ["0 7 * * *", "30 2 * * *", "0 0,2,3 * * *", "*/7 * * * *", "59 1-3 * * 0", "5 */6 1,15 * *", "0 3 29 2 *"]
)
MOMENTS = st.integers(1_700_000_000, 1_900_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@settings(max_examples=60, deadline=None)
@given(EXPRESSIONS, ZONES, MOMENTS, st.integers(0, 4000).map(lambda hours: timedelta(hours=hours)))
def test_the_newest_time_of_a_span_is_the_last_of_those_that_are_counted(expression, zone, after, span):
    cron, until, found = CronTimes(expression, ZoneInfo(zone)), after + span, []
    for moment in cron.after(after):
        if moment > until or len(found) == MOST_COUNTED:
            break
        found.append(moment)
    assert all(one < other for one, other in pairwise([after, *found]))
    assert cron.count(after, until) == len(found)
    if len(found) < MOST_COUNTED:
        assert cron.newest(after, until) == (found[-1] if found else None)


@pytest.mark.parametrize("expression", ["0 7 * * 1-5", "*/15 0-6/2 1,15 JAN-mar MON,wed", "0 0 29 2 *", "5 4 * * 7"])
def test_an_expression_as_cron_has_it_is_taken(expression):
    assert TypeAdapter(CronExpression).validate_python(expression) == expression


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 7 31 2 *", "the day of month can't be"),
        ("0 7 * * 5-1", "the day of week can't be"),
        ("99 7 * * *", HOW),
        ("0 24 * * *", HOW),
        ("0 7 0 * *", HOW),
        ("0 7 * 13 *", HOW),
        ("0 7 * * MOO", HOW),
        ("*/0 7 * * *", HOW),
        ("0 7 * *", HOW),
        ("0 0 7 * * *", HOW),
        ("0  7 * * *", HOW),
        ("@daily", HOW),
        ("0 7 * * *\n", HOW),
        ("0 7 L * *", HOW),
        ("$(id) 7 * * *", HOW),
        ("0," * 60 + "0 7 * * *", "at most 100 characters"),
    ],
)
def test_an_expression_that_can_not_be_is_refused_by_its_field(expression, words):
    with pytest.raises(ValidationError, match=words):
        TypeAdapter(CronExpression).validate_python(expression)


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("Europe/Olso", "there is no time zone Europe/Olso; did you mean Europe/Oslo?"),
        ("localtime", "there is no time zone localtime"),
        ("right/Europe/Oslo", "there is no time zone right/Europe/Oslo"),
        ("+01:00", "should match pattern"),
        ("../../etc/passwd", "should match pattern"),
    ],
)
def test_a_zone_that_the_iana_database_has_not_is_refused(zone, words):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(TimeZoneName).validate_python(zone)
    assert words in str(caught.value)


def test_a_run_is_told_by_its_jobs_name_and_back():
    due = datetime(2026, 1, 31, 6, tzinfo=UTC)
    assert job_name("nightly", due.astimezone(ZoneInfo(OSLO))) == "nightly-202601310600"
    assert due_of("nightly", "nightly-202601310600") == due
    others = ("nightly", "nightly-2026", "nightly-2026013106000", "nightly-20260131060", "other-202601310600")
    assert [due_of("nightly", name) for name in (*others, "nightly-202613310600")] == [None] * 6
