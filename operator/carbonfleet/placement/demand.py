"""What each job takes on each lane: GPUs, minutes, energy, grams and money, over (job, lane)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from carbonfleet.api.job import Goal
from carbonfleet.placement.assumptions import Assumptions
from carbonfleet.placement.grid import MINUTE, RESOLUTION, IntArray
from carbonfleet.placement.hardware import profile
from carbonfleet.placement.lanes import Lanes
from carbonfleet.placement.snapshot import FloatArray, QueuedJob

GRAMS_PER_TONNE: Final = 1e6
CARBON_ONLY_USD_PER_TONNE: Final = 50.0
"""Turns grams into a score where the job weighs carbon alone and puts no price on it."""


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What a score is made of, for the window of a job on a lane whose carbon total is g.

    Arrays have shape (jobs, lanes). `cost = usd` (time-of-use prices come on top),
    `grams = operational * g + transfer * g + transfer_fixed + embodied`, and
    `score = money_weight * cost + carbon_weight * grams`.
    """

    gpus: IntArray
    minutes: IntArray
    """Length of the run, with overhead."""
    energy_kwh: FloatArray
    usd: FloatArray
    operational: FloatArray
    transfer: FloatArray
    transfer_fixed: FloatArray
    embodied: FloatArray
    money_weight: FloatArray
    """Shape (jobs, 1)."""
    carbon_weight: FloatArray
    """USD per gram, shape (jobs, 1)."""

    def taken(self, rows: Sequence[int]) -> "Terms":
        """The same for some jobs, in the order of `rows`."""
        index = np.array(rows, dtype=np.int64)
        return Terms(**{item.name: getattr(self, item.name)[index] for item in fields(self)})

    @property
    def fixed(self) -> FloatArray:
        """The part of the score that no hour changes, in USD."""
        return self.money_weight * self.usd + self.carbon_weight * (self.transfer_fixed + self.embodied)

    @property
    def slope(self) -> FloatArray:
        """USD per unit of carbon total."""
        return self.carbon_weight * (self.operational + self.transfer)


def terms_of(
    jobs: Sequence[QueuedJob],
    lanes: Lanes,
    region_grams_per_kwh: Callable[[str], float | None],
    assumptions: Assumptions,
) -> Terms:
    """The terms of a queue. `region_grams_per_kwh` is the mean intensity of a region, None if not known."""
    gpus, run_minutes = _work(jobs, lanes)
    minutes = _length(jobs, run_minutes, lanes)
    hours = minutes / 60.0
    gib, egress_usd, source_grams = _transfer(jobs, lanes, region_grams_per_kwh, assumptions)
    transfer_kwh = gib * assumptions.transfer_kwh_per_gib
    energy_kwh = gpus * lanes.kw_per_gpu * hours
    at_source = np.where(np.isnan(source_grams), 0.0, 0.5)
    money, carbon = _weights(jobs)
    return Terms(
        gpus=gpus,
        minutes=minutes,
        energy_kwh=energy_kwh,
        usd=gpus * hours * lanes.usd_per_gpu_hour + egress_usd,
        operational=gpus * lanes.kw_per_gpu * lanes.pue * (RESOLUTION / 60.0),
        transfer=(1 - at_source) * transfer_kwh * RESOLUTION / minutes,
        transfer_fixed=at_source * transfer_kwh * np.nan_to_num(source_grams),
        embodied=gpus * hours * lanes.embodied_grams_per_gpu_hour,
        money_weight=money,
        carbon_weight=carbon,
    )


def _work(jobs: Sequence[QueuedJob], lanes: Lanes) -> tuple[IntArray, FloatArray]:
    """GPUs and minutes of pure work that is left, shape (jobs, lanes)."""
    resources = [job.spec.resources for job in jobs]
    speed = {name: profile(name).relative_speed for name in {r.reference_gpu for r in resources}}
    work = np.array([r.duration / MINUTE * speed[r.reference_gpu] for r in resources]).reshape(-1, 1)
    gpus = np.repeat(np.array([r.gpus for r in resources], dtype=np.int64).reshape(-1, 1), len(lanes), axis=1)
    minutes = work / lanes.speed
    for row, job in enumerate(jobs):
        for option in job.spec.resources.options:
            same = np.array([lane.pool.gpu_type == option.gpu_type for lane in lanes.lanes])
            gpus[row, same], minutes[row, same] = option.gpus, option.duration / MINUTE
    left = np.array([job.remaining_fraction for job in jobs]).reshape(-1, 1)
    return gpus, minutes * left


def _length(jobs: Sequence[QueuedJob], run_minutes: FloatArray, lanes: Lanes) -> IntArray:
    """Minutes with start-up and, on spot, what is expected to be lost to reclaims; at least one.

    A reclaim loses half a checkpoint interval on average, and a start-up.
    """
    half_interval = np.array([job.spec.workload.checkpoints.every / MINUTE / 2 for job in jobs]).reshape(-1, 1)
    lost = lanes.reclaims_per_hour / 60.0 * (half_interval + lanes.overhead_minutes)
    # A hair below, so that 84.00000001 minutes are 84.
    return np.maximum(1, np.ceil(run_minutes * (1 + lost) + lanes.overhead_minutes - 1e-6)).astype(np.int64)


def _weights(jobs: Sequence[QueuedJob]) -> tuple[FloatArray, FloatArray]:
    money, carbon = np.ones((len(jobs), 1)), np.zeros((len(jobs), 1))
    for row, job in enumerate(jobs):
        objective = job.spec.objective
        per_gram = objective.carbon_price_usd_per_tonne / GRAMS_PER_TONNE
        if objective.minimize is Goal.CARBON:
            money[row], carbon[row] = 0.0, per_gram or CARBON_ONLY_USD_PER_TONNE / GRAMS_PER_TONNE
        elif objective.minimize is Goal.COMPOSITE:
            carbon[row] = per_gram
    return money, carbon


def _transfer(
    jobs: Sequence[QueuedJob],
    lanes: Lanes,
    region_grams_per_kwh: Callable[[str], float | None],
    assumptions: Assumptions,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """GiB to move and its egress price in USD, shape (jobs, lanes); the source's g/kWh, shape (jobs, 1)."""
    gib = np.zeros((len(jobs), len(lanes)))
    egress_usd, grams = np.zeros((len(jobs), len(lanes))), np.full((len(jobs), 1), np.nan)
    for row, job in enumerate(jobs):
        data = job.spec.workload.dataset
        if data.region is not None and data.size_gib > 0:
            away = np.array([lane.spoke.facts.region != data.region for lane in lanes.lanes])
            gib[row] = away * data.size_gib
            egress_usd[row] = gib[row] * _egress_price(data.region, lanes, assumptions)
            known = region_grams_per_kwh(data.region)
            grams[row] = np.nan if known is None else known
    return gib, egress_usd, grams


def _egress_price(region: str, lanes: Lanes, assumptions: Assumptions) -> float:
    """What leaving a region costs per GiB: as its spokes declare, the dearest of them."""
    declared = [f.egress_usd_per_gib for lane in lanes.lanes if (f := lane.spoke.facts).region == region]
    return max(declared, default=assumptions.unknown_egress_usd_per_gib)
