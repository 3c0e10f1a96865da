"""The step of a cycle that makes the jobs of schedules; the same from any state, however often a hub is killed.

A run's job has one name, made of the schedule's and the run's time, and the status says until when runs are seen to
once the job is there: a hub that ends between the two finds the job, and one that ends before makes it.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from pydantic import ValidationError

from carbonfleet.api.problems import told
from carbonfleet.api.schedule import CarbonTrainingSchedule, ScheduleStatus, job_name
from carbonfleet.faults import only
from carbonfleet.hub.job_writes import JobWrites
from carbonfleet.hub.observe import JOBS, SCHEDULES
from carbonfleet.hub.schedules.run_jobs import NotMade, delete_job, jobs_by_schedule, make_job, run_jobs
from carbonfleet.hub.schedules.runs import RunJob, RunsDecision, counted_from, decide_runs, run_before
from carbonfleet.hub.schedules.schedule_status import (
    condition_of,
    ready_of,
    status_after,
    told_made,
    told_missed,
)
from carbonfleet.hub.status import EventRecorder, Transition, merge_patch
from carbonfleet.kube import KubeError, Object, name_of, ours

_log = logging.getLogger(__name__)
AGAIN: Final = timedelta(minutes=1)
"""After which what the API refused is tried again."""
_Seen = tuple[str, tuple[RunJob, ...]]


@dataclass(slots=True)
class Schedules:
    """Makes the jobs of schedules. What it remembers can be lost at any time."""

    writes: JobWrites
    events: EventRecorder
    _seen: dict[str, tuple[_Seen, datetime | None]] = field(default_factory=dict)
    """By schedule UID: what was last looked at, and when it must be looked at again though that is the same."""

    def run(self, now: datetime) -> datetime | None:
        """See to all schedules; when the next is to be looked at. Raises KubeError when the API is away."""
        bodies = [body for body in self.writes.mirror.all(SCHEDULES) if "deletionTimestamp" not in body["metadata"]]
        uids = {str(body["metadata"]["uid"]) for body in bodies}
        self._seen = {uid: known for uid, known in self._seen.items() if uid in uids}
        if not bodies:
            return None
        jobs = jobs_by_schedule(self.writes.mirror.all(JOBS))
        wanted = ((body, jobs.get(str(body["metadata"]["uid"]), ())) for body in bodies)
        self.writes.each(partial(self._see_to, now), wanted)
        return min((wake for _, wake in self._seen.values() if wake is not None), default=None)

    def missed_runs(self) -> dict[tuple[str, str], int]:
        """By namespace and schedule: runs that never got a job."""
        bodies = self.writes.mirror.all(SCHEDULES)
        return {
            (str(body["metadata"]["namespace"]), str(body["metadata"]["name"])): _known_status(body).missed
            for body in bodies
        }

    def _see_to(self, now: datetime, wanted: tuple[Object, Iterable[Object]]) -> None:
        body, owned = wanted
        with only(f"schedule {name_of(body)} can't be seen to", but=KubeError):
            metadata = body["metadata"]
            jobs = run_jobs(str(metadata["name"]), owned)
            seen, wake = self._seen.get(metadata["uid"], (None, None))
            if seen == (metadata["resourceVersion"], jobs) and (wake is None or now < wake):
                return
            self._seen[metadata["uid"]] = (metadata["resourceVersion"], jobs), now + AGAIN
            try:
                self._seen[metadata["uid"]] = (metadata["resourceVersion"], jobs), self._decide(body, jobs, now)
            except KubeError as error:
                if error.is_away:
                    raise
                _log.warning("schedule %s is looked at again in a minute: %s", name_of(body), error)

    def _decide(self, body: Object, jobs: tuple[RunJob, ...], now: datetime) -> datetime | None:
        """Do what is due, and say so; when to look again."""
        before = _known_status(body)
        try:
            schedule = CarbonTrainingSchedule.model_validate({**body, "status": {}})
        except ValidationError as error:
            self._tell_invalid(body, before, told(error, CarbonTrainingSchedule), now)
            return None
        created = schedule.metadata.creation_timestamp or now
        since = counted_from(schedule.spec, before, jobs, created, now)
        decision = decide_runs(schedule.spec, since, jobs, now)
        failure = None
        if decision.make is not None:
            failure = make_job(self.writes.kube, self.writes.mirror, schedule, body, decision.make)
        if failure is not None and decision.make is not None:
            decision = decision.unmade(run_before(schedule.spec, since, decision.make))
        self._write(body, before, status_after(schedule, before, decision, failure, jobs, now))
        for transition, run in _told(schedule, before, decision, failure):
            self.events.record_schedule(body, run, transition, now)
        for job in (*decision.replaced, *decision.over):
            delete_job(self.writes.kube, schedule.metadata.namespace, job)
        return min(filter(None, (decision.wake, now + AGAIN if failure else None)), default=None)

    def _tell_invalid(self, body: Object, before: ScheduleStatus, why: str, now: datetime) -> None:
        """What is wrong with a spec that the API took and the hub can't: no jobs are made until it is mended."""
        ready = Transition("InvalidSpec", f"No jobs are made: {why}", is_warning=True)
        generation = int(body["metadata"].get("generation") or 0)
        changes = {
            "summary": ready.message,
            "next": "",
            "next_run_time": None,
            "next_job_time": None,
            "conditions": (condition_of(before, ready, generation, now),),
            "observed_generation": generation,
        }
        if self._write(body, before, before.model_copy(update=changes)):
            self.events.record_schedule(body, str(generation), ready, now)

    def _write(self, body: Object, before: ScheduleStatus, after: ScheduleStatus) -> bool:
        """Write the status where it says something new; whether it did."""
        if after == before:
            return False
        metadata = body["metadata"]
        where = ours(SCHEDULES, metadata["namespace"], metadata["name"], "status")
        patch = merge_patch(body.get("status") or {}, after.to_wire())
        self.writes.mirror.refresh(SCHEDULES, self.writes.kube.patch(where, {"status": patch}))
        return True


def _known_status(body: Object) -> ScheduleStatus:
    """What the status says; nothing where it can't be read."""
    try:
        return ScheduleStatus.model_validate(body.get("status") or {})
    except ValidationError:
        return ScheduleStatus()


def _told(
    schedule: CarbonTrainingSchedule, before: ScheduleStatus, decision: RunsDecision, failure: NotMade | None
) -> Iterator[tuple[Transition, str]]:
    """What is worth an event, each with the run that it is about."""
    spec, name = schedule.spec, schedule.metadata.name
    if decision.missed is not None:
        yield told_missed(spec, before, decision.missed), job_name(name, decision.missed.newest)
    if decision.make is not None and failure is None:
        job = job_name(name, decision.make)
        yield told_made(spec, job, decision.make, decision.replaced), job
    ready = ready_of(spec, decision, failure)
    if ready.is_warning and ready.reason != next(
        (each.reason for each in before.conditions if each.type == "Ready"), ""
    ):
        yield ready, decision.next_due.isoformat() if decision.next_due else ""
