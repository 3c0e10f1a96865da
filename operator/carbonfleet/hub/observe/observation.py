"""What one cycle sees of jobs, Git and spokes, and what its steps add to that: frozen values."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Final, Self, TypeVar

from carbonfleet.api import ANNOTATION
from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.job_status import DecisionRecord, Figures, RungStatus
from carbonfleet.api.spoke import PoolStatus
from carbonfleet.faults import only
from carbonfleet.fleet import Placement, Tip
from carbonfleet.fleet.manifests import MOVES
from carbonfleet.hub.observe.heartbeats import Heard
from carbonfleet.hub.observe.job_state import IN_GIT, JobStage, JobState, ended_before
from carbonfleet.hub.observe.run_state import RunningJob, has_same_spec
from carbonfleet.kube import KubeError, Object
from carbonfleet.placement.decision import Decision
from carbonfleet.placement.snapshot import Spoke

Result = TypeVar("Result")
MERGED_LATE: Final = "Superseded"
"""A blocker's reason: a person merged the proposal after its time, and it is taken out of Git again."""

NOT_ACCOUNTED: Final = "NotAccounted"
"""Another: the attempt ended, and its line of the ledger is not written yet. Until then the job has not ended."""


def only_job(job: JobState | str, step: str, faults: dict[str, str]) -> AbstractContextManager[None]:
    """Whatever goes wrong inside is one job's, and is noted among `faults` by its UID; KubeError is raised."""
    uid, name = (job, f"job {job}") if isinstance(job, str) else (job.uid, job.key)
    return only(f"{name}: {step}", partial(faults.__setitem__, uid), but=KubeError)


def each_job(
    states: Iterable[JobState], step: str, work: Callable[[JobState], Result], faults: dict[str, str]
) -> Iterator[tuple[JobState, Result]]:
    """Jobs with what `work` makes of them; one that it fails on is left out, and noted as `only_job` does."""
    for state in states:
        try:
            result = work(state)
        except Exception:
            with only_job(state, step, faults):  # entered where something is wrong alone: jobs are many
                raise
        else:
            yield state, result


@dataclass(frozen=True, slots=True)
class Blocker:
    """Why a job does not go on (yet): a CamelCase reason, and a sentence that says what to do."""

    reason: str
    message: str


class LastSpoke(StrEnum):
    """How the spoke of a job's last attempt stands."""

    HEARD = "Heard"
    UNDECLARED = "Undeclared"
    """Its agent is heard from, and Git does not declare it: it lets what runs go on."""
    LOST = "Lost"
    """It is not heard from."""


@dataclass(frozen=True, slots=True)
class AgreedMove:
    """A move that people agreed to and that can be made."""

    move: Placement
    """The placement that it leads to, as it stands under `moves/`."""
    commit: str
    """With which they agreed."""

    @property
    def place(self) -> tuple[str, str]:
        """Cluster and pool."""
        return self.move.cluster, self.move.pool


