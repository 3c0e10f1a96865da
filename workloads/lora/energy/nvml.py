"""A GPU's energy as its driver counts it, through NVIDIA's management library."""

import time
from collections.abc import Callable
from importlib import import_module

from .meter import JOULES_PER_KWH, Source


class Nvml:
    """A GPU's energy counter (millijoules since the driver was loaded), or where it has none, its power over time."""

    source: Source | None = "nvml"

    def __init__(self, uuid: str, now: Callable[[], float] = time.monotonic) -> None:
        self._nvml = import_module("pynvml")  # nvidia-ml-py, on machines with a GPU
        self._nvml.nvmlInit()
        self._handle = self._nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        self._joules: Callable[[], float]
        try:
            first = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
            self._joules = lambda: (self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) - first) / 1000
        except self._nvml.NVMLError:  # before Volta, and on some boards for games
            self._joules = PowerIntegral(lambda: self._nvml.nvmlDeviceGetPowerUsage(self._handle) / 1000, now)

    def kwh(self) -> float | None:
        """See `Meter`."""
        return float(self._joules()) / JOULES_PER_KWH


class PowerIntegral:
    """Joules from watts: a straight line between two readings. Ask at least every few seconds."""

    def __init__(self, watts: Callable[[], float], now: Callable[[], float]) -> None:
        self._watts, self._now = watts, now
        self._last = now(), watts()
        self._joules = 0.0

    def __call__(self) -> float:
        """The integral so far."""
        then, before = self._last
        self._last = moment, watts = self._now(), self._watts()
        self._joules += (moment - then) * (before + watts) / 2
        return self._joules
