"""Measured energy, where the machine measures it: NVIDIA's library or DCGM for GPUs, RAPL for CPUs."""

import json
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol
from urllib.request import urlopen

JOULES_PER_KWH = 3_600_000
DCGM_SECONDS = 15.0
"""Between two looks at DCGM's exporter, which measures every 30 s unless told otherwise."""
_DCGM = re.compile(r'^DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION\{[^}]*UUID="GPU-([^"]+)"[^}]*\} ([0-9.eE+]+)', re.MULTILINE)

Source = Literal["nvml", "dcgm", "rapl"]


class Meter(Protocol):
    """A counter of the energy used since it was made."""

    source: Source | None

    def kwh(self) -> float | None:
        """Energy so far, or None where nothing measures it."""


class NoMeter:
    """Stands where nothing measures."""

    source: Source | None = None

    def kwh(self) -> float | None:
        """See `Meter`."""
        return None


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
            self._joules = Integral(lambda: self._nvml.nvmlDeviceGetPowerUsage(self._handle) / 1000, now)

    def kwh(self) -> float | None:
        """See `Meter`."""
        return float(self._joules()) / JOULES_PER_KWH


class Integral:
    """Joules from watts: a straight line between two looks. Ask at least every few seconds."""

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


class Dcgm:
    """A GPU's energy counter as DCGM's exporter serves it, in millijoules, where pods can't ask the driver."""

    source: Source | None = "dcgm"

    def __init__(self, url: str, uuid: str, now: Callable[[], float] = time.monotonic) -> None:
        self._url, self._uuid, self._now = url, uuid, now
        self._first = self._last = self._read()
        self._read_at = now()

    def kwh(self) -> float | None:
        """See `Meter`; an exporter that does not answer is asked again, and the count stands meanwhile."""
        if self._now() - self._read_at >= DCGM_SECONDS:
            self._read_at = self._now()
            with suppress(OSError, LookupError):
                self._last = self._read()
        return (self._last - self._first) / 1000 / JOULES_PER_KWH

    def _read(self) -> float:
        with urlopen(self._url, timeout=3) as answer:  # noqa: S310  # the operator's own address
            counts = dict(_DCGM.findall(answer.read(2**22).decode("utf-8", "replace")))
        return float(counts[self._uuid])


class Rapl:
    """The energy counters of the machine's CPU packages (microjoules that wrap), of all processes."""

    source: Source | None = "rapl"

    def __init__(self, root: Path) -> None:
        self._packages = sorted(p for p in root.glob("intel-rapl:*") if p.name.count(":") == 1)
        if not self._packages:
            raise FileNotFoundError(root)
        self._last = [_number(p / "energy_uj") for p in self._packages]
        self._range = [_number(p / "max_energy_range_uj") for p in self._packages]
        self._total = 0

    def kwh(self) -> float | None:
        """See `Meter`; ask at least once a minute, or a wrap may be missed."""
        now = [_number(p / "energy_uj") for p in self._packages]
        steps = zip(now, self._last, self._range, strict=True)
        self._total += sum((new - old) % (size + 1) for new, old, size in steps)
        self._last = now
        return self._total / 1_000_000 / JOULES_PER_KWH


def open_meter(gpu_uuid: str | None, first_on_node: bool) -> Meter:
    """The best meter for the device that trains, a GPU or else the CPUs, which one worker of a node reads."""
    exporter = os.environ.get("LORA_DCGM_URL")
    with suppress(Exception):  # no library, no right to read, no such counter: then nothing measures
        if gpu_uuid is not None:
            return Dcgm(exporter, gpu_uuid) if exporter else Nvml(gpu_uuid)
        if first_on_node:
            return Rapl(Path(os.environ.get("LORA_POWERCAP", "/sys/class/powercap")))
    return NoMeter()


def energy_before(progress: bytes, attempt: int) -> float:
    """What earlier processes of this attempt had used, as its last `progress.json` says; 0 where it says nothing."""
    with suppress(ValueError, TypeError, AttributeError):
        numbers = json.loads(progress)
        if numbers.get("attempt") == attempt:
            return float(numbers.get("energy_kwh") or 0.0)
    return 0.0


def _number(path: Path) -> int:
    return int(path.read_text())
