"""The fleet of a replay: a spoke for each pool of GPUs, and jobs and reservations as the planner sees them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from carbonfleet.api.cluster import ClusterFacts, GpuPool
from carbonfleet.api.job import (
    Dataset,
    Interruptible,
    JobSpec,
    Objective,
    ResidencyRequest,
    Resources,
    Schedule,
    Training,
    Workload,
)
from carbonfleet.api.policy import FleetPolicy, Goal, PolicyMetadata, PolicySpec, Residency, Tier
from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import Forecast
from carbonfleet.placement import Assumptions, PolicySet, QueuedJob, Reservation, Snapshot, Spoke
from carbonfleet.simulator.grid import HOUR, MINUTE, Grid
from carbonfleet.simulator.replay.jobs import ReplayJob

ENDLESS: Final = 100_000
"""GPUs of a pool without a limit on capacity."""
NAMESPACE: Final = "replay"
OLDEST_SIGNAL: Final = timedelta(days=8)


@dataclass(frozen=True, slots=True)
class Pool:
    """GPUs in a zone. Speed 1 runs a job in its given minutes, at `kw_per_gpu` at the wall."""

    name: str
    zone: str
    gpus: int = ENDLESS
    speed: float = 1.0
    kw_per_gpu: float = 1.0

    @property
    def is_endless(self) -> bool:
        """Whether it is taken to have any number of GPUs."""
        return self.gpus >= ENDLESS

    def minutes(self, job: ReplayJob) -> int:
        """How long a job is declared to run here; the planner rounds in the same way."""
        return self._rounded(job.minutes)

    def actual_minutes(self, job: ReplayJob) -> int:
        """How long it runs here."""
        return self._rounded(job.actual_minutes)

    def _rounded(self, minutes: int) -> int:
        return max(1, int(-(-(minutes / self.speed - 1e-6) // 1)))

    def kwh(self, job: ReplayJob) -> float:
        """What a job uses here in one piece."""
        return self.actual_minutes(job) / 60 * job.gpus * self.kw_per_gpu


@dataclass(frozen=True, slots=True)
class ReplayedRun:
    """A job that was started."""

    job: ReplayJob
    pool: Pool
    begin: datetime
    forced: bool = False
    """It started at the end of its wait, not by choice."""
    piece_minutes: int | None = None
    """How long it runs until it pauses, or the last piece of a job that was cut; None: to the end in one piece."""
    earlier: "tuple[ReplayedRun, ...]" = ()
    """The pieces before."""

    @property
    def minutes(self) -> int:
        """How long it runs, without the pieces before."""
        return self.piece_minutes or self.pool.actual_minutes(self.job)

    @property
    def end(self) -> datetime:
        """When it has finished, or pauses."""
        return self.begin + MINUTE * self.minutes

    @property
    def pieces(self) -> "tuple[ReplayedRun, ...]":
        """All pieces in their order, itself the last."""
        return (*self.earlier, self)

    @property
    def delay_hours(self) -> float:
        """How long it waited: before it started, and in pauses."""
        return (self.end - self.job.submitted) / HOUR - sum(piece.minutes for piece in self.pieces) / 60

    @property
    def kwh(self) -> float:
        """What it used."""
        return sum(piece.minutes / 60 * piece.job.gpus * piece.pool.kw_per_gpu for piece in self.pieces)

    def grams(self, grid: Grid) -> float:
        """What it emitted."""
        return sum(
            piece.minutes / 60 * piece.job.gpus * piece.pool.kw_per_gpu
            * grid.mean(grid.row(piece.pool.zone), piece.begin, piece.minutes)
            for piece in self.pieces
        )  # fmt: skip

    def rest(self) -> ReplayJob | None:
        """What is left to do after the piece, as a job that comes when it ends; None when nothing is."""
        job, cut = self.job, self.job.interruptible
        if self.piece_minutes is None or cut is None:
            return None
        minutes = round(job.minutes - self.piece_minutes * self.pool.speed + cut.overhead / MINUTE)
        latest = job.latest + MINUTE * (job.minutes - minutes)
        pauses = cut.max_pauses - 1
        return replace(
            job,
            submitted=self.end,
            minutes=minutes,
            delay=max(timedelta(), latest - self.end),
            interruptible=cut.model_copy(update={"max_pauses": pauses}) if pauses else None,
            begun_in=self.pool.zone,
        )


def pools_of(zones: Sequence[str], gpus: int | None) -> tuple[Pool, ...]:
    """One pool in each zone, named after it, with `gpus` GPUs or as many as wanted."""
    return tuple(Pool(zone.lower(), zone, ENDLESS if gpus is None else gpus) for zone in zones)


@dataclass(frozen=True, slots=True)
class ReplayFleet:
    """What stays the same in all plans of a replay: spokes, policy and assumptions.

    PUE is 1, nothing is transferred, making the hardware is left out: grams are energy times intensity.
    """

    pools: tuple[Pool, ...]
    home: str
    spokes: tuple[Spoke, ...]
    policies: PolicySet
    assumptions: Assumptions

    def snapshot(
        self,
        jobs: Iterable[QueuedJob],
        forecasts: Mapping[tuple[str, SignalKind], Forecast],
        running: Iterable[ReplayedRun] = (),
    ) -> Snapshot:
        """What the planner sees."""
        return Snapshot(
            jobs=tuple(jobs),
            spokes=self.spokes,
            policies=self.policies,
            forecasts=forecasts,
            reservations=tuple(_reservation(run) for run in running),
            default_baseline_region=self.home.lower(),
            assumptions=self.assumptions,
        )


def replay_fleet(
    pools: tuple[Pool, ...],
    home: str,
    slot_minutes: int,
    *,
    doubt_weight: float | None = None,
    minimum_gain: float = 0.0,
    equal_share: float | None = None,
) -> ReplayFleet:
    """The fleet for some pools. `doubt_weight` stands over the planner's own.

    `minimum_gain` is the tier's: what a later start must save of the best start at once, in percent for each hour.
    With 0 jobs wait for the last gram: then no windows count as equal either, unless `equal_share` says so.
    """
    slot = slot_minutes * MINUTE
    assumptions = Assumptions(slot=slot, recheck=slot, embodied_share=0.0, maximum_signal_age=OLDEST_SIGNAL)
    if equal_share is not None or not minimum_gain:
        assumptions = replace(assumptions, equal_share=equal_share or 0.0)
    if doubt_weight is not None:
        assumptions = replace(assumptions, doubt_weight=doubt_weight)
    return ReplayFleet(
        pools=pools,
        home=home,
        spokes=tuple(Spoke(_facts(pool)) for pool in pools),
        policies=PolicySet((_policy(minimum_gain),)),
        assumptions=assumptions,
    )


def _facts(pool: Pool) -> ClusterFacts:
    watts = pool.kw_per_gpu * 1000
    gpu = GpuPool(
        name="gpus",
        gpu_type="A100",
        gpus=pool.gpus,
        memory_gib=80,
        usd_per_gpu_hour=0,
        idle_watts=watts,
        peak_watts=watts,
        relative_speed=pool.speed,
    )
    return ClusterFacts(
        name=pool.name,
        region=pool.zone.lower(),
        zone=pool.zone,
        jurisdictions=("ANY",),
        pools=(gpu,),
        pue=1,
        overhead=timedelta(),
    )


def _policy(minimum_gain: float) -> FleetPolicy:
    tier = Tier(name="replay", minimum_gain_percent_per_hour=minimum_gain)
    spec = PolicySpec(residency=Residency(anywhere=True), tiers=(tier,))
    return FleetPolicy(metadata=PolicyMetadata(name="replay"), spec=spec)


@lru_cache(maxsize=100_000)
def _spec(
    minutes: int,
    gpus: int,
    delay: timedelta,
    signal: SignalKind,
    interruptible: Interruptible | None,
    earliest: datetime | None = None,
    region: str = "",
) -> JobSpec:
    return JobSpec(
        # Of one profile are jobs of one length.
        workload=Workload(model="replay", dataset=Dataset(name="replay"), training=Training(steps=minutes)),
        resources=Resources(gpus=gpus, duration=minutes * MINUTE, reference_gpu="A100"),
        residency=ResidencyRequest(data_class="replay", allowed_regions=(region,) if region else ()),
        schedule=Schedule(tier="replay", max_delay=delay, interruptible=interruptible, earliest_start=earliest),
        objective=Objective(minimize=Goal.CARBON),
        signal=signal,
    )


def queued(job: ReplayJob, signal: SignalKind, *, ahead: bool = False) -> QueuedJob:
    """A job as the planner sees it; `ahead`: it is shown before it comes, and may not start earlier."""
    earliest = job.submitted if ahead else None
    spec = _spec(job.minutes, job.gpus, job.delay, signal, job.interruptible, earliest, job.begun_in.lower())
    return QueuedJob(uid=job.name, namespace=NAMESPACE, name=job.name, spec=spec, submitted_at=job.submitted)


def _reservation(run: ReplayedRun) -> Reservation:
    until = run.begin + MINUTE * (run.piece_minutes or run.pool.minutes(run.job))
    return Reservation(run.job.name, NAMESPACE, run.pool.name, "gpus", run.job.gpus, run.begin, until)
