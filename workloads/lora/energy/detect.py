"""The best meter that this machine has for the device that trains, and the one for its host."""

import os
from contextlib import suppress
from pathlib import Path

from .dcgm import dcgm
from .meter import Meter
from .nvml import nvml
from .prometheus import prometheus
from .rapl import rapl


def open_meter(gpu_uuid: str | None, first_on_node: bool) -> Meter:
    """The meter that is declared, or the best for the device that trains, a GPU or else the CPUs.

    One worker of a node reads what is not of one GPU.
    """
    if os.environ.get("LORA_METER_URL"):
        return _declared(gpu_uuid, first_on_node)
    exporter = os.environ.get("LORA_DCGM_URL")
    with suppress(Exception):  # no library, no right to read, no such counter: then nothing measures
        if gpu_uuid is not None:
            return (dcgm(exporter, gpu_uuid) if exporter else nvml(gpu_uuid)).opened()
        if first_on_node:
            return _rapl().opened()
    return Meter(None)


def open_host_meter(device: Meter, first_on_node: bool) -> Meter:
    """The meter of the CPUs and memory beside a device whose meter does not count them; one worker of a node reads."""
    with suppress(Exception):
        if first_on_node and not device.covers_host:
            return _rapl().opened()
    return Meter(None)


def _declared(gpu_uuid: str | None, first_on_node: bool) -> Meter:
    try:
        meter = prometheus(os.environ, gpu_uuid)
    except ValueError as error:
        return Meter(None, fault=f"energy is not measured: {error}")
    return meter.opened() if meter.is_per_gpu or first_on_node else Meter(None)


def _rapl() -> Meter:
    return rapl(Path(os.environ.get("LORA_POWERCAP", "/sys/class/powercap")))
