"""What GPUs cost: price lists and files by provider, and the market that asks them in order."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.clock import Clock
from carbonfleet.signals.prices.cluster_files import ClusterPrices
from carbonfleet.signals.prices.market import Market, Quotes, price_sources, repriced
from carbonfleet.signals.prices.price_file import PriceFile, PriceFileSettings
from carbonfleet.signals.prices.price_server import PriceServer, PriceServerSettings
from carbonfleet.signals.source import Source

PriceSettings = Annotated[PriceServerSettings | PriceFileSettings, Field(discriminator="type")]


def build_market(
    prices: Iterable[PriceSettings],
    clock: Clock,
    clusters: Iterable[ClusterFacts],
    patience_seconds: float,
    electricity: Iterable[Source] = (),
    usd_per_eur: float | None = None,
) -> Market:
    """Prices from the sources that settings describe, then from the given clusters' files; day-ahead prices of
    electricity from the first of `electricity` that has them. Raises TraceError.
    """
    sources: list[Source] = [
        PriceServer(price, clock) if isinstance(price, PriceServerSettings) else PriceFile(price.path)
        for price in prices
    ]
    everyone = [*sources, ClusterPrices(clusters), *electricity]
    return Market(everyone, clock, patience_seconds=patience_seconds, usd_per_eur=usd_per_eur)


__all__ = ["Market", "PriceSettings", "Quotes", "build_market", "price_sources", "repriced"]
