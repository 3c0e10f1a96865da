"""What GPUs cost now: from the first source with a price of the pool, or else their power at the day-ahead price."""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from carbonfleet.api.cluster import ClusterFacts, GpuPool, PriceHours
from carbonfleet.clock import Clock
from carbonfleet.faults import only
from carbonfleet.placement.inputs import full_load_kw
from carbonfleet.signals.poller import Poller, ZoneQuery
from carbonfleet.signals.reading import HOUR, PriceKind, Reading, floor_hour, hourly_means, subject
from carbonfleet.signals.source import Ask, Feed, Source

Quoted = tuple[str, PriceKind]
"""`cluster/pool` and kind of price."""
_GPU_PRICES = (PriceKind.GPU_ON_DEMAND, PriceKind.GPU_SPOT)
_RENEWED: Final = timedelta(minutes=1)
"""How often the sources are looked at; a server is asked no more often than its own settings say."""
_DAY: Final = timedelta(days=1)
_AGAIN: Final = timedelta(minutes=10)
"""Until a zone's day-ahead prices are asked for again where they could not be had; otherwise after an hour."""
DECLARED: Final = "cluster-file"
"""The source of prices that stand in the cluster files."""


@dataclass(frozen=True, slots=True)
class DayAhead:
    """A zone's electricity over the next day."""

    usd_per_kwh: tuple[float, ...]
    """In each of the 24 hours of the UTC day; an hour of which no price is out yet has its last one."""
    source: str


@dataclass(frozen=True, slots=True)
class Quotes:
    """Prices in USD per GPU and hour. A pool is in `prices`, or has its problem in words, or has no price."""

    prices: Mapping[Quoted, Reading] = field(default_factory=dict)
    problems: Mapping[Quoted, str] = field(default_factory=dict)
    electricity: Mapping[str, DayAhead] = field(default_factory=dict)
    """By zone."""


class Market:
    """Sources of prices in the order in which they are believed; the cluster file is usually the last."""

    def __init__(
        self,
        sources: Sequence[Source],
        clock: Clock,
        longest_age: timedelta = HOUR,
        patience_seconds: float = 5.0,
        usd_per_eur: float | None = None,
    ) -> None:
        """A price that can't be had anew holds for `longest_age` more, then the next source's does.

        Electricity is asked for where `usd_per_eur` is known, since its markets count in euros.
        """
        self._patience_seconds = patience_seconds
        self._newest: Quotes | None = None
        self._asked: tuple[frozenset[tuple[str, str]], frozenset[str], datetime] | None = None
        self._under_way: Future[Quotes] | None = None
        self._poller = Poller(sources, workers=1)
        self._clock = clock
        self._longest_age = longest_age
        self._known: dict[Quoted, Reading] = {}
        self._usd_per_eur = usd_per_eur
        self._day_ahead: dict[str, dict[datetime, Reading]] = {}
        self._day_ahead_due: dict[str, datetime] = {}

    def close(self) -> None:
        """Ask no more."""
        self._poller.close()

    def latest(self, clusters: Collection[ClusterFacts]) -> Quotes:
        """What `quotes` last said, asked for anew in the background; only its first answer is waited for, and not long.

        For one thread. Never raises.
        """
        pools = frozenset((facts.name, pool.name) for facts in clusters for pool in facts.pools)
        zones = frozenset(facts.zone for facts in clusters if any(map(_is_unpriced, facts.pools)))
        now = self._clock.now()
        is_due = self._asked is None or self._asked[:2] != (pools, zones) or now - self._asked[2] >= _RENEWED
        if is_due and self._under_way is None:
            self._asked = pools, zones, now
            self._under_way = self._poller.submit(lambda: self.quotes(pools, zones))
        if self._under_way is not None and self._newest is None:
            wait([self._under_way], self._patience_seconds)
            self._newest = Quotes()
        if self._under_way is not None and self._under_way.done():
            self._newest, self._under_way = self._under_way.result(), None
        return self._newest or Quotes()

    def quotes(self, pools: Collection[tuple[str, str]], zones: Collection[str] = ()) -> Quotes:
        """The prices of pools, given as (cluster, pool), and of the zones' electricity. Never raises."""
        now = self._clock.now()
        prices: dict[Quoted, Reading] = {}
        problems: dict[Quoted, str] = {}
        for pool in sorted(set(pools)):
            for kind in _GPU_PRICES:
                key = (subject(*pool), kind)
                with only(f"what {key[0]} costs can't be told", partial(problems.__setitem__, key)):
                    price, why = self._price(key, now)
                    if price is not None:
                        prices[key] = price
                    elif why:
                        problems[key] = why
        electricity: dict[str, DayAhead] = {}
        for zone in zones:
            with only(f"what electricity costs in {zone} can't be told"):
                if (ahead := self._electricity(zone, now)) is not None:
                    electricity[zone] = ahead
        return Quotes(prices, problems, electricity)

    def _electricity(self, zone: str, now: datetime) -> DayAhead | None:
        """From the hours that are known from the last day on; tomorrow's prices come out in the afternoon."""
        if self._usd_per_eur is None:
            return None
        start, known = floor_hour(now), self._day_ahead.setdefault(zone, {})
        if now >= self._day_ahead_due.get(zone, now):
            ask = Ask(zone, PriceKind.DAY_AHEAD, Feed.FORECAST, start, start + _DAY)
            batch = self._poller.run(ZoneQuery((ask,), now)).batch
            self._day_ahead_due[zone] = now + (HOUR if batch else _AGAIN)
            known.update((reading.start, reading) for reading in (batch.readings if batch else ()))
        for at in [at for at in known if not start - _DAY < at < start + _DAY]:
            del known[at]
        if not known:
            return None
        means = hourly_means(known[at] for at in sorted(known))
        table = [sum(mean for mean, _ in means.values()) / len(means)] * 24
        for hour, (mean, _) in sorted(means.items()):
            table[hour.hour] = mean
        scale = self._usd_per_eur / 1000
        return DayAhead(tuple(eur_per_mwh * scale for eur_per_mwh in table), known[max(known)].source)

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
    return facts.model_copy(update={"pools": tuple(_pool(facts, pool, quotes) for pool in facts.pools)})


