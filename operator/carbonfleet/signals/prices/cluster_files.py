"""GPU prices as people declare them in the cluster files."""

from collections.abc import Collection, Iterable
from datetime import datetime

from carbonfleet.api.cluster import ClusterFacts, GpuPool
from carbonfleet.placement.inputs import hourly_prices
from carbonfleet.signals.reading import HOUR, Kind, PriceKind, Reading, floor_hour, subject, unit_of
from carbonfleet.signals.source import Ask, Batch, Feed, Finding, NoDataError


class ClusterPrices:
    """What stands in `usdPerGpuHour`, `spotUsdPerGpuHour` and `pricesByHour`."""

    name = "cluster-file"
    remote = False

    def __init__(self, clusters: Iterable[ClusterFacts]) -> None:
        self._pools = {subject(facts.name, pool.name): pool for facts in clusters for pool in facts.pools}

    def offers(self, zone: str, kind: Kind, feed: Feed) -> bool:
        """Every pool with a price of that kind."""
        pool = self._pools.get(zone)
        return feed is Feed.MEASURED and pool is not None and _declared(pool, kind, 0) is not None

    def fetch(self, ask: Ask, now: datetime) -> Batch:
        """The price of the present hour. Raises NoDataError."""
        pool, hour = self._pools.get(ask.zone), floor_hour(now)
        price = _declared(pool, ask.kind, hour.hour) if pool else None
        if price is None:
            raise NoDataError(f"the cluster file names no {ask.kind.value} price for {ask.zone}")
        reading = Reading(ask.zone, hour, HOUR, price, ask.kind, unit_of(ask.kind), self.name, True, now)
        return Batch(ask, self.name, now, now, (reading,))

    def check(self, zones: Collection[str], now: datetime) -> tuple[Finding, ...]:
        """Which pools are declared."""
        return tuple(
            Finding(self.name, pool, True, "Ready", "declared") for pool in sorted(zones) if pool in self._pools
        )


def _declared(pool: GpuPool, kind: Kind, hour: int) -> float | None:
    """USD for a GPU and hour, in a UTC hour of the day, as the planner reads the file."""
    if kind is PriceKind.GPU_SPOT:
        return pool.spot_usd_per_gpu_hour
    return hourly_prices(pool)[hour] if kind is PriceKind.GPU_ON_DEMAND else None
