"""Measured energy, where the machine measures it: NVIDIA's library or DCGM for GPUs, RAPL for CPUs and memory."""

from .detect import open_host_meter, open_meter
from .meter import Count, Meter

__all__ = ["Count", "Meter", "open_host_meter", "open_meter"]
