"""What GPUs cost now: each pool's price from the first source that has one."""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from carbonfleet.api.cluster import ClusterFacts, GpuPool
from carbonfleet.clock import Clock
from carbonfleet.signals.poller import Poller, ZoneQuery
from carbonfleet.signals.reading import HOUR, PriceKind, Reading, subject
from carbonfleet.signals.source import Ask, Feed, Source

Quoted = tuple[str, PriceKind]
"""`cluster/pool` and kind of price."""
_GPU_PRICES = (PriceKind.GPU_ON_DEMAND, PriceKind.GPU_SPOT)
_RENEWED: Final = timedelta(minutes=1)
"""How often the sources are looked at; a server is asked no more often than its own settings say."""
DECLARED: Final = "cluster-file"
"""The source of prices that stand in the cluster files."""


@dataclass(frozen=True, slots=True)
class Quotes:
    """Prices in USD per GPU and hour. A pool is in `prices`, or has its problem in words, or has no price."""

    prices: Mapping[Quoted, Reading] = field(default_factory=dict)
    problems: Mapping[Quoted, str] = field(default_factory=dict)


class Market:
    """Sources of prices in the order in which they are believed; the cluster file is usually the last."""

    def __init__(
        self, sources: Sequence[Source], clock: Clock, longest_age: timedelta = HOUR, patience_seconds: float = 5.0
    ) -> None:
        """A price that can't be had anew holds for `longest_age` more, then the next source's does."""
        self._patience_seconds = patience_seconds
        self._newest: Quotes | None = None
        self._asked: tuple[frozenset[tuple[str, str]], datetime] | None = None
        self._under_way: Future[Quotes] | None = None
        self._poller = Poller(sources, workers=1)
        self._clock = clock
        self._longest_age = longest_age
        self._known: dict[Quoted, Reading] = {}

    def close(self) -> None:
        """Ask no more."""
        self._poller.close()

    def latest(self, pools: Collection[tuple[str, str]]) -> Quotes:
        """What `quotes` last said, asked for anew in the background; only its first answer is waited for, and not long.

        For one thread. Never raises.
        """
        wanted, now = frozenset(pools), self._clock.now()
        is_due = self._asked is None or self._asked[0] != wanted or now - self._asked[1] >= _RENEWED
        if is_due and self._under_way is None:
            self._asked, self._under_way = (wanted, now), self._poller.submit(lambda: self.quotes(wanted))
        if self._under_way is not None and self._newest is None:
            wait([self._under_way], self._patience_seconds)
            self._newest = Quotes()
        if self._under_way is not None and self._under_way.done():
            self._newest, self._under_way = self._under_way.result(), None
        return self._newest or Quotes()

    def quotes(self, pools: Collection[tuple[str, str]]) -> Quotes:
        """The prices of pools, given as (cluster, pool). Never raises."""
        now = self._clock.now()
        prices: dict[Quoted, Reading] = {}
        problems: dict[Quoted, str] = {}
        for pool in sorted(set(pools)):
            for kind in _GPU_PRICES:
                key = (subject(*pool), kind)
                price, why = self._price(key, now)
                if price is not None:
                    prices[key] = price
                elif why:
                    problems[key] = why
        return Quotes(prices, problems)

    def _price(self, key: Quoted, now: datetime) -> tuple[Reading | None, str]:
        ask = Ask(key[0], key[1], Feed.MEASURED, now, now + HOUR)
        outcome = self._poller.run(ZoneQuery((ask,), now))
        found = outcome.batch.readings[-1] if outcome.batch else None
        known = self._known.get(key)
        # A fallen-back-to price gives way to a better source's that is not old yet.
        if outcome.failures and known is not None and now - known.fetched_at <= self._longest_age:
            return known, ""
        if found is None:
            return None, "; ".join(error.message for _, _, error in outcome.failures)
        if not outcome.failures:
            self._known[key] = found
        return found, ""


def repriced(facts: ClusterFacts, quotes: Quotes) -> ClusterFacts:
    """A cluster with the market's present prices in place of those declared, where there are any."""
    return facts.model_copy(update={"pools": tuple(_pool(facts.name, pool, quotes) for pool in facts.pools)})


def _pool(cluster: str, pool: GpuPool, quotes: Quotes) -> GpuPool:
    name = subject(cluster, pool.name)
    on_demand = quotes.prices.get((name, PriceKind.GPU_ON_DEMAND))
    spot = quotes.prices.get((name, PriceKind.GPU_SPOT))
    changes: dict[str, object] = {}
    if on_demand is not None and on_demand.source != DECLARED:
        # A live price stands for all hours: the declared hours belong to the declared price.
        changes |= {"usd_per_gpu_hour": on_demand.value, "prices_by_hour": ()}
    if spot is not None:
        changes["spot_usd_per_gpu_hour"] = spot.value
    return pool.model_copy(update=changes)


def price_sources(facts: ClusterFacts, quotes: Quotes) -> Mapping[tuple[str, bool], str]:
    """By pool and whether spot: who named its price, where that is not the cluster file."""
    found = {}
    for pool in facts.pools:
        for kind in _GPU_PRICES:
            price = quotes.prices.get((subject(facts.name, pool.name), kind))
            if price is not None and price.source != DECLARED:
                found[pool.name, kind is PriceKind.GPU_SPOT] = price.source
    return found
