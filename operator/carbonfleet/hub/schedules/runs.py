"""Which job a schedule needs now, which runs were missed, and which jobs are over: pure, from values to a value."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from carbonfleet.api.job_status import Phase
from carbonfleet.api.schedule import ConcurrencyPolicy, ScheduleStatus, TrainingScheduleSpec

_SUCCEEDED: Final = frozenset({Phase.SUCCEEDED, Phase.STOPPED_EARLY})
_NEVER_RAN: Final = frozenset({Phase.PENDING, Phase.WAITING, Phase.BLOCKED, Phase.PROPOSED})
_MOMENT: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class RunJob:
    """The job of one run, as the API has it."""

    name: str
    due: datetime
    phase: Phase
    uid: str = ""
    is_leaving: bool = False
    """It is being deleted."""

    @property
    def has_succeeded(self) -> bool:
        """It has ended well."""
        return self.phase in _SUCCEEDED

    def has_failed(self, now: datetime, *, has_deadline: bool) -> bool:
        """It ended otherwise, people said no to it, or its deadline passed before it had a place."""
        in_vain = has_deadline and self.phase in _NEVER_RAN and self.due <= now
        return in_vain or self.phase in (Phase.FAILED, Phase.CANCELLED, Phase.REJECTED)


@dataclass(frozen=True, slots=True)
class MissedRuns:
    """Runs that never got a job."""

    count: int
    newest: datetime
    why: str = ""
    """Of the newest; empty where it is only that no job was made in time."""


@dataclass(frozen=True, slots=True)
class RunsDecision:
    """What to do for a schedule at a moment."""

    handled_until: datetime
    """Runs due until then have a job, had one or were missed; that of `make` too, once it is made."""
    make: datetime | None = None
    """The run whose job is to be made."""
    replaced: tuple[RunJob, ...] = ()
    """Active ones whose place a newer run's job takes, once that is there."""
    held_by: tuple[RunJob, ...] = ()
    """Still active, so that a run that is due gets no job yet."""
    missed: MissedRuns | None = None
    active: tuple[RunJob, ...] = ()
    """Oldest run first."""
    over: tuple[RunJob, ...] = ()
    """Beyond the history that is kept."""
    next_due: datetime | None = None
    wake: datetime | None = None
    """When to look again though nothing changes."""

    def unmade(self, before: datetime) -> "RunsDecision":
        """What is left of it where the job could not be made: runs until `before` are seen to."""
        return replace(self, handled_until=before, next_due=self.make, replaced=())


def counted_from(
    spec: TrainingScheduleSpec, status: ScheduleStatus, jobs: Iterable[RunJob], created: datetime, now: datetime
) -> datetime:
    """The moment after which runs are looked for.

    A schedule that is new, or whose times were changed, begins with the first run that can still be met; one whose
    status was lost goes on behind its newest job.
    """
    if status.handled_until is not None and status.times == spec.told_times:
        return status.handled_until
    begins = now if status.times else created
    known = [] if status.times else [job.due for job in jobs]
    return max([begins + spec.shortest_run - _MOMENT, *known])


def decide_runs(spec: TrainingScheduleSpec, since: datetime, jobs: Sequence[RunJob], now: datetime) -> RunsDecision:
    """What to do, given that runs until `since` were seen to: at most the newest run that is due gets a job."""
    active = tuple(sorted((job for job in jobs if _is_active(job, spec, now)), key=lambda job: job.due))
    over = tuple(_beyond_history(spec, since, jobs, now))
    ends = [job.due for job in jobs]  # then a job that waits has waited in vain, or one that ended may go
    if spec.suspend:
        return RunsDecision(since, active=active, over=over, wake=_first_after(now, ends))
    decision = _due_run(spec, since, {job.due for job in jobs}, active, now)
    following = next(spec.times.after(decision.handled_until), None)
    after_next = next(spec.times.after(following), None) if following and decision.held_by else following
    turns = [*ends, *_given_up(spec, following if decision.held_by else None)]
    turns += [after_next - spec.lead] if after_next else []
    return replace(
        decision,
        replaced=_replaced(spec, active, decision.make),
        active=active,
        over=over,
        next_due=following,
        wake=_first_after(now, turns),
    )


