"""Recorded grids, and what a planner is told of them at each hour of a replay."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
