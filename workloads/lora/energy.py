"""Measured energy, where the machine measures it: NVIDIA's library for GPUs, RAPL for CPUs."""

from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol

JOULES_PER_KWH = 3_600_000
POWERCAP = Path("/sys/class/powercap")

Source = Literal["nvml", "rapl"]


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
    """The energy counter of this process's GPU (millijoules since the driver was loaded; Volta and later)."""

    source: Source | None = "nvml"

    def __init__(self) -> None:
        import torch

        pynvml = import_module("pynvml")  # nvidia-ml-py, on machines with a GPU
        pynvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
        self._handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        self._read = pynvml.nvmlDeviceGetTotalEnergyConsumption
        self._first = self._read(self._handle)

    def kwh(self) -> float | None:
        """See `Meter`."""
        return float(self._read(self._handle) - self._first) / 1000 / JOULES_PER_KWH


class Rapl:
    """The energy counters of the machine's CPU packages (microjoules that wrap), of all processes."""

    source: Source | None = "rapl"

    def __init__(self, root: Path = POWERCAP) -> None:
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


def open_meter(on_gpu: bool, first_on_node: bool) -> Meter:
    """The best meter that this machine has for the device that trains; a node's CPUs are read by one worker."""
    with suppress(Exception):  # no library, no right to read, no such counter: then nothing measures
        if on_gpu:
            return Nvml()
        if first_on_node:
            return Rapl()
    return NoMeter()


def _number(path: Path) -> int:
    return int(path.read_text())
