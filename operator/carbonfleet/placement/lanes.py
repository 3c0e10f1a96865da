"""Where work can go: each pool of each spoke, on demand or spot, as one row of arrays."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carbonfleet.api.cluster import GpuPool
from carbonfleet.placement.assumptions import Assumptions
from carbonfleet.placement.grid import MINUTE, IntArray
from carbonfleet.placement.hardware import pool_profile, power_kw
from carbonfleet.placement.snapshot import FloatArray, Spoke


@dataclass(frozen=True, slots=True)
class Lane:
    """A pool of a spoke, on demand or spot."""

    spoke: Spoke
    pool: GpuPool
    spot: bool
    place: int
    """The row of the pool's capacity: both lanes of a pool share it."""

    @property
    def cluster(self) -> str:
        """The spoke's name."""
        return self.spoke.facts.name

    @property
    def usd_per_gpu_hour(self) -> float | None:
        """The price outside the hours that have their own; None where none is declared."""
        return self.pool.spot_usd_per_gpu_hour if self.spot else self.pool.usd_per_gpu_hour

    @property
    def has_hours(self) -> bool:
        """Whether the price depends on the hour."""
        return bool(self.pool.prices_by_hour) and not self.spot

    @property
    def is_priced(self) -> bool:
        """Whether a price holds at every hour."""
        return self.usd_per_gpu_hour is not None or _covers_the_day(self.pool)


@dataclass(frozen=True, slots=True, eq=False)
class Lanes:
    """All lanes in the order of cluster, pool, on demand before spot; arrays of shape (lanes,)."""

    lanes: tuple[Lane, ...]
    zones: tuple[str, ...]
    zone: IntArray
    """The row of each lane's zone in `zones`."""
    place: IntArray
    gpus: IntArray
    speed: FloatArray
    kw_per_gpu: FloatArray
    pue: FloatArray
    usd_per_gpu_hour: FloatArray
    """0 where none is declared: such lanes are refused to jobs that mind cost."""
    embodied_grams_per_gpu_hour: FloatArray
    overhead_minutes: FloatArray
    reclaims_per_hour: FloatArray
    """0 on demand."""
    memory_gib: FloatArray
    uncertainty: FloatArray
    place_of: Mapping[tuple[str, str], int]
    """By cluster and pool."""

    def __len__(self) -> int:
        return len(self.lanes)


def lanes_of(spokes: Sequence[Spoke], extra_zones: Iterable[str], assumptions: Assumptions) -> Lanes:
    """The lanes of all spokes; `extra_zones` are zones without a spoke that baselines need."""
    lanes = tuple(_lanes(spokes))
    zones = tuple(sorted({lane.spoke.facts.zone for lane in lanes} | {*extra_zones}))
    hardware = [pool_profile(lane.pool) for lane in lanes]
    life_hours = assumptions.hardware_life.total_seconds() / 3600
    return Lanes(
        lanes=lanes,
        zones=zones,
        zone=_ints(zones.index(lane.spoke.facts.zone) for lane in lanes),
        place=_ints(lane.place for lane in lanes),
        gpus=_ints(lane.pool.gpus for lane in lanes),
        speed=_floats(h.relative_speed for h in hardware),
        kw_per_gpu=_floats(power_kw(h, 1, assumptions.utilisation) for h in hardware),
        pue=_floats(lane.spoke.facts.pue for lane in lanes),
        usd_per_gpu_hour=_floats(lane.usd_per_gpu_hour or 0.0 for lane in lanes),
        embodied_grams_per_gpu_hour=_floats(
            assumptions.embodied_share * h.embodied_kg * 1000 / life_hours for h in hardware
        ),
        overhead_minutes=_floats(lane.spoke.facts.overhead / MINUTE for lane in lanes),
        reclaims_per_hour=_floats(lane.pool.spot_reclaims_per_hour if lane.spot else 0.0 for lane in lanes),
        memory_gib=_floats(lane.pool.memory_gib for lane in lanes),
        uncertainty=_floats(h.uncertainty for h in hardware),
        place_of={(lane.cluster, lane.pool.name): lane.place for lane in lanes},
    )


def _lanes(spokes: Sequence[Spoke]) -> list[Lane]:
    lanes: list[Lane] = []
    place = 0
    for spoke in sorted(spokes, key=lambda spoke: spoke.name):
        for pool in sorted(spoke.facts.pools, key=lambda pool: pool.name):
            lanes.append(Lane(spoke, pool, False, place))
            if pool.spot_usd_per_gpu_hour is not None:
                lanes.append(Lane(spoke, pool, True, place))
            place += 1
    return lanes


def _covers_the_day(pool: GpuPool) -> bool:
    return bool(pool.prices_by_hour) and None not in hourly_prices(pool)


def hourly_prices(pool: GpuPool) -> tuple[float | None, ...]:
    """The on-demand price in each hour of the UTC day; later entries stand over earlier ones."""
    prices = [pool.usd_per_gpu_hour] * 24
    for entry in pool.prices_by_hour:
        hours = (entry.to_hour - entry.from_hour) % 24 or 24
        for hour in range(entry.from_hour, entry.from_hour + hours):
            prices[hour % 24] = entry.usd_per_gpu_hour
    return tuple(prices)


def _ints(values: object) -> IntArray:
    return np.fromiter(values, np.int64)  # type: ignore[call-overload, no-any-return]


def _floats(values: object) -> npt.NDArray[np.float64]:
    return np.fromiter(values, np.float64)  # type: ignore[call-overload, no-any-return]
