"""Carbon intensity from generation by fuel: energy of each fuel times its factor, over the energy of all."""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import FloatArray


class Fuel(StrEnum):
    """What electricity is made of. Storage is none: what it gives was counted when it was made."""

    COAL = "coal"
    LIGNITE = "lignite"
    GAS = "gas"
    OIL = "oil"
    OIL_SHALE = "oil-shale"
    PEAT = "peat"
    BIOMASS = "biomass"
    NUCLEAR = "nuclear"
    HYDRO = "hydro"
    WIND_ONSHORE = "wind-onshore"
    WIND_OFFSHORE = "wind-offshore"
    SOLAR = "solar"
    GEOTHERMAL = "geothermal"
    MARINE = "marine"
    OTHER = "other"
    """Waste, what a provider calls other or unknown, and every name that we don't know."""


LIFECYCLE_GRAMS_PER_KWH: Final[Mapping[Fuel, float]] = MappingProxyType(
    {
        Fuel.COAL: 820.0,
        Fuel.LIGNITE: 1040.0,
        Fuel.GAS: 490.0,
        Fuel.OIL: 840.0,
        Fuel.OIL_SHALE: 1100.0,
        Fuel.PEAT: 1090.0,
        Fuel.BIOMASS: 230.0,
        Fuel.NUCLEAR: 12.0,
        Fuel.HYDRO: 24.0,
        Fuel.WIND_ONSHORE: 11.0,
        Fuel.WIND_OFFSHORE: 12.0,
        Fuel.SOLAR: 48.0,
        Fuel.GEOTHERMAL: 38.0,
        Fuel.MARINE: 17.0,
        Fuel.OTHER: 655.0,
    }
)
"""Medians of IPCC, AR5 WG3 (2014), Annex III, table A.III.2: pulverised coal, combined-cycle gas, dedicated biomass,
solar PV of utilities, and so on. Oil: IPCC, SRREN (2011), Annex II, table A.II.4, median. Lignite, peat and oil shale
have no median there: their direct emissions below, and the 60 g that table A.III.2 adds to coal. Other: half coal,
half gas."""

DIRECT_GRAMS_PER_KWH: Final[Mapping[Fuel, float]] = MappingProxyType(
    dict.fromkeys(Fuel, 0.0)
    | {
        Fuel.COAL: 760.0,
        Fuel.LIGNITE: 980.0,
        Fuel.GAS: 370.0,
        Fuel.OIL: 750.0,
        Fuel.OIL_SHALE: 1040.0,
        Fuel.PEAT: 1030.0,
        Fuel.OTHER: 565.0,
    }
)
"""What the plant itself emits. Coal and gas: the same table's medians. Lignite, oil, oil shale and peat: 101, 77.4, 107
and 106 kg CO2/GJ (IPCC 2006 Guidelines, volume 2, table 2.2) at an efficiency of 37 %. Carbon of biomass counts as
taken up when it grew."""

_FACTORS: Final = {
    SignalKind.AVERAGE_LIFECYCLE: LIFECYCLE_GRAMS_PER_KWH,
    SignalKind.AVERAGE_DIRECT: DIRECT_GRAMS_PER_KWH,
}
KINDS: Final = frozenset(_FACTORS)
"""What a mix can tell. Which plant would run more, the margin, it can't."""
SMALL_SHARE: Final = 0.01
"""Of the usual output: a series below it may be missing from an hour, which then counts without it."""
RARE: Final = 0.02
"""Of an answer's slots, where these are a day's at least: a series with values in no more of them is an odd one rather
than one that is late."""
MOST_OTHER: Final = 0.25
"""Share of an hour from fuels that nobody names, above which the hour says nothing."""
MOST_TAKEN: Final = 0.25
"""Of what is made in a slot: where plants draw more than that, signs are turned."""
LEAST_OUTPUT: Final = 0.25
"""Of the median output: an hour below it lacks plants."""


def most_rare(slots: int) -> int:
    """In how many of an answer's slots an odd series may have values."""
    return math.ceil(RARE * slots) if slots >= 24 else 0


def mix_intensity(
    fuels: Sequence[Fuel], given: FloatArray, kind: SignalKind, usual: FloatArray | None = None
) -> FloatArray:
    """Grams per kWh made in a zone, shape (slots,), NaN where the mix is not known well enough.

    `given` is what each series made in each slot, shape (series, slots), in any one unit; NaN is unknown, and never
    zero. `fuels` says what each series is, and `usual`, shape (series,), what one makes on average of which `given`
    knows next to nothing; infinity where nobody knows. Net output below zero (a plant's own use, solar at night) counts
    as zero. A slot is unknown where a series is that usually matters, where the fuels are mostly unnamed, and where the
    sum is far below the median: reports come in fuel by fuel, and a mix without its coal looks clean. Imports are left
    out: a zone that imports much from a dirtier or cleaner one has another intensity of what it uses. Raises KeyError
    for a kind that no mix tells.
    """
    factors = _FACTORS[kind]
    known = np.isfinite(given)
    made = np.where(known, np.clip(given, 0.0, None), 0.0)
    total = made.sum(axis=0)
    means = made.sum(axis=1) / np.maximum(1, known.sum(axis=1))
    is_rare = known.sum(axis=1) <= most_rare(total.size)
    means = np.where(is_rare, 0.0 if usual is None else usual, means)
    output = means[np.isfinite(means)].sum()
    if usual is not None and np.isfinite(usual).all() and usual.any():
        output = min(output, usual.sum())  # in another unit the rest would dwarf what can't be read
    matters = means > SMALL_SHARE * output
    other = made[[fuel is Fuel.OTHER for fuel in fuels]].sum(axis=0)
    whole = known[matters].all(axis=0) & (total > 0)
    if whole.any():
        whole &= total >= LEAST_OUTPUT * np.median(total[whole])
    whole &= other <= MOST_OTHER * total
    whole &= np.where(known, np.clip(-given, 0.0, None), 0.0).sum(axis=0) <= MOST_TAKEN * total
    grams = np.array([factors[fuel] for fuel in fuels]) @ made
    return np.where(whole, grams / np.where(total > 0, total, 1.0), np.nan)
