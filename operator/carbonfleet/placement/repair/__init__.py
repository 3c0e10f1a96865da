"""Who gives way to whom where capacity is tight: prices of capacity, then local search."""

from carbonfleet.placement.repair.tier import repair_tier

__all__ = ["repair_tier"]
