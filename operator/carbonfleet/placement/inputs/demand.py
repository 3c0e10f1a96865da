"""What each job takes on each option: GPUs, minutes, energy, grams and money."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.policy import Aim, Goal
from carbonfleet.placement.assumptions import Assumptions
from carbonfleet.placement.hardware import canonical, profile
from carbonfleet.placement.inputs.lengths import weighed_lengths
from carbonfleet.placement.inputs.options import Options
from carbonfleet.placement.inputs.timeline import MINUTE, RESOLUTION, BoolArray, IntArray
from carbonfleet.placement.snapshot import FloatArray, QueuedJob, RunProfile

GRAMS_PER_TONNE: Final = 1e6
CARBON_ONLY_USD_PER_TONNE: Final = 50.0
"""Turns grams into a score where the job weighs carbon alone and puts no price on it."""


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What a score is made of, for the windows of some jobs on some options whose carbon total is g.

    Arrays of one shape, such as (jobs, options) or (options,). `cost = usd` (time-of-use prices come on top),
    `grams = operational * g + transfer * g + transfer_fixed + embodied`, and
    `score = money_weight * cost + carbon_weight * grams`. In a score g is the mean over the likely lengths
    of a run.
    """

    gpus: IntArray
    minutes: IntArray
    """Length of the run, with start-up, as declared."""
    lengths: IntArray
    """Minutes that the run may take, each as likely; a score's carbon is the mean over them. Shape (lengths, ...)."""
    startup: FloatArray
    """Minutes before the first step, with those in which the dataset comes in."""
    energy_kwh: FloatArray
    usd: FloatArray
    operational: FloatArray
    transfer: FloatArray
    transfer_fixed: FloatArray
    embodied: FloatArray
    money_weight: FloatArray
    carbon_weight: FloatArray
    """USD per gram. Weights have the shape of the jobs alone."""
    fixed: FloatArray
    """The part of the score that no hour changes, in USD."""
    slope: FloatArray
    """USD per unit of carbon total."""


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """Where the jobs' data lies, and what moving it takes."""

    gib: FloatArray
    """Shape (jobs,)."""
    region: IntArray
    """Shape (jobs,): a row of what follows; the first is for jobs whose data lies nowhere."""
    away: FloatArray
    """Shape (regions, options): 1 where an option is in another region, else 0."""
    egress_usd_per_gib: FloatArray
    grams_per_kwh: FloatArray
    """Of the source's grid, NaN where that is not known."""


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """The terms of all jobs on all options, worked out where they are asked for.

    A table of them would be larger than anything else in a plan, and slower to fill and read than this.
    Options on which every job takes equally long are of one kind.
    """

    options: Options
    kind: IntArray
    """Shape (options,)."""
    gpus_by_kind: IntArray
    minutes_by_kind: IntArray
    """Shape (jobs, kinds)."""
    lengths_by_kind: IntArray
    """Minutes, shape (lengths, jobs, kinds)."""
    startup_by_kind: FloatArray
    """Minutes, shape (jobs, kinds)."""
    data: Data
    transfer_kwh_per_gib: float
    money_weight: FloatArray
    """Shape (jobs,), as what follows."""
    carbon_weight: FloatArray
    usd_per_gram: FloatArray
    """The carbon weight of a job once it minds carbon alone."""
    carbon_alone: BoolArray
    """Jobs that mind carbon alone by now: their threshold was given up. Set while a plan is made."""
    latest: dict[int, Terms] = field(default_factory=dict)
    """The job that was asked for last."""

    def taken(self, rows: Sequence[int]) -> "Demand":
        """The same for some jobs, in the order of `rows`."""
        index = np.array(rows, dtype=np.int64)
        return replace(
            self,
            gpus_by_kind=self.gpus_by_kind[index],
            minutes_by_kind=self.minutes_by_kind[index],
            lengths_by_kind=self.lengths_by_kind[:, index],
            startup_by_kind=self.startup_by_kind[index],
            data=replace(self.data, gib=self.data.gib[index], region=self.data.region[index]),
            money_weight=self.money_weight[index],
            carbon_weight=self.carbon_weight[index],
            usd_per_gram=self.usd_per_gram[index],
            carbon_alone=self.carbon_alone[index],
            latest={},
        )

    def mind_carbon_alone(self, job: int, alone: bool) -> None:
        """From now on a job minds carbon alone, or again what it asks for."""
        self.carbon_alone[job] = alone
        self.latest.pop(job, None)

    def goal(self, job: int) -> Goal:
        """What the job's score weighs by now."""
        if self.carbon_alone[job]:
            return Goal.CARBON
        if not self.carbon_weight[job]:
            return Goal.COST
        return Goal.COMPOSITE if self.money_weight[job] else Goal.CARBON

    def of(self, job: int) -> Terms:
        """The terms of one job on all options, shape (options,)."""
        found = self.latest.get(job)
        if found is None:
            found = self.at(np.array(job), np.arange(len(self.options)))
            self.latest.clear()
            self.latest[job] = found
        return found

    def at(self, jobs: IntArray, options: IntArray) -> Terms:
        """The terms of jobs on options; the two are broadcast against each other."""
        where, kind = self.options, self.kind[options]
        gpus, minutes = self.gpus_by_kind[jobs, kind], self.minutes_by_kind[jobs, kind]
        hours = minutes / 60.0
        usd = gpus * hours * where.usd_per_gpu_hour[options]
        power = gpus * where.kw_per_gpu[options]
        operational = power * where.pue[options] * (RESOLUTION / 60.0)
        embodied = gpus * hours * where.embodied_grams_per_gpu_hour[options]
        transfer, transfer_fixed = np.zeros(usd.shape), np.zeros(usd.shape)
        if self.data.gib[jobs].any():
            egress_usd, transfer, transfer_fixed = self._transfer(jobs, options, minutes)
            usd = usd + egress_usd
        alone = self.carbon_alone[jobs]
        money = np.where(alone, 0.0, self.money_weight[jobs])
        carbon = np.where(alone, self.usd_per_gram[jobs], self.carbon_weight[jobs])
        return Terms(
            gpus=gpus,
            minutes=minutes,
            lengths=self.lengths_by_kind[:, jobs, kind] if len(self.lengths_by_kind) > 1 else minutes[None],
            startup=self.startup_by_kind[jobs, kind],
            energy_kwh=power * hours,
            usd=usd,
            operational=operational,
            transfer=transfer,
            transfer_fixed=transfer_fixed,
            embodied=embodied,
            money_weight=money,
            carbon_weight=carbon,
            fixed=money * usd + carbon * (transfer_fixed + embodied),
            slope=carbon * (operational + transfer),
        )

    def _transfer(
        self, jobs: IntArray, options: IntArray, minutes: IntArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Egress in USD, and the carbon of the transfer: by carbon total of the run, and at the source."""
        data, region = self.data, self.data.region[jobs]
        gib = data.away[region, options] * data.gib[jobs]
        source = data.grams_per_kwh[region]
        at_source = np.where(np.isnan(source), 0.0, 0.5)
        kwh = gib * self.transfer_kwh_per_gib
        by_run = (1 - at_source) * kwh * RESOLUTION / minutes
        return gib * data.egress_usd_per_gib[region], by_run, at_source * kwh * np.nan_to_num(source)


def demand_of(
    jobs: Sequence[QueuedJob],
    options: Options,
    region_grams_per_kwh: Callable[[str], float | None],
    run_lengths: Mapping[RunProfile, tuple[float, ...]],
    assumptions: Assumptions,
) -> Demand:
    """The demand of a queue. `region_grams_per_kwh` is the mean intensity of a region, None if not known."""
    kind, of_kind = _kinds(options)
    gpus, run_minutes = _work(jobs, options, of_kind)
    startup = _startup(jobs, options, of_kind)
    minutes = _length(jobs, run_minutes, startup, options, of_kind)
    money, carbon, usd_per_gram = _weights(jobs)
    return Demand(
        options=options,
        kind=kind,
        gpus_by_kind=gpus,
        minutes_by_kind=minutes,
        lengths_by_kind=weighed_lengths(jobs, minutes, gpus, options, of_kind, run_lengths, assumptions),
        startup_by_kind=startup,
        data=_data(jobs, options, region_grams_per_kwh, assumptions),
        transfer_kwh_per_gib=assumptions.transfer_kwh_per_gib,
        money_weight=money,
        carbon_weight=carbon,
        usd_per_gram=usd_per_gram,
        carbon_alone=np.zeros(len(jobs), dtype=np.bool_),
    )


def _kinds(options: Options) -> tuple[IntArray, IntArray]:
    """The kind of each option, and an option of each kind."""
    found: dict[tuple[str, float, float, float, float, str], int] = {}
    figures = zip(
        options.speed.tolist(), options.overhead_minutes.tolist(), options.reclaims_per_hour.tolist(), strict=True
    )
    keys = [
        (option.pool.gpu_type, *figure, *_ingress(option.spoke.facts))
        for option, figure in zip(options.entries, figures, strict=True)
    ]
    kind = np.array([found.setdefault(key, len(found)) for key in keys], dtype=np.int64)
    return kind, np.array([keys.index(key) for key in found], dtype=np.int64)


def _work(jobs: Sequence[QueuedJob], options: Options, of_kind: IntArray) -> tuple[IntArray, FloatArray]:
    """GPUs and minutes of pure work that is left, shape (jobs, kinds)."""
    resources = [job.spec.resources for job in jobs]
    speed = {name: profile(name).relative_speed for name in {r.reference_gpu for r in resources}}
    work = np.array([r.duration / MINUTE * speed[r.reference_gpu] for r in resources]).reshape(-1, 1)
    gpus = np.repeat(np.array([r.gpus for r in resources], dtype=np.int64).reshape(-1, 1), of_kind.size, axis=1)
    minutes = work / options.speed[of_kind]
    types = np.array([canonical(options.entries[option].pool.gpu_type) for option in of_kind.tolist()])
    for row, resource in enumerate(resources):
        for asked in reversed(resource.options):  # of two for one model the first counts
            same = types == canonical(asked.gpu_type)
            gpus[row, same], minutes[row, same] = asked.gpus, asked.duration / MINUTE
    left = np.array([job.remaining_fraction for job in jobs]).reshape(-1, 1)
    return gpus, minutes * left


def _ingress(facts: ClusterFacts) -> tuple[float, str]:
    """How fast data comes in, and where it need not; one for all spokes into which it takes no time."""
    return (0.0, "") if facts.ingress_gib_per_hour is None else (facts.ingress_gib_per_hour, facts.region)


def _startup(jobs: Sequence[QueuedJob], options: Options, of_kind: IntArray) -> FloatArray:
    """Minutes from the start to the first step, shape (jobs, kinds): image and start-up, then a dataset from elsewhere.

    A dataset that lies in no region lies elsewhere for all.
    """
    gib = np.array([job.spec.workload.dataset.size_gib for job in jobs]).reshape(-1, 1)
    startup = np.repeat(options.overhead_minutes[of_kind][None, :], len(jobs), axis=0)
    if not gib.any():
        return startup
    speeds = [_ingress(options.entries[option].spoke.facts) for option in of_kind.tolist()]
    per_gib = np.array([60.0 / gib_per_hour if gib_per_hour else 0.0 for gib_per_hour, _ in speeds])
    regions = np.array([job.spec.workload.dataset.region or "" for job in jobs]).reshape(-1, 1)
    away = regions != np.array([region for _, region in speeds])
    startup += away * gib * per_gib
    return startup


def _length(
    jobs: Sequence[QueuedJob], run_minutes: FloatArray, startup: FloatArray, options: Options, of_kind: IntArray
) -> IntArray:
    """Minutes with start-up and, on spot, what is expected to be lost to reclaims; at least one.

    A reclaim loses half a checkpoint interval on average, and a start-up.
    """
    overhead, reclaims = options.overhead_minutes[of_kind], options.reclaims_per_hour[of_kind]
    half_interval = np.array([job.spec.workload.checkpoints.every / MINUTE / 2 for job in jobs]).reshape(-1, 1)
    lost = reclaims / 60.0 * (half_interval + overhead)
    # A hair below, so that 84.00000001 minutes are 84.
    return np.maximum(1, np.ceil(run_minutes * (1 + lost) + startup - 1e-6)).astype(np.int64)


def _weights(jobs: Sequence[QueuedJob]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The weights of money and carbon, and that of carbon alone; each of shape (jobs,)."""
    weights = np.array([_weights_of(job.spec.objective) for job in jobs]).reshape(-1, 3)
    return weights[:, 0], weights[:, 1], weights[:, 2]


def _weights_of(aim: Aim) -> tuple[float, float, float]:
    priced = aim.usd_per_tonne / GRAMS_PER_TONNE
    alone = priced or CARBON_ONLY_USD_PER_TONNE / GRAMS_PER_TONNE
    if aim.goal is Goal.CARBON:
        return 0.0, alone, alone
    return 1.0, priced if aim.goal is Goal.COMPOSITE else 0.0, alone


def _data(
    jobs: Sequence[QueuedJob],
    options: Options,
    region_grams_per_kwh: Callable[[str], float | None],
    assumptions: Assumptions,
) -> Data:
    """Where data lies that is neither empty nor everywhere."""
    sets = [job.spec.workload.dataset for job in jobs]
    held = [data.region if data.size_gib > 0 else None for data in sets]
    rows = {region: row for row, region in enumerate(sorted({region for region in held if region is not None}), 1)}
    known = [region_grams_per_kwh(region) for region in rows]
    regions = [option.spoke.facts.region for option in options.entries]
    return Data(
        gib=np.array([data.size_gib if region is not None else 0.0 for data, region in zip(sets, held, strict=True)]),
        region=np.array([0 if region is None else rows[region] for region in held], dtype=np.int64),
        away=np.array([[0.0] * len(options), *([float(at != region) for at in regions] for region in rows)]),
        egress_usd_per_gib=np.array([0.0, *(_egress_price(region, options, assumptions) for region in rows)]),
        grams_per_kwh=np.array([np.nan, *(np.nan if grams is None else grams for grams in known)]),
    )


def _egress_price(region: str, options: Options, assumptions: Assumptions) -> float:
    """What leaving a region costs per GiB: as its spokes declare, the dearest of them."""
    declared = [f.egress_usd_per_gib for option in options.entries if (f := option.spoke.facts).region == region]
    return max(declared, default=assumptions.unknown_egress_usd_per_gib)
