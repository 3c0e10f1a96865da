"""What one cycle sees, as frozen values, and the snapshot that it plans with."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from pydantic import ValidationError

from carbonfleet.api import ANNOTATION, SpokeStatus
from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.job_status import Phase
from carbonfleet.api.problems import told
from carbonfleet.api.report import AttemptPhase, ReportSpec
from carbonfleet.fleet import Placement, Tip
from carbonfleet.hub.observe.heartbeats import Heard
from carbonfleet.hub.observe.job_state import IN_GIT, JobView, Stage
from carbonfleet.hub.running.turns import Turn, has_same_spec, is_paused, reserved_until
from carbonfleet.hub.status.status_inputs import MERGED_LATE, Known, Trouble, expected_end, spoke_of
from carbonfleet.kube import Object
from carbonfleet.placement.phrase import time
from carbonfleet.placement.snapshot import Incumbent, QueuedJob, Reservation, Snapshot, Spoke
from carbonfleet.signals import zone_of

STOP_SLACK = timedelta(minutes=5)
"""A run that outlives its expected end is taken to need its GPUs for so much longer."""


@dataclass(frozen=True, slots=True)
class Agreed:
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
class Scene:
    """Jobs, Git and spokes at one moment."""

    now: datetime
    views: tuple[JobView, ...]
    spokes: tuple[Spoke, ...]
    tip: Tip | None
    """None when the fleet repository was never read."""
    tip_is_fresh: bool
    """False when this is the last tip known, since the repository did not answer."""
    trouble: Trouble | None = None
    """Why the repository could not be read."""
    facts: Mapping[str, ClusterFacts] = field(default_factory=dict)
    """Every cluster that is declared, or was and has its SpokeCluster still."""
    refusals: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By job UID: the spokes that refused it lately."""
    report_problems: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By spoke: what it reported and must not, a sentence each."""
    spent_reports: tuple[Object, ...] = ()
    """Reports that nobody needs any more."""
    heard: Mapping[str, Heard] = field(default_factory=dict)
    """By spoke: when its agent was last heard."""
    alive: frozenset[str] = frozenset()
    """Spokes whose agents beat, whether they are declared in Git or not."""
    unseen: frozenset[str] = frozenset()
    """UIDs of jobs whose last placement left Git before its spoke can have seen it."""
    orphans: tuple[Placement, ...] = ()
    """What this hub wrote to Git for jobs that the API no longer has."""
    stray_moves: tuple[Placement, ...] = ()
    """What people agreed to of moving this hub's jobs that the API no longer has."""
    agreed: Mapping[str, Agreed] = field(default_factory=dict)
    """By job UID: moves that people agreed to."""
    no_moves: Mapping[str, str] = field(default_factory=dict)
    """By job UID: people's no to moving it."""
    holds: Mapping[str, Trouble] = field(default_factory=dict)
    """By job UID: what keeps a job where it is for now, through no fault of its surroundings."""

    turns: Mapping[str, Turn] = field(default_factory=dict)
    """By job UID: jobs under way that want a decision now."""
    next_look: datetime | None = None
    """While jobs are under way: when the next cycle is due for them."""

    def queued(self) -> list[JobView]:
        """Jobs that want a decision and may have one."""
        return [
            view
            for view in self.views
            if view.stage is Stage.QUEUED
            and view.uid not in self.holds
            and not self.was_reverted(view)
            and self.has_stopped(view)
        ]

    def can_answer(self, view: JobView) -> bool:
        """The spoke of a job under way is there to do what Git says."""
        name = view.placement.cluster if view.placement else ""
        return any(spoke.name == name and (spoke.healthy or spoke.facts.maintenance) for spoke in self.spokes)

    def why_it_stays(self, view: JobView) -> str:
        """Why a job under way is never moved, only paused and taken up in its place; empty where it may be moved."""
        if view.job is None or not has_same_spec(view):
            return "Its spec was changed since it was placed, so it goes on in its place."
        return self.no_moves.get(view.uid, "")

    def has_stopped(self, view: JobView) -> bool:
        """Nothing of the job stands in Git or runs: its last attempt said so, or its spoke never saw it."""
        if view.placement is not None:
            return False
        report = view.report
        if report is not None and report.attempt == view.last_attempt:
            return report.phase.is_terminal
        return view.last_attempt == 0 or view.status.placement is None or view.uid in self.unseen

    def is_late(self, view: JobView) -> bool:
        """A person merged the job's proposal after its time, so that it must leave Git again."""
        hold = self.holds.get(view.uid)
        return view.stage is Stage.LIVE and hold is not None and hold.reason == MERGED_LATE

    def is_spoke_lost(self, view: JobView) -> bool:
        """The spoke of the last attempt is not heard from; one that beats is alive, whatever Git says of it."""
        name = spoke_of(view)
        return name not in self.alive and not any(spoke.name == name and spoke.healthy for spoke in self.spokes)

    def is_overdue(self, known: Known) -> bool:
        """The job trains and was expected to have ended by now."""
        report, end = known.view.current_report, expected_end(known)
        runs = report is not None and report.phase is AttemptPhase.RUNNING
        return runs and end is not None and end < self.now

    def was_reverted(self, view: JobView) -> bool:
        """Somebody else took the job's placement out of Git while it was live.

        The hub itself removes a live placement only for a job that is being deleted, or after it
        wrote down how the attempt ended. An edit of the spec from before counts for nothing: whoever takes
        the file away knows it.
        """
        if view.stage is not Stage.QUEUED or view.job is None or not self.tip_is_fresh:
            return False
        status = view.job.status
        return status.phase in IN_GIT and not asks_to_replace(view)


