"""Measured energy, where the machine measures it: NVIDIA's library or DCGM for GPUs, RAPL for CPUs."""

from .detect import open_meter
from .meter import Meter

__all__ = ["Meter", "open_meter"]
