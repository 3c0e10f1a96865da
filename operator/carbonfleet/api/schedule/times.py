"""Times of a cron expression in a time zone of the IANA database, as Debian's cron counts them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field

from carbonfleet.api.wire import cel

MOST_COUNTED: Final = 1000
"""Times that are counted one by one; of more it is only said that there are more."""
_HOW: Final = (
    "write minute (0-59), hour (0-23), day of month (1-31), month (1-12, JAN-DEC) and day of week (0-7, SUN-SAT), "
    'one space apart, such as "0 7 * * 1-5"'
)


def _field(value: str) -> str:
    """The pattern of one of the five: a list of values, ranges and steps."""
    item = rf"([*]|{value}(-{value})?)(/[1-9][0-9]?)?"
    return f"{item}(,{item})*"


def _named(number: str, names: str) -> str:
    """A number, or one of some names in large or small letters."""
    return f"({number}|{'|'.join(''.join(f'[{c}{c.lower()}]' for c in name) for name in names.split())})"


CRON_PATTERN: Final = " ".join(
    (
        "^" + _field("[0-5]?[0-9]"),
        _field("([01]?[0-9]|2[0-3])"),
        _field("(0?[1-9]|[12][0-9]|3[01])"),
        _field(_named("(0?[1-9]|1[0-2])", "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC")),
        _field(_named("[0-7]", "SUN MON TUE WED THU FRI SAT")) + "$",
    )
)


@dataclass(frozen=True, slots=True)
class CronTimes:
    """The times of a cron expression in a zone.

    On the days on which clocks change: a time of day that is not there falls on the first moment after the gap, and
    one that is there twice counts once, the first time. An expression whose minute or hour begins with a star, and
    which so means a distance in time, counts every hour that there is.
    """

    expression: str
    zone: ZoneInfo

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The times after a moment in UTC, each later than the one before; no end but that of 50 years without one."""
        last = moment
        for local in CronSim(self.expression, moment.astimezone(self.zone)):
            # Of an hour that is there twice the library may give the first once more: it is over.
            if (found := local.astimezone(UTC)) > last:
                last = found
                yield found

    def newest(self, after: datetime, until: datetime) -> datetime | None:
        """The last time after the one moment, and not after the other; found from the end in growing steps."""
        span, room = timedelta(hours=1), until - after
        while room > timedelta(0):
            found = None
            for moment in self.after(until - min(span, room)):
                if moment > until:
                    break
                found = moment
            if found is not None or span >= room:
                return found
            span *= 4
        return None

    def count(self, after: datetime, until: datetime) -> int:
        """How many there are, `MOST_COUNTED` at most."""
        found = 0
        for moment in self.after(after):
            if moment > until or found == MOST_COUNTED:
                break
            found += 1
        return found


def _cron(expression: str) -> str:
    if not re.fullmatch(CRON_PATTERN, expression):
        raise ValueError(_HOW)
    try:
        next(CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        field = str(error).removeprefix("Bad ").replace("-", " ")
        why = "a range runs upwards, as in 1-5, and a day must be one that its month has"
        raise ValueError(f"the {field} can't be: {why}") from None
    except StopIteration:
        raise ValueError("there is no such day") from None
    return expression


@cache
def zone_names() -> frozenset[str]:
    """The zones of the IANA database, whatever else the machine has by such names."""
    return frozenset((files("tzdata") / "zones").read_text(encoding="utf-8").split())


def _zone(name: str) -> str:
    if name not in zone_names():
        close = get_close_matches(name, zone_names(), n=1)
        meant = f"did you mean {close[0]}?" if close else "write one such as Europe/Oslo or Etc/UTC"
        raise ValueError(f"there is no time zone {name}; {meant}")
    return name


CronExpression = Annotated[
    str,
    Field(max_length=100, json_schema_extra=cel((f"self.matches('{CRON_PATTERN}')", _HOW))),
    AfterValidator(_cron),
]
"""Five fields, one space between them."""
TimeZoneName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_+/-]*$",
        max_length=64,
        json_schema_extra=cel(
            ("timestamp('2000-01-01T00:00:00Z').getHours(self) >= 0", "must be a time zone of the IANA database")
        ),
    ),
    AfterValidator(_zone),
]
"""A zone by its name in the IANA database."""
