"""Jobs under way: whether one may be paused, taken up again or moved, and when it is looked at; on values."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

from carbonfleet.api.job_status import DecisionRecord, Segment
from carbonfleet.api.report import AttemptPhase, ReportSpec, Stint, stints_of
from carbonfleet.fleet import Placement
from carbonfleet.hub.observe.job_state import JobView, Stage

LOOK_EVERY: Final = timedelta(hours=1)
"""A job that runs is decided on again after its first hour, and then each hour."""
_QUARTER: Final = timedelta(minutes=15)
"""Looks fall on full quarters, so that many jobs are looked at in one plan."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Turn:
    """A job under way that wants a decision now, and what is to be known of its run."""

    paused: bool
    since: datetime
    """When it began to run last."""
    until: datetime
    """When it paused, or now."""
    pauses_used: int = 0
    pause_is_due: bool = False
    """The plan that it was started with has it pause now."""
    surprise: float = 0.0
    """By how much the grid of late was above what was expected: 0.3 is 30 %."""


def is_paused(placed: Placement, report: ReportSpec | None) -> bool:
    """Git wants it suspended, and its spoke says that it is: it has saved itself and holds no GPUs."""
    return (
        placed.suspended
        and report is not None
        and report.attempt == placed.attempt
        and report.phase is AttemptPhase.SUSPENDED
    )


def may_turn(view: JobView) -> bool:
    """Whether the hub may decide on it again: paused, or running and free to be interrupted.

    What a person changed in Git, or in the spec since it was placed, is left to run; so is what its spoke has not
    answered for yet.
    """
    placed, report, job = view.placement, view.current_report, view.job
    if placed is None or placed.edited or report is None or job is None or view.stage is not Stage.LIVE:
        return False
    if is_paused(placed, report):
        return True
    if placed.suspended or report.phase is not AttemptPhase.RUNNING or job.spec.schedule.interruptible is None:
        return False
    return has_same_spec(view)


def has_same_spec(view: JobView) -> bool:
    """The spec is still the one that the placement was made of."""
    return view.placement is not None and view.body["metadata"].get("generation") == view.placement.generation


def pauses_used(view: JobView) -> int:
    """Pauses and moves so far: each earlier attempt's end, and the pauses of the last one."""
    report = view.report
    if report is None:
        return max(0, view.last_attempt - 1)
    ended = sum(stint.end is not None for stint in stints_of(report))
    pauses = max(0, ended - 1) if report.phase.is_terminal else ended
    return report.attempt - 1 + pauses


def turn_of(view: JobView, record: DecisionRecord | None, looked: datetime | None, now: datetime) -> Turn | None:
    """The turn of a job that may turn; None where it is not time to look at it again since `looked`."""
    stints = _stints(view)
    if view.placement is None or not stints:
        return None
    since, used = stints[-1].start, pauses_used(view)
    if is_paused(view.placement, view.current_report):
        return Turn(True, since, stints[-1].end or now, used)
    segments = record.segments if record is not None else ()
    latest = _latest(_marks(since, segments, now), now)
    if latest is None or (looked is not None and looked >= latest):
        return None
    return Turn(False, since, now, used, pause_is_due=_pause_is_due(segments, since, now))


def next_look(view: JobView, record: DecisionRecord | None, now: datetime) -> datetime | None:
    """When a running job is looked at next."""
    stints = _stints(view)
    if not stints:
        return None
    ahead = [mark for mark in _marks(stints[-1].start, record.segments if record else (), now) if mark > now]
    return min(ahead, default=None)


def next_quarter(now: datetime) -> datetime:
    """The next full quarter of an hour."""
    return now + _QUARTER - (now - _EPOCH) % _QUARTER


def reserved_until(placed: Placement, report: ReportSpec | None) -> datetime:
    """When a live attempt is expected to give up its GPUs for good: what it has run already is done."""
    stints = stints_of(report) if report is not None and report.attempt == placed.attempt else ()
    if not stints:
        return placed.start + placed.duration
    ran = sum((stint.end - stint.start for stint in stints if stint.end is not None), timedelta())
    last = stints[-1]
    return (last.start if last.end is None else last.end) + placed.duration - ran


def _stints(view: JobView) -> tuple[Stint, ...]:
    report = view.current_report
    return stints_of(report) if report is not None else ()


def _marks(since: datetime, segments: Iterable[Segment], now: datetime) -> list[datetime]:
    """The last hourly mark that is past, the next, and the ends of planned segments."""
    first = since + (_EPOCH - since) % _QUARTER
    hours = max(0, (now - first) // LOOK_EVERY)
    hourly = [first + count * LOOK_EVERY for count in (hours, hours + 1) if count > 0]
    return [*hourly, *(segment.end for segment in segments if segment.end > since)]


def _latest(marks: Iterable[datetime], now: datetime) -> datetime | None:
    return max((mark for mark in marks if mark <= now), default=None)


def _pause_is_due(segments: tuple[Segment, ...], since: datetime, now: datetime) -> bool:
    return any(since < before.end <= now < after.start for before, after in pairwise(segments))
