"""The best meter that this machine has for the device that trains."""

import os
from contextlib import suppress
from pathlib import Path

from .dcgm import Dcgm
from .meter import Meter, NoMeter
from .nvml import Nvml
from .rapl import Rapl


def open_meter(gpu_uuid: str | None, first_on_node: bool) -> Meter:
    """The best meter for the device that trains, a GPU or else the CPUs, which one worker of a node reads."""
    exporter = os.environ.get("LORA_DCGM_URL")
    with suppress(Exception):  # no library, no right to read, no such counter: then nothing measures
        if gpu_uuid is not None:
            return Dcgm(exporter, gpu_uuid) if exporter else Nvml(gpu_uuid)
        if first_on_node:
            return Rapl(Path(os.environ.get("LORA_POWERCAP", "/sys/class/powercap")))
    return NoMeter()