def asks_to_replace(view: JobView) -> bool:
    """A person asked, by annotation, to write the placement again."""
    if view.job is None:
        return False
    asked = view.job.metadata.annotations.get(ANNOTATION.REPLACE, "")[:256]
    return asked not in ("", view.job.status.replaced)


def spokes_of(
    tip: Tip | None, bodies: Iterable[Object], heard: Mapping[str, Heard], now: datetime, grace: timedelta
) -> tuple[Spoke, ...]:
    """The declared clusters with what their agents last said, and when that was heard.

    One whose file is broken takes nothing, and is shown with what was last known of it.
    """
    if tip is None:
        return ()
    reported = {str(body["metadata"]["name"]): body for body in bodies}
    spokes = [_spoke(facts, reported.get(name), heard.get(name), now, grace) for name, facts in tip.clusters.items()]
    for name, problem in tip.cluster_problems.items():
        facts = last_known_facts(reported.get(name))
        if facts is not None:
            spokes.append(Spoke(facts, False, "Invalid", problem))
    return tuple(sorted(spokes, key=lambda spoke: spoke.name))


def _spoke(facts: ClusterFacts, body: Object | None, heard: Heard | None, now: datetime, grace: timedelta) -> Spoke:
    try:
        status = SpokeStatus.model_validate((body or {}).get("status") or {})
    except ValidationError as error:
        return Spoke(facts, False, "Invalid", f"its SpokeCluster's status can't be read: {told(error, SpokeStatus)}")
    healthy, reason, message = _health(facts, heard, now, grace)
    free = {pool.name: pool.free_gpus for pool in status.pools} if status.pools else None
    return Spoke(facts, healthy, reason, message, free)


def last_known_facts(body: Object | None) -> ClusterFacts | None:
    """A cluster as its SpokeCluster remembers it, also when its file is broken or gone."""
    try:
        return ClusterFacts.model_validate((body or {}).get("spec"))
    except ValidationError:
        return None


def synced_commit(body: Object) -> str:
    """The fleet repository's commit that a spoke last applied, as it says."""
    return str((body.get("status") or {}).get("syncedCommit") or "")


def _health(facts: ClusterFacts, heard: Heard | None, now: datetime, grace: timedelta) -> tuple[bool, str, str]:
    if facts.maintenance:
        return False, "Maintenance", "its cluster file says maintenance: true"
    if heard is None:
        return False, "NeverJoined", "its agent has never reported; run `carbonfleet spoke run` there"
    if heard.at is None:
        return False, "Unreachable", "its last heartbeat is from the future, and none has come since the hub began"
    if now - heard.at > grace:
        return False, "Unreachable", f"its agent was last heard {time(heard.at)}; see that it runs and reaches the hub"
    return True, "", ""


def snapshot_of(scene: Scene, default_baseline_region: str) -> Snapshot:
    """What the planner needs, without the signals."""
    tip = scene.tip
    reports = {view.uid: view.report for view in scene.views if view.report is not None}
    jobs = (
        *(_between(view, scene) for view in scene.queued()),
        *(_under_way(view, scene, scene.turns[view.uid]) for view in scene.views if view.uid in scene.turns),
    )
    return Snapshot(
        jobs=jobs,
        spokes=scene.spokes,
        policies=tip.policies if tip else Snapshot().policies,
        reservations=(
            *(
                _reservation(placed, reports.get(placed.uid), scene.now)
                for placed in (tip.files.values() if tip else ())
                if not _holds_nothing(placed, reports.get(placed.uid))
            ),
            *_kept_for_moves(scene, {job.uid for job in jobs}),
        ),
        default_baseline_region=default_baseline_region,
        region_zones=_zones_without_spoke(jobs, scene.spokes, default_baseline_region),
    )


def _kept_for_moves(scene: Scene, planned: Collection[str]) -> list[Reservation]:
    """While an attempt stops for a move that people agreed to, the place that it goes to is kept."""
    moves = [agreed.move for uid, agreed in scene.agreed.items() if uid not in planned]
    return [_reservation(move, None, scene.now) for move in moves if move.uid not in scene.turns]


