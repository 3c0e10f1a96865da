"""What a plan is made of, as arrays: options, demand, time, carbon and capacity."""

from carbonfleet.placement.inputs.capacity import Capacity, CapacityRuns, Quota, Runs, capacity_of, runs, slots_of
from carbonfleet.placement.inputs.demand import GRAMS_PER_TONNE, Demand, Terms, demand_of
from carbonfleet.placement.inputs.lengths import NODES, bell, length_ratios, took_hours
from carbonfleet.placement.inputs.limits import NEVER, Limits, limits_of
from carbonfleet.placement.inputs.options import Option, Options, full_load_kw, hourly_prices, options_of
from carbonfleet.placement.inputs.prices import HourlyPrices, hourly_prices_of
from carbonfleet.placement.inputs.timeline import (
    EPOCH,
    MINUTE,
    MOST,
    RESOLUTION,
    BoolArray,
    Carbon,
    IntArray,
    Segments,
    Timeline,
    WindowTotals,
    carbon,
    timeline,
)

__all__ = [
    "EPOCH",
    "GRAMS_PER_TONNE",
    "MINUTE",
    "MOST",
    "NEVER",
    "NODES",
    "RESOLUTION",
    "BoolArray",
    "Capacity",
    "CapacityRuns",
    "Carbon",
    "Demand",
    "HourlyPrices",
    "IntArray",
    "Limits",
    "Option",
    "Options",
    "Quota",
    "Runs",
    "Segments",
    "Terms",
    "Timeline",
    "WindowTotals",
    "bell",
    "capacity_of",
    "carbon",
    "demand_of",
    "full_load_kw",
    "hourly_prices",
    "hourly_prices_of",
    "length_ratios",
    "limits_of",
    "options_of",
    "runs",
    "slots_of",
    "timeline",
    "took_hours",
]
