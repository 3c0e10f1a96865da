"""Providers of generation by fuel, and the carbon intensity that follows from a mix."""

from carbonfleet.signals.sources.generation.eia930 import Eia930Settings, eia930_source
from carbonfleet.signals.sources.generation.energycharts import EnergyChartsSettings, energycharts_source
from carbonfleet.signals.sources.generation.entsoe import EntsoeSettings, entsoe_source
from carbonfleet.signals.sources.generation.hydroquebec import HydroQuebecSettings, hydroquebec_source
from carbonfleet.signals.sources.generation.mix import Fuel, mix_intensity
from carbonfleet.signals.sources.generation.provider import FuelSamples, mix_batch

__all__ = [
    "Eia930Settings",
    "EnergyChartsSettings",
    "EntsoeSettings",
    "Fuel",
    "FuelSamples",
    "HydroQuebecSettings",
    "eia930_source",
    "energycharts_source",
    "entsoe_source",
    "hydroquebec_source",
    "mix_batch",
    "mix_intensity",
]
