"""Local hours of a spoke, for rules that name one."""

from collections.abc import Iterator
from datetime import timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from carbonfleet.placement.grid import Timeline


def minutes_at_local_hour(line: Timeline, time_zone: str, hour: int) -> Iterator[int]:
    """The minutes at which the local clock strikes `hour`, or is already within it now, ascending.

    A time zone that is not known is taken as UTC.
    """
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    now = line.moment(line.now_minute)
    local = now.astimezone(zone)
    if local.hour == hour:
        yield line.now_minute
    for day in range(line.minutes // 1440 + 2):
        strike = (local + timedelta(days=day)).replace(hour=hour, minute=0, second=0, microsecond=0)
        minute = line.minute_after(strike.astimezone(now.tzinfo))
        if minute > line.now_minute:
            yield minute