def _due_run(
    spec: TrainingScheduleSpec, since: datetime, made: Collection[datetime], active: Sequence[RunJob], now: datetime
) -> RunsDecision:
    """What becomes of the newest run that is due, and how many before it are missed."""
    newest = spec.times.newest(since, now + spec.lead)
    if newest is None:
        return RunsDecision(since)
    before = run_before(spec, since, newest)
    missed = spec.times.count(since, before) - sum(since < due <= before for due in made)
    earlier = MissedRuns(missed, before) if missed > 0 else None
    if newest in made:
        return RunsDecision(newest, missed=earlier)
    if why := _why_late(spec, newest, now):
        return RunsDecision(newest, missed=MissedRuns(max(0, missed) + 1, newest, why))
    if active and spec.concurrency_policy is ConcurrencyPolicy.FORBID:
        return RunsDecision(before, held_by=tuple(active), missed=earlier)
    return RunsDecision(newest, make=newest, missed=earlier)


def _replaced(spec: TrainingScheduleSpec, active: Sequence[RunJob], make: datetime | None) -> tuple[RunJob, ...]:
    """With Replace all active jobs but the newest run's, whichever hub made that."""
    if spec.concurrency_policy is not ConcurrencyPolicy.REPLACE:
        return ()
    newest = max([*(job.due for job in active), *([make] if make else [])], default=None)
    return tuple(job for job in active if job.due != newest)


def run_before(spec: TrainingScheduleSpec, since: datetime, due: datetime) -> datetime:
    """The run before another, `since` where there is none after it: until then runs are seen to while one is not."""
    return spec.times.newest(since, due - _MOMENT) or since


def _why_late(spec: TrainingScheduleSpec, due: datetime, now: datetime) -> str:
    """Why a job that was not made yet is not made any more; empty where it still is."""
    if spec.lead_time is not None and now + spec.shortest_run > due:
        return "its deadline can't be met any more"
    if spec.starting_deadline is not None and now - (due - spec.lead) > spec.starting_deadline:
        return "startingDeadline is over"
    return ""


def _is_active(job: RunJob, spec: TrainingScheduleSpec, now: datetime) -> bool:
    failed = job.has_failed(now, has_deadline=spec.lead_time is not None)
    return not (job.is_leaving or job.has_succeeded or failed)


def _beyond_history(
    spec: TrainingScheduleSpec, since: datetime, jobs: Sequence[RunJob], now: datetime
) -> Iterable[RunJob]:
    """What ended beyond the limits. A job is kept until its run is due and seen to, or that run would be made anew."""
    newest_first = sorted((job for job in jobs if not job.is_leaving), key=lambda job: job.due, reverse=True)
    has_deadline = spec.lead_time is not None
    succeeded = [job for job in newest_first if job.has_succeeded]
    failed = [job for job in newest_first if job.has_failed(now, has_deadline=has_deadline)]
    beyond = (
        *succeeded[spec.successful_jobs_history_limit :],
        *failed[spec.failed_jobs_history_limit :],
    )
    return (job for job in beyond if job.due <= min(now, since))


def _given_up(spec: TrainingScheduleSpec, held: datetime | None) -> Iterable[datetime]:
    """When a run that is held is not made any more."""
    if held is not None and spec.lead_time is not None:
        yield held - spec.shortest_run + _MOMENT
    if held is not None and spec.starting_deadline is not None:
        yield held - spec.lead + spec.starting_deadline + _MOMENT


def _first_after(now: datetime, moments: Iterable[datetime]) -> datetime | None:
    return min((moment for moment in moments if moment > now), default=None)
