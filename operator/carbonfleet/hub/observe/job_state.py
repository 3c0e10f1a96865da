"""One job as the hub sees it: what was asked, what stands in Git, what the spoke says."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from operator import itemgetter
from typing import Final, Self

from pydantic import ValidationError

from carbonfleet.api import ANNOTATION, CarbonTrainingJob
from carbonfleet.api.job_status import DECISIVE, JobStatus, Phase, read_status
from carbonfleet.api.problems import told
from carbonfleet.api.report import AttemptPhase, ReportSpec
from carbonfleet.api.wire import GROUP
from carbonfleet.faults import only, said
from carbonfleet.fleet import Placement
from carbonfleet.kube import Object, name_of

FINALIZER: Final = f"{GROUP}/placement"
IN_GIT: Final = frozenset({Phase.COMMITTED, Phase.RUNNING, Phase.PAUSED})
"""The phases of a job whose placement stands in Git."""
_OVER: Final = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.REJECTED, Phase.STOPPED_EARLY})
"""The phases of a job that is not placed (again) unless somebody asks for it."""
_NOTE: Final = re.compile(f"(?P<name>[^ ]+) (?P<ended>({'|'.join(sorted(_OVER))}) [0-9]{{1,4}}) (?P<digest>[0-9a-f]+)")
MOST_ATTEMPTS: Final = 20
"""A job whose attempts keep ending without a result is failed after so many."""


class JobStage(StrEnum):
    """What the hub has to do for a job."""

    INVALID = "Invalid"
    UNREADABLE = "Unreadable"
    """Nothing of it stands in Git, and its status, which alone says whether it has run, can't be read."""
    QUEUED = "Queued"
    """Wants a decision."""
    LIVE = "Live"
    """Stands in Git, and has not ended."""
    ENDED = "Ended"
    """The attempt ended; its placement still stands in Git."""
    DONE = "Done"
    """Nothing more to do."""
    LEAVING = "Leaving"
    """The job is being deleted."""


@dataclass(frozen=True)
class JobState:
    """A job, its placement on the tip of the fleet repository, and the latest report on it.

    What follows from these is worked out once: a cycle asks for it many times.
    """

    body: Object
    job: CarbonTrainingJob | None
    """None when the spec is invalid; `problem` says why."""
    problem: str
    placement: Placement | None
    report: ReportSpec | None
    status_problems: Mapping[str, str] = field(default_factory=dict)
    """What of its status can't be read, and why, by field."""

    @cached_property
    def uid(self) -> str:
        """The job's UID."""
        return str(self.body["metadata"]["uid"])

    @cached_property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.body['metadata']['namespace']}/{self.body['metadata']['name']}"

    @cached_property
    def is_deleted(self) -> bool:
        """Somebody asked for the job to be deleted."""
        return bool(self.body["metadata"].get("deletionTimestamp"))

    @cached_property
    def has_finalizer(self) -> bool:
        """The hub's finalizer is on it."""
        return FINALIZER in (self.body["metadata"].get("finalizers") or ())

    @cached_property
    def current_report(self) -> ReportSpec | None:
        """The report on the attempt that stands in Git; an older attempt's does not count."""
        if self.placement is None or self.report is None:
            return self.report if self.placement is None else None
        return self.report if self.report.attempt == self.placement.attempt else None

    @cached_property
    def status(self) -> JobStatus:
        """What was last written, as far as it can be read."""
        return self.job.status if self.job is not None else read_status(self.body.get("status"))[0]

    def showing(self, status: JobStatus) -> "JobState":
        """The job as it is once `status` was written to it."""
        job = self.job.model_copy(update={"status": status}) if self.job is not None else None
        return replace(self, body={**self.body, "status": status.to_wire()}, job=job, status_problems={}).worked_out()

    def placed_as(self, placement: Placement | None) -> "JobState":
        """The job as it is once `placement` stands in Git; this very one where it stood there already."""
        return self if placement == self.placement else replace(self, placement=placement).worked_out()

    def worked_out(self) -> Self:
        """The same once all that follows from it is known, so that nobody fails over it later. Raises anything."""
        for name in _DERIVED:
            getattr(self, name)
        return self

    @cached_property
    def last_attempt(self) -> int:
        """The highest attempt number that was ever used."""
        known = [self.status.attempt, self.status.placement.attempt if self.status.placement else 0]
        if self.placement:
            known.append(self.placement.attempt)
        if self.report:
            known.append(self.report.attempt)
        return max(known)

    @cached_property
    def last_cluster(self) -> str:
        """Where the last attempt was put; empty where there was none."""
        placed, report = self.status.placement, self.report
        return placed.cluster if placed else report.spoke if report else ""

    @cached_property
    def stage(self) -> JobStage:
        """What is to be done, from the truth outside: spec, Git and report, in that order."""
        if self.is_deleted:
            return JobStage.LEAVING
        if self.placement is not None:
            report = self.current_report
            return JobStage.ENDED if report is not None and report.phase.is_terminal else JobStage.LIVE
        if self.job is None:
            return JobStage.INVALID
        if self.status_problems.keys() & set(DECISIVE):
            return JobStage.UNREADABLE
        if self._has_result(self.job) or (self.is_stopped_early and not self._end_is_told):
            return JobStage.ENDED
        return JobStage.DONE if self._is_over(self.job) else JobStage.QUEUED

    def _has_result(self, job: CarbonTrainingJob) -> bool:
        """The attempt ended by itself, and somebody took its placement out of Git before we wrote that down."""
        report, status = self.report, job.status
        if report is None or report.phase not in (AttemptPhase.SUCCEEDED, AttemptPhase.FAILED):
            return False
        return status.phase in IN_GIT and report.attempt == status.attempt

    @cached_property
    def is_stopped_early(self) -> bool:
        """Its status says that it is, or is to be, stopped at a rung of its sweep; nobody let it go on since."""
        return self.job is not None and self.status.phase is Phase.STOPPED_EARLY and self._is_over(self.job)

    @property
    def _end_is_told(self) -> bool:
        """Its status says how its last attempt ended."""
        return any(condition.type == "Finished" for condition in self.status.conditions)

    def phase_after(self, report: ReportSpec) -> Phase:
        """What an attempt that ended makes of the job; one that was stopped or refused is followed by another."""
        if report.phase is AttemptPhase.SUCCEEDED:
            return Phase.SUCCEEDED
        if self.is_stopped_early:
            return Phase.STOPPED_EARLY
        return Phase.WAITING if may_try_again(report) else Phase.FAILED

    def _is_over(self, job: CarbonTrainingJob) -> bool:
        """Succeeded for good; failed or rejected until the spec changes or a new try is asked for."""
        phase, seen = job.status.phase, job.status.observed_generation
        if phase is Phase.SUCCEEDED:
            return True
        asked_again = job.metadata.annotations.get(ANNOTATION.REPLACE, "")[:256] not in ("", job.status.replaced)
        return phase in _OVER and seen == job.metadata.generation and not asked_again


