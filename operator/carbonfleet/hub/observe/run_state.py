"""The run of a job under way: what it holds, whether it is paused, and whether it may be decided on again."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from carbonfleet.api.report import AttemptPhase, ReportSpec, Stint, stints_of
from carbonfleet.fleet import Placement
from carbonfleet.hub.observe.job_state import JobStage, JobState


@dataclass(frozen=True, slots=True)
class RunningJob:
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


def may_be_replanned(state: JobState) -> bool:
    """Whether the hub may decide on it again: paused, or running and free to be interrupted.

    What a person changed in Git, or in the spec since it was placed, is left to run; so is what its spoke has not
    answered for yet.
    """
    placed, report, job = state.placement, state.current_report, state.job
    if placed is None or placed.edited or report is None or job is None or state.stage is not JobStage.LIVE:
        return False
    if is_paused(placed, report):
        return True
    if placed.suspended or report.phase is not AttemptPhase.RUNNING or job.spec.schedule.interruptible is None:
        return False
    return has_same_spec(state)


def has_same_spec(state: JobState) -> bool:
    """The spec is still the one that the placement was made of."""
    return state.placement is not None and state.body["metadata"].get("generation") == state.placement.generation


def pauses_used(state: JobState) -> int:
    """Pauses and moves so far: each earlier attempt's end, and the pauses of the last one."""
    report = state.report
    if report is None:
        return max(0, state.last_attempt - 1)
    ended = sum(stint.end is not None for stint in stints_of(report))
    pauses = max(0, ended - 1) if report.phase.is_terminal else ended
    return report.attempt - 1 + pauses


def reserved_until(placed: Placement, report: ReportSpec | None) -> datetime:
    """When a live attempt is expected to give up its GPUs for good: what it has run already is done."""
    stints = stints_of(report) if report is not None and report.attempt == placed.attempt else ()
    if not stints:
        return placed.start + placed.duration
    ran = sum((stint.end - stint.start for stint in stints if stint.end is not None), timedelta())
    last = stints[-1]
    return (last.start if last.end is None else last.end) + placed.duration - ran


def stints_in_git(state: JobState) -> tuple[Stint, ...]:
    """When the attempt that stands in Git held its GPUs, as reported."""
    report = state.current_report
    return stints_of(report) if report is not None else ()
