"""Jobs that may be cut into segments: the best cuts on each option, and over all."""

from carbonfleet.placement.search.interruptible.cuts import (
    choice_of,
    cut_of,
    end_slots,
    on_options,
    segmented,
    slots_for,
    within_limits,
)
from carbonfleet.placement.search.interruptible.segment_search import Slots, best_over
from carbonfleet.placement.search.interruptible.segments import Cut, Found, cheapest_cut

__all__ = [
    "Cut",
    "Found",
    "Slots",
    "best_over",
    "cheapest_cut",
    "choice_of",
    "cut_of",
    "end_slots",
    "on_options",
    "segmented",
    "slots_for",
    "within_limits",
]
