"""What the planner sees: a frozen picture of jobs, spokes, policies and the grid."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.job import JobSpec
from carbonfleet.api.policy import FleetPolicy
from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import Forecast, History
from carbonfleet.placement.assumptions import DEFAULTS, Assumptions

HOUR = timedelta(hours=1)
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spoke:
    """A spoke as declared, and whether new work may go there."""

    facts: ClusterFacts
    healthy: bool = True
    reason: str = ""
    """Why not, in CamelCase, when unhealthy: Unreachable, NeverJoined, Invalid."""
    message: str = ""
    free_gpus: Mapping[str, int] | None = None
    """By pool, as the spoke last reported; None when it never did."""
    price_sources: Mapping[tuple[str, bool], str] = field(default_factory=dict)
    """By pool and whether spot: who named its price, where that is not the cluster file."""
    ingress_runs: int = 0
    """Of so many runs the speed at which datasets come in is the median; 0 where it is what the cluster file says."""

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.facts.name


@dataclass(frozen=True, slots=True)
class Reservation:
    """GPUs that are taken: an attempt in Git or running, whether or not its spoke shows it yet."""

    job_uid: str
    namespace: str
    cluster: str
    pool: str
    gpus: int
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Incumbent:
    """Where a job is planned or runs already, so that it moves only for a real gain."""

    cluster: str
    pool: str
    start: datetime
    running: bool = False
    paused: bool = False
    """It ran, has saved itself and given up its GPUs; it may go on here or elsewhere."""
    since: datetime | None = None
    """Start of the present run, for the minimum dwell."""
    pauses_used: int = 0
    """Pauses and moves so far, the present one included."""
    pause_is_due: bool = False
    """The plan that it was started with has it pause now."""
    surprise: float = 0.0
    """By how much the grid of late was above what its decision expected: 0.3 is 30 %."""
    agreed: tuple[str, str] | None = None
    """Cluster and pool to which people agreed that it moves; there it goes if that can be."""

    @property
    def is_under_way(self) -> bool:
        """It has begun: what it has done would be lost if it were simply placed anew."""
        return self.running or self.paused


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job that wants a decision: not yet in Git, or running and open to a better place."""

    uid: str
    namespace: str
    name: str
    spec: JobSpec
    submitted_at: datetime
    generation: int = 1
    attempt: int = 1
    """The number that the next attempt will bear."""
    remaining_fraction: float = 1.0
    """Of the whole run's length, what is still to do."""
    incumbent: Incumbent | None = None
    stays_because: str = ""
    """Why a job may go on in its incumbent's place only; empty where it may move."""
    moves_from: str = ""
    """The cluster that it has just left for a place to which people agreed: to any other it would be a move again."""
    excluded_clusters: frozenset[str] = frozenset()
    """Places that just failed or were left, for a while."""

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a namespace has used since the month (UTC) began."""

    carbon_kg: float = 0.0
    gpu_hours: float = 0.0
    running_gpus: int = 0


RunProfile = tuple[str, str, int]
"""What is trained, on which GPU type (canonical), on how many."""


@dataclass(frozen=True, slots=True)
class PolicySet:
    """All policies of the fleet repository at one commit. With a inputs in any of them, all is denied."""

    policies: tuple[FleetPolicy, ...] = ()
    digest: str = ""
    """Of the `policies/` tree that was read."""
    problems: tuple[str, ...] = ()
    """Each as `file:line: message`."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a plan depends on, apart from the time."""

    jobs: tuple[QueuedJob, ...] = ()
    spokes: tuple[Spoke, ...] = ()
    policies: PolicySet = PolicySet()
    forecasts: Mapping[tuple[str, SignalKind], Forecast] = field(default_factory=dict)
    """By zone and signal; a zone that is missing here is excluded, or the job's `onSignalLoss` applies."""
    histories: Mapping[tuple[str, SignalKind], History] = field(default_factory=dict)
    reservations: tuple[Reservation, ...] = ()
    usage: Mapping[str, Usage] = field(default_factory=dict)
    """By namespace."""
    run_lengths: Mapping[RunProfile, tuple[float, ...]] = field(default_factory=dict)
    """Hours that whole runs took, oldest first."""
    signal_problems: Mapping[str, str] = field(default_factory=dict)
    """By zone: why it has no forecast."""
    signals_awaited: frozenset[str] = frozenset()
    """Zones of which the first answer is still to come."""
    default_baseline_region: str = ""
    region_zones: Mapping[str, str] = field(default_factory=dict)
    """The zone of regions in which no spoke is, for baselines."""
    assumptions: Assumptions = DEFAULTS


_name = attrgetter("name")


def without_queue(snapshot: Snapshot) -> Snapshot:
    """The snapshot without what changes as jobs come and go, in whatever order the spokes are given."""
    spokes = tuple(replace(spoke, free_gpus=None) for spoke in sorted(snapshot.spokes, key=_name))
    return replace(snapshot, jobs=(), reservations=(), spokes=spokes, run_lengths={})


def is_same(old: Snapshot, new: Snapshot) -> bool:
    """Whether both ask the same, though forecasts may have been fetched again."""
    if old.forecasts.keys() != new.forecasts.keys():
        return False
    same_grid = all(_says_the_same(old.forecasts[key], forecast) for key, forecast in new.forecasts.items())
    return same_grid and replace(old, forecasts={}) == replace(new, forecasts={})


def _says_the_same(old: Forecast, new: Forecast) -> bool:
    """The figures and where they come from; that the same was measured again does not matter."""
    if old is new:
        return True
    same_slots = (old.start, old.step, old.source, old.link) == (new.start, new.step, new.source, new.link)
    return (
        same_slots
        and np.array_equal(old.grams_per_kwh, new.grams_per_kwh)
        and np.array_equal(old.doubt_grams_per_kwh, new.doubt_grams_per_kwh)
    )