@dataclass(frozen=True, slots=True)
class Observation:
    """Jobs, Git and spokes at one moment."""

    now: datetime
    jobs: tuple[JobState, ...]
    """In the order of `namespace/name`."""
    spokes: tuple[Spoke, ...]
    tip: Tip | None
    """None when the fleet repository was never read."""
    tip_is_fresh: bool
    """False when this is the last tip known, since the repository did not answer."""
    hub_uid: str = ""
    """This hub's: what bears another in Git is another hub's. Empty where it can't be read."""
    blocker: Blocker | None = None
    """Why the repository could not be read."""
    facts: Mapping[str, ClusterFacts] = field(default_factory=dict)
    """Every cluster that is declared, or was and has its SpokeCluster still."""
    records: Mapping[str, DecisionRecord] = field(default_factory=dict)
    """By job UID: the decision that its placement's file in Git holds, so that status, ledger and Git never differ."""
    refusals: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By job UID: the spokes that refused it lately."""
    report_problems: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By spoke: what it reported and must not, a sentence each."""
    spent_reports: tuple[Object, ...] = ()
    """Reports that nobody needs any more."""
    heard: Mapping[str, Heard] = field(default_factory=dict)
    """By spoke: when its agent was last heard."""
    forms: Mapping[str, int] = field(default_factory=dict)
    """By spoke: the newest form of placements' files that its agent reads, where it says so."""
    idle: Mapping[str, tuple[PoolStatus, ...]] = field(default_factory=dict)
    """By spoke: pools whose hosts may sleep."""
    alive: frozenset[str] = frozenset()
    """Spokes whose agents beat or report, whether they are declared in Git or not."""
    next_silence: datetime | None = None
    """When the first of those is silent for too long, if it says nothing more; None where none beats."""
    rivalled: frozenset[str] = frozenset()
    """Spokes whose name another agent asks for, too."""
    unseen: frozenset[str] = frozenset()
    """UIDs of jobs whose last placement left Git before its spoke can have seen it."""
    orphans: tuple[Placement, ...] = ()
    """What this hub wrote to Git for jobs that the API no longer has."""
    stray_moves: tuple[Placement, ...] = ()
    """What people agreed to of moving this hub's jobs that the API no longer has."""
    figures: Mapping[str, Figures] = field(default_factory=dict)
    """By job UID: what the ledger says of a job whose attempt has ended."""
    agreed: Mapping[str, AgreedMove] = field(default_factory=dict)
    """By job UID: moves that people agreed to."""
    refused_moves: Mapping[str, str] = field(default_factory=dict)
    """By job UID: why it is not moved, as people refused it."""
    holds: Mapping[str, Blocker] = field(default_factory=dict)
    """By job UID: what keeps a job where it is for now, through no fault of its surroundings."""
    rungs: Mapping[str, tuple[RungStatus, ...]] = field(default_factory=dict)
    """By job UID: how a job of a sweep stands at its rungs, where it has reached another now."""
    replanned: Mapping[str, RunningJob] = field(default_factory=dict)
    """By job UID: jobs under way that are decided on again now."""
    next_check: datetime | None = None
    """While jobs are under way: when the next cycle is due for them."""

    faults: dict[str, str] = field(default_factory=dict)
    """By job UID: what nobody foresaw of it in this cycle, as steps note it. It is left as it is, and others go on."""

    def only(self, job: JobState | str, step: str) -> AbstractContextManager[None]:
        """Whatever goes wrong inside with one job, given as its state or UID, is its own; the API being away is not."""
        return only_job(job, step, self.faults)

    def each(
        self, step: str, work: Callable[[JobState], Result], states: Iterable[JobState] | None = None
    ) -> Iterator[tuple[JobState, Result]]:
        """Jobs, of all or of some, with what `work` makes of them; one that it fails on is left out."""
        return each_job(self.jobs if states is None else states, step, work, self.faults)

    def which(
        self, step: str, test: Callable[[JobState], bool], states: Iterable[JobState] | None = None
    ) -> list[JobState]:
        """The jobs of which something is so."""
        return [state for state, is_so in self.each(step, test, states) if is_so]

    def holding(self, holds: Mapping[str, Blocker]) -> Self:
        """The same with more that keeps jobs where they are."""
        return replace(self, holds={**self.holds, **holds})

    def form_for(self, decision: Decision) -> int:
        """The newest form of placements' files that the agent where it goes reads; 0 for one that does not say."""
        return self.forms.get(decision.window.cluster, 0) if decision.window else 0

    def queued(self) -> list[JobState]:
        """Jobs that want a decision and may have one."""
        return self.which("whether it may be decided on can't be told", self._is_queued)

    def _is_queued(self, state: JobState) -> bool:
        if state.stage is not JobStage.QUEUED or state.uid in self.holds or state.uid in self.faults:
            return False
        return not self.was_reverted(state) and not ended_before(state) and self.has_stopped(state)

    def generations(self) -> dict[str, int]:
        """By job UID: how often its spec was changed."""
        found = self.each("its generation can't be told", lambda state: int(state.body["metadata"]["generation"] or 0))
        return {state.uid: generation for state, generation in found}

    def stops_early(self, state: JobState) -> bool:
        """It is under way, and stopped at a rung of its sweep, by its status or as was found now."""
        rungs = self.rungs.get(state.uid, ())
        is_last = bool(rungs) and not rungs[-1].goes_on
        return state.stage is JobStage.LIVE and (is_last or state.is_stopped_early)

    def can_answer(self, state: JobState) -> bool:
        """The spoke of a job under way is there to do what Git says."""
        name = state.placement.cluster if state.placement else ""
        return any(spoke.name == name and (spoke.healthy or spoke.facts.maintenance) for spoke in self.spokes)

    def why_it_stays(self, state: JobState) -> str:
        """Why a job under way is never moved, only paused and taken up in its place; empty where it may be moved."""
        if state.job is None or not has_same_spec(state):
            return "Its spec was changed since it was placed, so it goes on in its place."
        if self.tip is not None and (why := self.tip.why_held(MOVES)):
            return why
        return self.refused_moves.get(state.uid, "")

    def has_stopped(self, state: JobState) -> bool:
        """Nothing of the job stands in Git or runs: its last attempt said so, or its spoke never saw it."""
        if state.placement is not None:
            return False
        report = state.report
        if report is not None and report.attempt == state.last_attempt:
            return report.phase.is_terminal
        return state.last_attempt == 0 or state.uid in self.unseen

    def is_late(self, state: JobState) -> bool:
        """A person merged the job's proposal after its time, so that it must leave Git again."""
        hold = self.holds.get(state.uid)
        return state.stage is JobStage.LIVE and hold is not None and hold.reason == MERGED_LATE

    def last_spoke(self, state: JobState) -> LastSpoke:
        """The spoke of the last attempt; one that beats is alive, whatever Git says of it."""
        name = state.last_cluster
        if name not in self.alive and not self._is_healthy(name):
            return LastSpoke.LOST
        is_declared = self.tip is None or name in self.tip.clusters or name in self.tip.cluster_problems
        return LastSpoke.HEARD if is_declared else LastSpoke.UNDECLARED

    def _is_healthy(self, name: str) -> bool:
        for spoke in self.spokes if name else ():
            with only(f"whether {spoke.facts.name} is well can't be told"):
                if spoke.name == name:
                    return spoke.healthy
        return False

    def was_reverted(self, state: JobState) -> bool:
        """Somebody else took the job's placement out of Git while it was live.

        The hub itself removes a live placement only for a job that is being deleted, or after it
        wrote down how the attempt ended. An edit of the spec from before counts for nothing: whoever takes
        the file away knows it.
        """
        if state.stage is not JobStage.QUEUED or state.job is None or not self.tip_is_fresh:
            return False
        status = state.job.status
        return status.phase in IN_GIT and not asks_to_replace(state)


def asks_to_replace(state: JobState) -> bool:
    """A person asked, by annotation, to write the placement again."""
    if state.job is None:
        return False
    asked = state.job.metadata.annotations.get(ANNOTATION.REPLACE, "")[:256]
    return asked not in ("", state.job.status.replaced)
