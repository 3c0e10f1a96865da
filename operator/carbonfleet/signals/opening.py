"""From settings to a room that works: each kind of source is built here."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.clock import Clock
from carbonfleet.signals.carbonawaresdk import CarbonAwareSdk
from carbonfleet.signals.clusterprices import ClusterPrices
from carbonfleet.signals.demo import demo_trace, replayed
from carbonfleet.signals.desk import Signals
from carbonfleet.signals.electricitymaps import ElectricityMaps
from carbonfleet.signals.httpprices import HttpPrices
from carbonfleet.signals.market import Market
from carbonfleet.signals.pricefile import PriceFile
from carbonfleet.signals.regions import annual_factors
from carbonfleet.signals.settings import (
    CarbonAwareSdkSettings,
    DemoSettings,
    ElectricityMapsSettings,
    HttpPriceSettings,
    SignalSettings,
    StaticSettings,
    TraceSettings,
    UkCarbonSettings,
    WattTimeSettings,
    load_settings,
)
from carbonfleet.signals.source import Source
from carbonfleet.signals.static import StaticFactors
from carbonfleet.signals.store import HistoryStore
from carbonfleet.signals.trace import TraceSource, read_trace
from carbonfleet.signals.ukcarbon import UkCarbon
from carbonfleet.signals.watttime import WattTime


def _trace(settings: TraceSettings, clock: Clock) -> Source:
    return TraceSource.of(settings.name, read_trace(settings.path), with_forecast=settings.forecast)


def _static(settings: StaticSettings, clock: Clock) -> Source:
    declared = {zone: (grams, "static, as declared") for zone, grams in settings.grams_per_kwh.items()}
    annual = annual_factors(settings.kind) if settings.annual_averages else {}
    return StaticFactors(settings.kind, {**annual, **declared})


def _demo(settings: DemoSettings, clock: Clock) -> Source:
    if settings.replay is None:
        return demo_trace()
    return replayed(ElectricityMaps(settings.replay, clock), settings.zones, clock.now())


_BUILDERS: Final[dict[type, Callable[[Any, Clock], Source]]] = {
    ElectricityMapsSettings: ElectricityMaps,
    WattTimeSettings: WattTime,
    UkCarbonSettings: UkCarbon,
    CarbonAwareSdkSettings: CarbonAwareSdk,
    TraceSettings: _trace,
    DemoSettings: _demo,
    StaticSettings: _static,
}


def open_signals(settings: SignalSettings, clock: Clock) -> Signals:
    """The room with the sources that `settings` name. Raises TraceError, StoreError, and SourceError for
    a replay whose live values can't be had.
    """
    sources = [_BUILDERS[type(source)](source, clock) for source in settings.sources]
    return Signals(sources, clock, HistoryStore(settings.store), settings)


def open_market(settings: SignalSettings, clock: Clock, clusters: Iterable[ClusterFacts] = ()) -> Market:
    """GPU prices from the sources that `settings` name, then from the given clusters' files. Raises TraceError."""
    sources: list[Source] = [
        HttpPrices(price, clock) if isinstance(price, HttpPriceSettings) else PriceFile(price.path)
        for price in settings.prices
    ]
    return Market([*sources, ClusterPrices(clusters)], clock, patience_seconds=settings.patience_seconds)


def open_signals_file(path: Path, clock: Clock) -> Signals:
    """The same from a settings file. Raises SettingsError too."""
    return open_signals(load_settings(path), clock)