def end_note(state: JobState) -> str:
    """What is noted of a job that is over: its name, phase, attempt, and a digest of what was asked for."""
    name, phase = state.body["metadata"]["name"], state.status.phase
    return f"{name} {phase} {state.last_attempt} {_digest_of_wish(state)}" if phase in _OVER else ""


def ended_before(state: JobState) -> str:
    """`Succeeded 1`, phase and attempt, of a job that has ended with this very spec and `replace` annotation.

    So the hub noted beside the status, which a backup may lack, or which somebody may have damaged. Empty for any other
    job, also for a copy under another name, and once a person asks for another run or changes the spec.
    """
    if state.job is None:
        return ""
    note = _NOTE.fullmatch(state.job.metadata.annotations.get(ANNOTATION.ENDED, ""))
    if note is None or note["name"] != state.job.metadata.name or note["digest"] != _digest_of_wish(state):
        return ""
    return note["ended"]


def _digest_of_wish(state: JobState) -> str:
    """Of spec and `replace` annotation, whatever defaults another release fills in."""
    if state.job is None:
        return ""
    spec = state.job.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    wish = json.dumps([spec, state.job.metadata.annotations.get(ANNOTATION.REPLACE, "")], sort_keys=True)
    return hashlib.sha256(wish.encode()).hexdigest()[:16]


_DERIVED: Final = tuple(name for name, value in vars(JobState).items() if isinstance(value, cached_property))


class JobStates:
    """Makes job states: a job is parsed only when its object changed, and what did not change keeps its own."""

    def __init__(self) -> None:
        self._known: dict[str, JobState] = {}

    def of(
        self,
        bodies: Iterable[Object],
        placements: Mapping[str, Placement],
        reports: Mapping[str, ReportSpec],
    ) -> list[JobState]:
        """The state of each job, in the order of `namespace/name`; what can't be read of one is its problem."""
        states: list[tuple[str, JobState]] = []
        known: dict[str, JobState] = {}
        for body in bodies:
            try:
                state = self._state(body, placements, reports).worked_out()
                known[state.uid] = state
                states.append((state.key, state))
            except Exception as error:  # noqa: BLE001 - whatever a job holds, it harms no other
                with only(f"job {name_of(body)} can't be read"):
                    state = _unread(body, error, placements, reports)
                    states.append((state.key, state))
        self._known = known
        return [state for _, state in sorted(states, key=itemgetter(0))]

    def _state(self, body: Object, placements: Mapping[str, Placement], reports: Mapping[str, ReportSpec]) -> JobState:
        uid, version = body["metadata"]["uid"], body["metadata"]["resourceVersion"]
        placement, report, known = placements.get(uid), reports.get(uid), self._known.get(uid)
        if known is None or known.body["metadata"]["resourceVersion"] != version:
            status, problems = read_status(body.get("status"))
            parsed = known.job if known is not None and known.body.get("spec") is body.get("spec") else None
            spec = parsed.spec if parsed is not None else body.get("spec")
            return JobState(body, *_parse({**body, "spec": spec, "status": status}), placement, report, problems)
        if known.body is body and (known.placement, known.report) == (placement, report):
            return known  # a body read anew is equal, and is taken: to compare it would take longer, in each cycle
        return replace(known, body=body, placement=placement, report=report)


def _unread(
    body: Object, error: Exception, placements: Mapping[str, Placement], reports: Mapping[str, ReportSpec]
) -> JobState:
    """A job of which no more is known than what others say. Raises anything."""
    uid, problem = body["metadata"]["uid"], f"can't be read: {said(error)}"
    return JobState(body, None, problem, placements.get(uid), reports.get(uid)).worked_out()


def _parse(body: Object) -> tuple[CarbonTrainingJob | None, str]:
    try:
        return CarbonTrainingJob.model_validate(body), ""
    except ValidationError as error:
        return None, told(error, CarbonTrainingJob)
    except Exception as error:  # noqa: BLE001 - whatever a job holds, it harms no other
        return None, f"can't be read: {said(error)}"


def may_try_again(report: ReportSpec) -> bool:
    """An attempt that was stopped or refused says nothing about the job: another may follow."""
    return report.phase in (AttemptPhase.STOPPED, AttemptPhase.REFUSED) and report.attempt < MOST_ATTEMPTS
