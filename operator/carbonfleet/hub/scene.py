"""What one cycle sees, as frozen values, and the snapshot that it plans with."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import ValidationError

from carbonfleet.api import ANNOTATION, SpokeCluster
from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.job_status import Phase
from carbonfleet.api.report import AttemptPhase, ReportSpec
from carbonfleet.fleet import Placement, Tip
from carbonfleet.hub.status import Trouble
from carbonfleet.hub.view import JobView, Stage
from carbonfleet.kube import Object
from carbonfleet.placement.snapshot import QueuedJob, Reservation, Snapshot, Spoke

STOP_SLACK = timedelta(minutes=5)
"""A run that outlives its expected end is taken to need its GPUs for so much longer."""


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
    synced_commits: Mapping[str, str] = field(default_factory=dict)
    """By spoke: the commit that it last synced."""
    jobs_are_complete: bool = True
    """Every job of the API is in `views`, so what stands in Git without a job is an orphan."""

    def queued(self) -> list[JobView]:
        """Jobs that want a decision and may have one."""
        return [view for view in self.views if view.stage is Stage.QUEUED and not self.was_reverted(view)]

    def was_reverted(self, view: JobView) -> bool:
        """Somebody else took the job's placement out of Git while it was live.

        The hub itself removes a live placement only for a job that is being deleted, or after it
        wrote down how the attempt ended.
        """
        if view.stage is not Stage.QUEUED or view.job is None or not self.tip_is_fresh:
            return False
        status = view.job.status
        in_git = status.phase in (Phase.COMMITTED, Phase.RUNNING, Phase.PAUSED)
        changed = view.job.metadata.generation != status.observed_generation
        return in_git and not changed and not asks_to_replace(view)


def asks_to_replace(view: JobView) -> bool:
    """A person asked, by annotation, to write the placement again."""
    if view.job is None:
        return False
    asked = view.job.metadata.annotations.get(ANNOTATION.REPLACE, "")[:256]
    return asked not in ("", view.job.status.replaced)


def spokes_of(
    clusters: Mapping[str, ClusterFacts],
    bodies: Iterable[Object],
    now: datetime,
    grace: timedelta,
) -> tuple[tuple[Spoke, ...], dict[str, str]]:
    """The declared clusters with what their agents last said, and the commit that each has synced."""
    reported = {body["metadata"]["name"]: body for body in bodies}
    spokes, synced = [], {}
    for name, facts in sorted(clusters.items()):
        try:
            status = SpokeCluster.model_validate(reported[name]).status if name in reported else None
        except ValidationError as error:
            spokes.append(Spoke(facts, False, "Invalid", f"its SpokeCluster can't be read: {error.errors()[0]['msg']}"))
            continue
        heard = status.heartbeat_time if status else None
        if status is not None:
            synced[name] = status.synced_commit
        healthy, reason, message = _health(facts, heard, now, grace)
        free = {pool.name: pool.free_gpus for pool in status.pools} if status and status.pools else None
        spokes.append(Spoke(facts, healthy, reason, message, free))
    return tuple(spokes), synced


def _health(facts: ClusterFacts, heard: datetime | None, now: datetime, grace: timedelta) -> tuple[bool, str, str]:
    if facts.maintenance:
        return False, "Maintenance", "its cluster file says maintenance: true"
    if heard is None:
        return False, "NeverJoined", "its agent has never reported; run `carbonfleet spoke run` there"
    silence = now - heard
    if silence > grace:
        return (
            False,
            "Unreachable",
            f"its agent was last heard {int(silence.total_seconds() // 60)} minutes ago",
        )
    return True, "", ""


def snapshot_of(scene: Scene, default_baseline_region: str) -> Snapshot:
    """What the planner needs, without the signals."""
    tip = scene.tip
    reports = {view.uid: view.report for view in scene.views if view.report is not None}
    return Snapshot(
        jobs=tuple(_queued(view) for view in scene.queued()),
        spokes=scene.spokes,
        policies=tip.policies if tip else Snapshot().policies,
        reservations=tuple(
            _reservation(placed, reports.get(placed.uid), scene.now)
            for placed in (tip.files.values() if tip else ())
            if not _has_ended(placed, reports.get(placed.uid))
        ),
        default_baseline_region=default_baseline_region,
    )


def _queued(view: JobView) -> QueuedJob:
    job = view.job
    if job is None or job.metadata.creation_timestamp is None:
        raise ValueError(f"{view.key}: only a valid job can be queued")
    refused = view.report is not None and view.report.phase is AttemptPhase.REFUSED
    return QueuedJob(
        uid=view.uid,
        namespace=job.metadata.namespace,
        name=job.metadata.name,
        spec=job.spec,
        submitted_at=job.metadata.creation_timestamp,
        generation=job.metadata.generation,
        attempt=view.last_attempt + 1,
        remaining_fraction=_remaining(view.report),
        excluded_clusters=frozenset({view.report.spoke}) if refused and view.report else frozenset(),
    )


def _remaining(report: ReportSpec | None) -> float:
    """What the last checkpoint leaves to do."""
    if report is None or report.checkpoint is None or report.progress is None:
        return 1.0
    total = report.progress.total_steps
    return max(0.0, 1 - report.checkpoint.step / total) if total else 1.0


def _has_ended(placed: Placement, report: ReportSpec | None) -> bool:
    return report is not None and report.attempt == placed.attempt and report.phase.is_terminal


def _reservation(placed: Placement, report: ReportSpec | None, now: datetime) -> Reservation:
    started = report.start_time if report is not None and report.attempt == placed.attempt else None
    start = started or placed.start
    return Reservation(
        job_uid=placed.uid,
        namespace=placed.namespace,
        cluster=placed.cluster,
        pool=placed.pool,
        gpus=placed.gpus,
        start=min(start, now),
        end=max(start + placed.duration, now + STOP_SLACK),
    )
