"""When a job under way is decided on again: each hour of running, and at the ends of planned segments."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

from carbonfleet.api.job_status import DecisionRecord, Segment
from carbonfleet.hub.observe import JobState, RunningJob, is_paused, pauses_used, stints_in_git

CHECK_EVERY: Final = timedelta(hours=1)
"""A job that runs is decided on again after its first hour, and then each hour."""
_QUARTER: Final = timedelta(minutes=15)
"""Checks fall on full quarters, so that many jobs are decided on in one plan."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def running_job_of(
    state: JobState, record: DecisionRecord | None, checked: datetime | None, now: datetime
) -> RunningJob | None:
    """A job that may be replanned; None where it is not time to decide on it again since `checked`."""
    stints = stints_in_git(state)
    if state.placement is None or not stints:
        return None
    since, used = stints[-1].start, pauses_used(state)
    if is_paused(state.placement, state.current_report):
        return RunningJob(True, since, stints[-1].end or now, used)
    segments = record.segments if record is not None else ()
    latest = _latest(_marks(since, segments, now), now)
    if latest is None or (checked is not None and checked >= latest):
        return None
    return RunningJob(False, since, now, used, pause_is_due=_pause_is_due(segments, since, now))


def next_check(state: JobState, record: DecisionRecord | None, now: datetime) -> datetime | None:
    """When a running job is decided on next."""
    stints = stints_in_git(state)
    if not stints:
        return None
    ahead = [mark for mark in _marks(stints[-1].start, record.segments if record else (), now) if mark > now]
    return min(ahead, default=None)


def next_quarter(now: datetime) -> datetime:
    """The next full quarter of an hour."""
    return now + _QUARTER - (now - _EPOCH) % _QUARTER


def _marks(since: datetime, segments: Iterable[Segment], now: datetime) -> list[datetime]:
    """The last hourly mark that is past, the next, and the ends of planned segments."""
    first = since + (_EPOCH - since) % _QUARTER
    hours = max(0, (now - first) // CHECK_EVERY)
    hourly = [first + count * CHECK_EVERY for count in (hours, hours + 1) if count > 0]
    return [*hourly, *(segment.end for segment in segments if segment.end > since)]


def _latest(marks: Iterable[datetime], now: datetime) -> datetime | None:
    return max((mark for mark in marks if mark <= now), default=None)


def _pause_is_due(segments: tuple[Segment, ...], since: datetime, now: datetime) -> bool:
    return any(since < before.end <= now < after.start for before, after in pairwise(segments))
