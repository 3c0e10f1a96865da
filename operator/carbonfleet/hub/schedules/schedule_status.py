"""A schedule's status and events, from what was decided and done."""

from datetime import datetime
from typing import Final

from carbonfleet.api.condition import Condition, ConditionStatus
from carbonfleet.api.schedule import (
    MOST_COUNTED,
    MOST_HISTORY,
    CarbonTrainingSchedule,
    ScheduleStatus,
    TrainingScheduleSpec,
    job_name,
)
from carbonfleet.hub.schedules.run_jobs import NotMade
from carbonfleet.hub.schedules.runs import MissedRuns, RunJob, RunsDecision
from carbonfleet.hub.status import Transition

_COLUMN: Final = "%Y-%m-%d %H:%M"
_WHY: Final = {
    "InvalidSpec": "its spec was invalid",
    "Suspended": "the schedule was suspended",
    "PreviousActive": "an earlier job was still active (concurrencyPolicy Forbid)",
    "JobRefused": "its job was refused",
    "NameTaken": "another job had its name",
}
"""Why no job was made in time, by what was last said of the schedule."""


def status_after(
    schedule: CarbonTrainingSchedule,
    before: ScheduleStatus,
    decision: RunsDecision,
    failure: NotMade | None,
    jobs: tuple[RunJob, ...],
    now: datetime,
) -> ScheduleStatus:
    """The status once `decision` was carried out, but for a job that could not be made for `failure`."""
    spec, name = schedule.spec, schedule.metadata.name
    made = decision.make if failure is None else None
    names = [job.name for job in decision.active if job not in decision.replaced]
    active = (*names, *([job_name(name, made)] if made else []))
    known = [job.due for job in jobs]
    last = max([*known, *filter(None, (made, before.last_run_time))], default=None)
    succeeded = [job.due for job in jobs if job.has_succeeded]
    ready = ready_of(spec, decision, failure)
    next_due = decision.next_due
    return ScheduleStatus(
        summary=ready.message,
        last=last.strftime(_COLUMN) if last else "",
        next=next_due.strftime(_COLUMN) if next_due else "",
        active_count=len(active),
        active=active[:MOST_HISTORY],
        last_run_time=last,
        last_job=job_name(name, last) if last else None,
        last_successful_time=max([*succeeded, *filter(None, [before.last_successful_time])], default=None),
        next_run_time=next_due,
        next_job_time=next_due - spec.lead if next_due else None,
        missed=before.missed + (decision.missed.count if decision.missed else 0),
        last_missed_time=decision.missed.newest if decision.missed else before.last_missed_time,
        handled_until=decision.handled_until,
        times=spec.told_times,
        conditions=(condition_of(before, ready, schedule.metadata.generation, now),),
        observed_generation=schedule.metadata.generation,
    )


def ready_of(spec: TrainingScheduleSpec, decision: RunsDecision, failure: NotMade | None) -> Transition:
    """Whether jobs are made, and if not, why."""
    due = decision.next_due
    if spec.suspend:
        return Transition("Suspended", "No jobs are made: suspend is true.", is_warning=True)
    if failure is not None and decision.make is not None:
        told = f"The run due {spec.local(decision.make)} has no job: {failure.message}."
        return Transition(failure.reason, told, is_warning=True)
    if decision.held_by and due is not None:
        names = ", ".join(f"{job.name} ({job.phase.value})" for job in decision.held_by[:3])
        told = f"The run due {spec.local(due)} waits for {names}: concurrencyPolicy is Forbid."
        return Transition("PreviousActive", told, is_warning=True)
    if due is None:
        return Transition("Scheduled", "No run is due any more.", is_warning=False)
    made = f", its job is made {spec.local(due - spec.lead)}" if spec.lead_time else ""
    return Transition("Scheduled", f"The next run is due {spec.local(due)}{made}.", is_warning=False)


def last_reason(before: ScheduleStatus) -> str:
    """What was last said of whether jobs are made."""
    return next((each.reason for each in before.conditions if each.type == "Ready"), "")


def condition_of(before: ScheduleStatus, ready: Transition, generation: int, now: datetime) -> Condition:
    """The condition Ready, which keeps the time since when it is what it is."""
    status = ConditionStatus.FALSE if ready.is_warning else ConditionStatus.TRUE
    known = next((each for each in before.conditions if each.type == "Ready" and each.status is status), None)
    return Condition(
        type="Ready",
        status=status,
        reason=ready.reason,
        message=ready.message,
        last_transition_time=known.last_transition_time if known else now,
        observed_generation=generation,
    )


def told_missed(spec: TrainingScheduleSpec, before: ScheduleStatus, missed: MissedRuns) -> Transition:
    """That runs never got a job."""
    why = missed.why or _WHY.get(last_reason(before), "no hub made its job in time")
    if missed.count == 1:
        told = f"The run due {spec.local(missed.newest)} never got a job: {why}."
    else:
        count = f"More than {MOST_COUNTED}" if missed.count >= MOST_COUNTED else str(missed.count)
        told = f"{count} runs never got a job, the last of them due {spec.local(missed.newest)}: {why}."
    return Transition("RunsMissed", told, is_warning=True)


def told_made(spec: TrainingScheduleSpec, name: str, due: datetime, replaced: tuple[RunJob, ...]) -> Transition:
    """That a run got its job."""
    instead = f", in place of {', '.join(job.name for job in replaced)}" if replaced else ""
    return Transition("RunCreated", f"The run due {spec.local(due)} has job {name}{instead}.", is_warning=False)
