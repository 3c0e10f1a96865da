"""How long a job may wait: so many hours, or a rule of those who wait for its result."""

from collections.abc import Callable, Container, Mapping
from datetime import UTC, datetime, time, timedelta, tzinfo
from functools import partial
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from carbonfleet.simulator.grid import HOUR, MINUTE, ReplayError

Slack = Callable[[datetime, int], timedelta]
"""When the job comes and how many minutes it runs; how long it may wait."""
LONGEST_HOURS: Final = 336.0
WORK_BEGINS, WORK_ENDS = time(9), time(17)
SHORT_MINUTES: Final = 120


def next_workday(local: tzinfo, submitted: datetime, minutes: int) -> timedelta:
    """Results that come outside working hours are looked at when the next workday begins.

    Source: Wiesner et al., Let's Wait Awhile (Middleware 2021), Next Workday.
    """
    end = (submitted + minutes * MINUTE).astimezone(local)
    if end.weekday() < 5 and WORK_BEGINS <= end.time() < WORK_ENDS:
        return timedelta()
    return _until_morning(end, range(5))


def semi_weekly(local: tzinfo, submitted: datetime, minutes: int) -> timedelta:
    """Results are looked at on Monday and Thursday mornings. Source: the same, Semi-Weekly."""
    end = (submitted + minutes * MINUTE).astimezone(local)
    return _until_morning(end, (0, 3))


def by_length(local: tzinfo, submitted: datetime, minutes: int) -> timedelta:
    """Six hours for runs of up to two, a day for longer ones. Source: Hanafy et al., GAIA (ASPLOS 2024)."""
    return (6 if minutes <= SHORT_MINUTES else 24) * HOUR


RULES: Final[Mapping[str, Callable[[tzinfo, datetime, int], timedelta]]] = MappingProxyType(
    {"next-workday": next_workday, "semi-weekly": semi_weekly, "by-length": by_length}
)
"""By the name that people write."""


def parse_slack(text: str, time_zone: str = "UTC") -> Slack:
    """`24`, or the name of a rule; workdays and mornings are those of `time_zone`. Raises ReplayError."""
    if text in RULES:
        return partial(RULES[text], _zone(time_zone))
    try:
        hours = float(text)
    except ValueError:
        hours = -1.0
    if not 0 <= hours <= LONGEST_HOURS:
        raise ReplayError(f"slack {text!r} is neither 0 to {LONGEST_HOURS:g} hours nor {', '.join(RULES)}")
    return fixed(hours)


def fixed(hours: float) -> Slack:
    """The same for every job."""
    return lambda submitted, minutes: timedelta(hours=hours)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ReplayError(f"--time-zone {name} does not exist; write one such as Europe/Berlin") from None


def _until_morning(moment: datetime, weekdays: Container[int]) -> timedelta:
    """Until work first begins on one of `weekdays` (0 is Monday), through changes of the clocks."""
    mornings = (datetime.combine(moment.date() + timedelta(days=day), WORK_BEGINS, moment.tzinfo) for day in range(8))
    found = next(each for each in mornings if each >= moment and each.weekday() in weekdays)
    return found.astimezone(UTC) - moment.astimezone(UTC)
