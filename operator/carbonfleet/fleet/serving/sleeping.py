"""When what serves sleeps, from when it is used: one window on some days of the week, as kube-green can keep it."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self
from zoneinfo import available_timezones

DAYS: Final = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
"""As cron counts them."""
EXAMPLE: Final = "Mon-Fri 08:00-18:00 Europe/Berlin"
WAKE_LEAD: Final = timedelta(minutes=15)
_DAY: Final = 24 * 60
_USE: Final = re.compile(r"(\S{1,40}) +(\d{1,2}:\d\d) ?- ?(\d{1,2}:\d\d)(?: +(\S{1,64}))?")


@dataclass(frozen=True, slots=True)
class Sleep:
    """Awake on `days` from `wake_minute` to `sleep_minute` of the day in `time_zone`, asleep otherwise."""

    days: frozenset[int]
    """0 is Sunday."""
    wake_minute: int
    sleep_minute: int
    time_zone: str

    @classmethod
    def of_use(cls, text: str, wake_lead: timedelta = WAKE_LEAD) -> Self:
        """From "Mon-Fri 08:00-18:00 Europe/Berlin" (UTC without a zone): awake `wake_lead` before use.

        Raises ValueError for what can't be read, and for what one SleepInfo can't keep.
        """
        match = _USE.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"--used must be like {EXAMPLE!r}")
        days, begin, end, zone = _days(match[1]), _minute(match[2]), _minute(match[3]), match[4] or "UTC"
        if zone not in available_timezones():
            raise ValueError("--used names no time zone that is known; write one like Europe/Berlin")
        if begin == end or (len(days) == 7 and (end - begin) % _DAY + _lead(wake_lead) >= _DAY):
            raise ValueError("--used leaves no time to sleep")
        wake = begin - _lead(wake_lead)
        if len(days) < 7 and (wake < 0 or begin > end):
            raise ValueError(
                "--used, with the time to wake before it, goes over midnight on some days only, and a SleepInfo sleeps "
                "and wakes on the same days: name hours within a day (to 23:59), or all days (daily)"
            )
        return cls(days, wake % _DAY, end, zone)

    @property
    def hours_asleep_per_week(self) -> float:
        """Of 168."""
        awake = (self.sleep_minute - self.wake_minute) % _DAY
        return 7 * 24 - len(self.days) * awake / 60

    @property
    def weekdays(self) -> str:
        """As SleepInfo writes them: 1-5, or 0,2."""
        numbers = sorted(self.days)
        is_run = len(numbers) > 1 and numbers[-1] - numbers[0] == len(numbers) - 1
        return f"{numbers[0]}-{numbers[-1]}" if is_run else ",".join(map(str, numbers))

    @property
    def sleep_at(self) -> str:
        """HH:MM."""
        return _clock(self.sleep_minute)

    @property
    def wake_up_at(self) -> str:
        """HH:MM."""
        return _clock(self.wake_minute)


def _lead(span: timedelta) -> int:
    minutes = -(-int(span.total_seconds()) // 60)
    if not 0 <= minutes <= 4 * 60:
        raise ValueError("--wake-lead must be from 0 to 4h")
    return minutes


def _minute(text: str) -> int:
    hour, minute = map(int, text.split(":"))
    if hour == 24 and not minute:
        return 0
    if hour > 23 or minute > 59:
        raise ValueError("--used must have hours from 00:00 to 24:00")
    return hour * 60 + minute


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _days(text: str) -> frozenset[int]:
    if text.lower() == "daily":
        return frozenset(range(7))
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin, end = _day(first), _day(last if dash else first)
        found.update((begin + ahead) % 7 for ahead in range((end - begin) % 7 + 1))
    return frozenset(found)


def _day(text: str) -> int:
    try:
        return DAYS.index(text[:3].title() if len(text) == 3 else text)
    except ValueError:
        raise ValueError(f"--used must name days like Mon-Fri, Sat,Sun or daily: {', '.join(DAYS)}") from None
