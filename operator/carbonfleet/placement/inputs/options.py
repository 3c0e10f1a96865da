"""Where work can go: each pool of each spoke, on demand or spot, as one row of arrays."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np
import numpy.typing as npt

from carbonfleet.api.cluster import ClusterFacts, GpuPool
from carbonfleet.placement.assumptions import Assumptions
from carbonfleet.placement.hardware import machine_kw, pool_profile
from carbonfleet.placement.inputs.timeline import MINUTE, IntArray
from carbonfleet.placement.snapshot import FloatArray, Spoke


@dataclass(frozen=True, slots=True)
class Option:
    """A pool of a spoke, on demand or spot."""

    spoke: Spoke
    pool: GpuPool
    spot: bool
    capacity_row: int
    """The row of the pool's capacity: both options of a pool share it."""

    @property
    def cluster(self) -> str:
        """The spoke's name."""
        return self.spoke.facts.name

    @property
    def usd_per_gpu_hour(self) -> float | None:
        """The price outside the hours that have their own; None where none is declared."""
        return self.pool.spot_usd_per_gpu_hour if self.spot else on_demand_usd_per_gpu_hour(self.pool, self.spoke.facts)

    @property
    def has_hours(self) -> bool:
        """Whether the price depends on the hour."""
        return bool(self.pool.prices_by_hour) and not self.spot

    @property
    def prices(self) -> tuple[float | None, ...]:
        """USD per GPU in each hour of the UTC day, on demand."""
        return hourly_prices(self.pool, self.usd_per_gpu_hour)

    @property
    def is_priced(self) -> bool:
        """Whether a price holds at every hour."""
        return self.usd_per_gpu_hour is not None or _covers_the_day(self.pool)


@dataclass(frozen=True, eq=False)
class Options:
    """All options in the order of cluster, pool, on demand before spot; arrays of shape (options,)."""

    entries: tuple[Option, ...]
    zones: tuple[str, ...]
    zone: IntArray
    """The row of each option's zone in `zones`."""
    capacity_row: IntArray
    gpus: IntArray
    speed: FloatArray
    kw_per_gpu: FloatArray
    pue: FloatArray
    usd_per_gpu_hour: FloatArray
    """0 where none is declared: such options are refused to jobs that mind cost."""
    embodied_grams_per_gpu_hour: FloatArray
    overhead_minutes: FloatArray
    reclaims_per_hour: FloatArray
    """0 on demand."""
    memory_gib: FloatArray
    uncertainty: FloatArray
    capacity_row_of: Mapping[tuple[str, str], int]
    """By cluster and pool."""

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def spoke(self) -> IntArray:
        """The place of each option's spoke in the order of names, shape (options,)."""
        places = {name: place for place, name in enumerate(self.by_cluster)}
        return _ints(places[option.cluster] for option in self.entries)

    @cached_property
    def first_of_spoke(self) -> IntArray:
        """The first option of each spoke, shape (spokes,): those of a spoke lie side by side."""
        return _ints(rows[0] for rows in self.by_cluster.values())

    @property
    def spokes(self) -> int:
        """How many spokes have options."""
        return len(self.by_cluster)

    @cached_property
    def by_cluster(self) -> dict[str, list[int]]:
        """The rows of each spoke's options."""
        found: dict[str, list[int]] = {}
        for row, option in enumerate(self.entries):
            found.setdefault(option.cluster, []).append(row)
        return found


def _startup(option: Option) -> timedelta:
    """Until the first step; whoever begins on a pool whose hosts may sleep may have to wait for them to wake."""
    return option.spoke.facts.overhead + (option.pool.wake_time or timedelta())


def options_of(spokes: Sequence[Spoke], extra_zones: Iterable[str], assumptions: Assumptions) -> Options:
    """The options of all spokes; `extra_zones` are zones without a spoke that baselines need."""
    options = tuple(_options(spokes))
    zones = tuple(sorted({option.spoke.facts.zone for option in options} | {*extra_zones}))
    hardware = [pool_profile(option.pool) for option in options]
    life_hours = assumptions.hardware_life.total_seconds() / 3600
    return Options(
        entries=options,
        zones=zones,
        zone=_ints(zones.index(option.spoke.facts.zone) for option in options),
        capacity_row=_ints(option.capacity_row for option in options),
        gpus=_ints(option.pool.gpus for option in options),
        speed=_floats(h.relative_speed for h in hardware),
        kw_per_gpu=_floats(machine_kw(h, 1, assumptions.utilisation) for h in hardware),
        pue=_floats(option.spoke.facts.pue for option in options),
        usd_per_gpu_hour=_floats(option.usd_per_gpu_hour or 0.0 for option in options),
        embodied_grams_per_gpu_hour=_floats(
            assumptions.embodied_share * h.embodied_kg * 1000 / life_hours for h in hardware
        ),
        overhead_minutes=_floats(_startup(option) / MINUTE for option in options),
        reclaims_per_hour=_floats(option.pool.spot_reclaims_per_hour if option.spot else 0.0 for option in options),
        memory_gib=_floats(option.pool.memory_gib for option in options),
        uncertainty=_floats(h.uncertainty for h in hardware),
        capacity_row_of={(option.cluster, option.pool.name): option.capacity_row for option in options},
    )


def _options(spokes: Sequence[Spoke]) -> list[Option]:
    options: list[Option] = []
    place = 0
    for spoke in sorted(spokes, key=lambda spoke: spoke.name):
        for pool in sorted(spoke.facts.pools, key=lambda pool: pool.name):
            options.append(Option(spoke, pool, False, place))
            if pool.spot_usd_per_gpu_hour is not None:
                options.append(Option(spoke, pool, True, place))
            place += 1
    return options


def _covers_the_day(pool: GpuPool) -> bool:
    return bool(pool.prices_by_hour) and None not in hourly_prices(pool)


def on_demand_usd_per_gpu_hour(pool: GpuPool, facts: ClusterFacts) -> float | None:
    """What is declared, or else the power of a GPU at full load."""
    if pool.usd_per_gpu_hour is not None or facts.electricity_usd_per_kwh is None:
        return pool.usd_per_gpu_hour
    return full_load_kw(pool, facts) * facts.electricity_usd_per_kwh


def full_load_kw(pool: GpuPool, facts: ClusterFacts) -> float:
    """What a busy GPU draws, with its share of the machine and of the building."""
    return machine_kw(pool_profile(pool), 1, 1.0) * facts.pue


def hourly_prices(pool: GpuPool, otherwise: float | None = None) -> tuple[float | None, ...]:
    """The on-demand price in each hour of the UTC day; later entries stand over earlier ones.

    `otherwise` is what a GPU costs (USD per hour) in the hours that have no price where the pool has none itself.
    """
    prices = [otherwise if pool.usd_per_gpu_hour is None else pool.usd_per_gpu_hour] * 24
    for entry in pool.prices_by_hour:
        hours = (entry.to_hour - entry.from_hour) % 24 or 24
        for hour in range(entry.from_hour, entry.from_hour + hours):
            prices[hour % 24] = entry.usd_per_gpu_hour
    return tuple(prices)


def _ints(values: object) -> IntArray:
    return np.fromiter(values, np.int64)  # type: ignore[call-overload, no-any-return]


def _floats(values: object) -> npt.NDArray[np.float64]:
    return np.fromiter(values, np.float64)  # type: ignore[call-overload, no-any-return]
