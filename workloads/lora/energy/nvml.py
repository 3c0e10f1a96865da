"""A GPU's energy as its driver counts it, through NVIDIA's management library."""

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from .meter import BOARD_WATTS, Meter
from .series import Series


def nvml(uuid: str, now: Callable[[], float] = time.monotonic) -> Meter:
    """A meter of a GPU's energy counter (millijoules since the driver was loaded), or where it has none, of its power.

    Raises whatever the library does where it is missing or the GPU can't be read.
    """
    library = import_module("pynvml")  # nvidia-ml-py, on machines with a GPU
    library.nvmlInit()
    handle = library.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    limit = _limit_watts(library, handle)
    try:
        library.nvmlDeviceGetTotalEnergyConsumption(handle)
        series = Series(lambda: library.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000, max_watts=limit)
    except library.NVMLError:  # before Volta, and on some boards for games
        series = Series(lambda: library.nvmlDeviceGetPowerUsage(handle) / 1000, max_watts=limit, is_power=True)
    meter = Meter("nvml", [series], is_per_gpu=True, now=now)
    meter.expect_readings()
    return meter


def _limit_watts(library: Any, handle: Any) -> float:  # noqa: ANN401  # the library has no types
    """The most that the board may be set to, and a tenth more for its meter's error (5 %) and moments beyond it."""
    try:
        watts = library.nvmlDeviceGetPowerManagementLimitConstraints(handle)[1] / 1000
    except Exception:  # noqa: BLE001  # not every board tells
        return BOARD_WATTS
    return min(1.1 * watts, BOARD_WATTS) if watts > 0 else BOARD_WATTS
