"""What energy over time emitted where a grid was as it was; settled once the grid's values are final."""

from .account import EnergyUse, Intensities, emitted_grams, emitted_grams_each, mean_grams_per_kwh
from .archived_grid import ArchivingGrid, archived_grid
from .measured import MeteredUse, metered_use
from .settlement import FINAL_AFTER, Grid, curve_of, energy_use, settlement

__all__ = [
    "FINAL_AFTER",
    "ArchivingGrid",
    "EnergyUse",
    "Grid",
    "Intensities",
    "MeteredUse",
    "archived_grid",
    "curve_of",
    "emitted_grams",
    "emitted_grams_each",
    "energy_use",
    "mean_grams_per_kwh",
    "metered_use",
    "settlement",
]
