"""Providers of carbon intensities, one file each with its settings (a key, a place for each zone) and its source.

A new one is a file made after `carbonawaresdk.py`, the plainest, and three lines here: its import, its settings, its
builder. `tests/signals/test_signals_carbonawaresdk.py` shows how to play its server.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import Field

from carbonfleet.clock import Clock
from carbonfleet.signals.source import Source
from carbonfleet.signals.sources.carbonawaresdk import CarbonAwareSdk, CarbonAwareSdkSettings
from carbonfleet.signals.sources.demo import DemoGridSettings, demo_source
from carbonfleet.signals.sources.electricitymaps import TOKEN_VARIABLE, ElectricityMaps, ElectricityMapsSettings
from carbonfleet.signals.sources.energinet import Energinet, EnerginetSettings
from carbonfleet.signals.sources.generation import (
    Eia930Settings,
    EnergyChartsSettings,
    EntsoeSettings,
    HydroQuebecSettings,
    eia930_source,
    energycharts_source,
    entsoe_source,
    hydroquebec_source,
)
from carbonfleet.signals.sources.static import StaticSettings, static_source
from carbonfleet.signals.sources.trace import TraceSettings, TraceSource, trace_source
from carbonfleet.signals.sources.ukcarbon import UkCarbon, UkCarbonSettings
from carbonfleet.signals.sources.watttime import WattTime, WattTimeSettings

SourceSettings = Annotated[
    ElectricityMapsSettings
    | WattTimeSettings
    | UkCarbonSettings
    | EnergyChartsSettings
    | EnerginetSettings
    | Eia930Settings
    | EntsoeSettings
    | HydroQuebecSettings
    | CarbonAwareSdkSettings
    | TraceSettings
    | DemoGridSettings
    | StaticSettings,
    Field(discriminator="type"),
]
_BUILDERS: Final[dict[type, Callable[[Any, Clock], Source]]] = {
    ElectricityMapsSettings: ElectricityMaps,
    WattTimeSettings: WattTime,
    UkCarbonSettings: UkCarbon,
    EnergyChartsSettings: energycharts_source,
    EnerginetSettings: Energinet,
    Eia930Settings: eia930_source,
    EntsoeSettings: entsoe_source,
    HydroQuebecSettings: hydroquebec_source,
    CarbonAwareSdkSettings: CarbonAwareSdk,
    TraceSettings: trace_source,
    DemoGridSettings: demo_source,
    StaticSettings: static_source,
}


FREE_SOURCES: Final[tuple[SourceSettings, ...]] = (
    UkCarbonSettings(),
    EnergyChartsSettings(),
    EnerginetSettings(),
    Eia930Settings(),
    EntsoeSettings(),
)
"""What costs nothing, also in commercial use; the last two want a key, which is free too."""


def build_source(settings: SourceSettings, clock: Clock) -> Source:
    """The source that settings describe. Raises TraceError, and SourceError for a replay without live values."""
    return _BUILDERS[type(settings)](settings, clock)


__all__ = [
    "FREE_SOURCES",
    "TOKEN_VARIABLE",
    "DemoGridSettings",
    "ElectricityMapsSettings",
    "HydroQuebecSettings",
    "SourceSettings",
    "TraceSource",
    "build_source",
]