def _pool(facts: ClusterFacts, pool: GpuPool, quotes: Quotes) -> GpuPool:
    name = subject(facts.name, pool.name)
    on_demand = quotes.prices.get((name, PriceKind.GPU_ON_DEMAND))
    spot = quotes.prices.get((name, PriceKind.GPU_SPOT))
    electricity = quotes.electricity.get(facts.zone)
    changes: dict[str, object] = {}
    if on_demand is not None and on_demand.source != DECLARED:
        # A live price stands for all hours: the declared hours belong to the declared price.
        changes |= {"usd_per_gpu_hour": on_demand.value, "prices_by_hour": ()}
    elif electricity is not None and _is_unpriced(pool):
        changes["prices_by_hour"] = _at_market(electricity, full_load_kw(pool, facts))
    if spot is not None:
        changes["spot_usd_per_gpu_hour"] = spot.value
    return pool.model_copy(update=changes)


def _is_unpriced(pool: GpuPool) -> bool:
    return pool.usd_per_gpu_hour is None and not pool.prices_by_hour


def _at_market(electricity: DayAhead, kw: float) -> tuple[PriceHours, ...]:
    """Power that the market pays one to take counts as free: a job that runs does not earn."""
    return tuple(
        PriceHours(from_hour=hour, to_hour=hour + 1, usd_per_gpu_hour=max(0.0, usd * kw))
        for hour, usd in enumerate(electricity.usd_per_kwh)
    )


def price_sources(facts: ClusterFacts, quotes: Quotes) -> Mapping[tuple[str, bool], str]:
    """By pool and whether spot: who named its price, where that is not the cluster file."""
    found = {}
    for pool in facts.pools:
        if _is_unpriced(pool) and facts.zone in quotes.electricity:
            found[pool.name, False] = f"{quotes.electricity[facts.zone].source}, its power day ahead"
        for kind in _GPU_PRICES:
            price = quotes.prices.get((subject(facts.name, pool.name), kind))
            if price is not None and price.source != DECLARED:
                found[pool.name, kind is PriceKind.GPU_SPOT] = price.source
    return found