def _zones_without_spoke(jobs: Iterable[QueuedJob], spokes: Iterable[Spoke], baseline: str) -> dict[str, str]:
    """The zones of regions that jobs are compared with, or have data in, and no spoke is in; by the region table."""
    specs = [job.spec for job in jobs]
    wanted = {spec.baseline_region or baseline for spec in specs} | {spec.workload.dataset.region for spec in specs}
    far = {region for region in wanted if region} - {spoke.facts.region for spoke in spokes}
    return {region: zone for region in sorted(far) if (zone := zone_of(region)) is not None}


def _queued(view: JobView, scene: Scene) -> QueuedJob:
    job = view.job
    if job is None or job.metadata.creation_timestamp is None:
        raise ValueError(f"{view.key}: only a valid job can be queued")
    return QueuedJob(
        uid=view.uid,
        namespace=job.metadata.namespace,
        name=job.metadata.name,
        spec=job.spec,
        submitted_at=job.metadata.creation_timestamp,
        generation=job.metadata.generation,
        attempt=view.last_attempt + 1,
        remaining_fraction=_remaining(view),
        incumbent=_promised(view),
        excluded_clusters=scene.refusals.get(view.uid, frozenset()),
        moves_from=_left(view, scene),
    )


def _between(view: JobView, scene: Scene) -> QueuedJob:
    """A job that waits to be placed; where people agreed to its move, there and nowhere else."""
    queued, agreed = _queued(view, scene), scene.agreed.get(view.uid)
    if agreed is None:
        return queued
    incumbent = Incumbent(*agreed.place, agreed.move.start, agreed=agreed.place)
    return replace(queued, incumbent=incumbent, stays_because=f"People agreed to its move to {agreed.move.cluster}.")


def _left(view: JobView, scene: Scene) -> str:
    """The cluster that a job has left, or is to leave, for a move that people were asked about."""
    moves, placed = scene.tip.moves if scene.tip else {}, view.status.placement
    return placed.cluster if placed is not None and view.uid in moves and view.placement is None else ""


def _promised(view: JobView) -> Incumbent | None:
    """Where a waiting job was last told that it would run: it leaves that only for a real gain."""
    status = view.status
    chosen = status.candidates[0] if status.candidates else None
    is_told = status.phase is Phase.WAITING and status.observed_generation == view.body["metadata"].get("generation")
    if not is_told or view.report is not None or status.start is None or chosen is None or chosen.pool is None:
        return None
    return Incumbent(chosen.cluster, chosen.pool, status.start) if chosen.verdict == "Chosen" else None


def _under_way(view: JobView, scene: Scene, turn: Turn) -> QueuedJob:
    """A job that runs or is paused, open to a better place and time."""
    placed = view.placement
    if placed is None:
        raise ValueError(f"{view.key}: what is under way stands in Git")
    incumbent = Incumbent(
        placed.cluster,
        placed.pool,
        placed.start,
        running=not turn.paused,
        paused=turn.paused,
        since=turn.since,
        pauses_used=turn.pauses_used,
        pause_is_due=turn.pause_is_due,
        surprise=turn.surprise,
        agreed=scene.agreed[view.uid].place if view.uid in scene.agreed else None,
    )
    return replace(_queued(view, scene), incumbent=incumbent, stays_because=scene.why_it_stays(view))


def _remaining(view: JobView) -> float:
    """What is left to do: a running attempt saves itself before it stops; any other goes on from its checkpoint."""
    report = view.report
    progress = report.progress if report is not None and report.progress else view.status.progress
    if report is None or progress is None or not progress.total_steps:
        return 1.0
    saved = report.checkpoint.step if report.checkpoint is not None else 0
    is_live = report.phase is AttemptPhase.RUNNING and report.progress is not None
    return max(0.0, 1 - (max(saved, progress.step) if is_live else saved) / progress.total_steps)


def _holds_nothing(placed: Placement, report: ReportSpec | None) -> bool:
    """Its GPUs are free: the attempt has ended, or has paused and is not wanted to go on yet."""
    has_ended = report is not None and report.attempt == placed.attempt and report.phase.is_terminal
    return has_ended or is_paused(placed, report)


def _reservation(placed: Placement, report: ReportSpec | None, now: datetime) -> Reservation:
    started = report.start_time if report is not None and report.attempt == placed.attempt else None
    return Reservation(
        job_uid=placed.uid,
        namespace=placed.namespace,
        cluster=placed.cluster,
        pool=placed.pool,
        gpus=placed.gpus,
        start=min(started or placed.start, now),
        end=max(reserved_until(placed, report), now + STOP_SLACK),
    )
