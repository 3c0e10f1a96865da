"""What Git says, or said last, of each job's attempts: the measure of what spokes report of them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pydantic import ValidationError

from carbonfleet.api.cluster import GpuPool
from carbonfleet.api.job_status import PlacementStatus
from carbonfleet.api.report import JobRef
from carbonfleet.api.wire import Metadata
from carbonfleet.fleet import Placement, Stood, Tip
from carbonfleet.kube import Object

LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Placed:
    """One attempt as Git has it, or had it."""

    uid: str
    namespace: str
    name: str
    cluster: str
    attempt: int
    placement_id: str
    pool: str = ""
    """Empty where its file can't be read any more."""
    gpus: int = 0
    """0 where its file can't be read any more."""
    hardware: GpuPool | None = None
    """The pool as its cluster file declares it; None where it does no more."""
    not_before: tuple[datetime, ...] = ()
    """When the job was created and the attempt committed, as far as is known: it can't have begun before."""

    @property
    def identity(self) -> tuple[str, str, int, str]:
        """What a report on it must name."""
        return self.uid, self.cluster, self.attempt, self.placement_id


@dataclass(frozen=True, slots=True)
class PlacedInGit:
    """The branch, its history, and the jobs' statuses, which remember what stood there last."""

    tip: Tip | None
    jobs: Mapping[str, Object]
    """By UID, as the API has them."""
    history: Callable[[str], tuple[Stood, ...]]
    """By job UID: every attempt that the branch ever placed."""
    file: Callable[[str, str], Placement | None]
    """The placement in a commit, at a path."""
    decides_in: Callable[[str], bool] = lambda _: True
    """Whether the jobs of a namespace are this hub's."""

    def last(self, uid: str) -> Placed | None:
        """The attempt that stands, of several the highest; where none does, the one that stood last."""
        standing = self.tip.placements.get(uid) if self.tip else None
        if standing is not None:
            return self._placed(standing)
        noted, stood = self._noted(uid), self.history(uid)
        newest = max(reversed(stood), key=lambda each: each.attempt, default=None)
        if noted is not None and (newest is None or noted.attempt >= newest.attempt):
            return self._as_it_stood(uid, noted, noted.commit or (newest.commit if newest else ""))
        return self._as_it_stood(uid, newest, newest.commit) if newest is not None else None

    def version(self, uid: str) -> object:
        """The same as long as nothing has changed here for the job."""
        attempts = self.tip.index.attempts.get(uid, ()) if self.tip else ()
        metadata = (self.jobs.get(uid) or {}).get("metadata") or {}
        return attempts, metadata.get("resourceVersion"), len(self.history(uid))

    def may_be_there(self, job: JobRef) -> bool:
        """The API has the job, as far as this hub can tell, or something of it stands in Git."""
        stands = self.tip is not None and job.uid in self.tip.index.attempts
        return stands or job.uid in self.jobs or not self.decides_in(job.namespace)

    def ever(self, identity: tuple[str, str, int, str]) -> bool:
        """Whether an attempt stands in Git, or ever stood there: (job UID, cluster, attempt, placement id)."""
        uid, noted = identity[0], self._noted(identity[0])
        known: Iterable[Placement | PlacementStatus | Stood] = (
            *(self.tip.index.attempts.get(uid, ()) if self.tip else ()),
            *((noted,) if noted is not None else ()),
            *self.history(uid),
        )
        return any((uid, one.cluster, one.attempt, one.placement_id) == identity for one in known)

    def _noted(self, uid: str) -> PlacementStatus | None:
        status = (self.jobs.get(uid) or {}).get("status") or {}
        try:
            return PlacementStatus.model_validate(status["placement"])
        except (ValidationError, KeyError, TypeError):
            return None

    def _as_it_stood(self, uid: str, was: PlacementStatus | Stood, commit: str) -> Placed:
        """An attempt that left Git, by the file that it had there; without that file, as far as it is known."""
        file = self.file(commit, was.path)
        if file is not None and (file.cluster, file.placement_id) == (was.cluster, was.placement_id):
            return self._placed(file)
        job = self.jobs.get(uid) or {}
        metadata = job.get("metadata") or {}
        return Placed(
            uid=uid,
            namespace=str(metadata.get("namespace") or ""),
            name=str(metadata.get("name") or ""),
            cluster=was.cluster,
            attempt=was.attempt,
            placement_id=was.placement_id,
            pool=was.pool if isinstance(was, PlacementStatus) else "",
            hardware=self._pool(was.cluster, was.pool) if isinstance(was, PlacementStatus) else None,
            not_before=self._not_before(uid, was.placement_id),
        )

    def _placed(self, file: Placement) -> Placed:
        return Placed(
            uid=file.uid,
            namespace=file.namespace,
            name=file.name,
            cluster=file.cluster,
            attempt=file.attempt,
            placement_id=file.placement_id,
            pool=file.pool,
            gpus=file.gpus,
            hardware=self._pool(file.cluster, file.pool),
            not_before=self._not_before(file.uid, file.placement_id),
        )

    def _pool(self, cluster: str, name: str) -> GpuPool | None:
        facts = self.tip.clusters.get(cluster) if self.tip else None
        return next((pool for pool in facts.pools if pool.name == name), None) if facts else None

    def _not_before(self, uid: str, placement_id: str) -> tuple[datetime, ...]:
        commits = (one.committed_at for one in self.history(uid) if one.placement_id == placement_id)
        created = _created_at(self.jobs.get(uid))
        return (*((created,) if created is not None else ()), *sorted(commits)[:1])


def _created_at(job: Object | None) -> datetime | None:
    try:
        return Metadata.model_validate((job or {})["metadata"]).creation_timestamp
    except (ValidationError, KeyError):
        return None
