"""The energy of an attempt, hosts included: its meter's count where that can be true, else the profile's estimate."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from carbonfleet.api.cluster import GpuPool
from carbonfleet.api.report import Energy, EnergyMethod, ReportSpec, stints_of
from carbonfleet.ledger.emissions import EnergyUse, MeteredUse, metered_use
from carbonfleet.placement.assumptions import Assumptions
from carbonfleet.placement.hardware import (
    UNKNOWN,
    HardwareProfile,
    gpus_of_node,
    host_kw,
    machine_kw,
    pool_profile,
    power_kw,
)

_METER_UNCERTAINTY: Final = 0.05
"""Of NVML's readings: ±5 % (NVIDIA, NVML API reference; Yang et al. 2023, arXiv:2312.02741)."""
_NEGLIGIBLE: Final = 0.01
"""A share of the energy that is filled without being named: the moment between the last sample and the end."""
_EXCURSION: Final = 1.5
"""A count beyond so many times the boards' peak is a wrong unit, a lie, or a meter of somebody else's work."""
_HOST_KW: Final = 1.5
"""What a host's processors and memory draw at most, which RAPL counts: two sockets of 500 W, and half of it again."""
_HIGHEST_BOARD_KW: Final = 5.0
"""Of a GPU model without a profile: the limit of `peakWatts`."""
_LAG: Final = timedelta(minutes=1)
"""A meter is read so much later than the clock, at most."""


_Stints = Sequence[tuple[datetime, datetime]]


def stints_until(report: ReportSpec, end: datetime) -> tuple[tuple[datetime, datetime], ...]:
    """When an attempt that ended held its GPUs: in pauses it used nothing."""
    found = []
    for stint in stints_of(report):
        over = min(stint.end or end, end)
        if stint.start < over:
            found.append((stint.start, over))
    return tuple(found) or ((report.start_time or end, end),)


@dataclass(frozen=True, slots=True)
class AttemptEnergy:
    """Energy over an attempt, how it was found, and how far it may be off."""

    use: EnergyUse
    """Of the GPUs and their share of the hosts."""
    host_kwh: float
    """The part of the hosts, where it is known apart."""
    method: str
    uncertainty: float
    """Relative."""
    estimated_share: float
    """The part that no meter saw, of what one should have; a host's declared base is none of it."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Energy of devices or hosts, and what of it filled a meter's gaps."""

    kwh: float
    filled_kwh: float
    doubt_kwh: float


def energy_of(
    report: ReportSpec,
    pool: GpuPool,
    hardware: HardwareProfile,
    end: datetime,
    utilisation: float,
    simulated_hours: float | None = None,
) -> AttemptEnergy:
    """Energy over the attempt.

    What a meter counted where the spoke reports it and it is believable, with the profile's estimate for
    what the meter did not see; otherwise the profile's estimate alone: over the time that the GPUs were held, or
    `simulated_hours` of ones that do not exist. Hosts count as measured beside the GPUs, or else as declared.
    """
    stints = stints_until(report, end)
    worked, said = _worked(stints), report.energy
    metered = _metered(report, hardware, stints, utilisation)
    if metered is not None and said is not None and _is_believable(metered, report, pool, hardware, stints):
        total = metered.use.total_kwh
        filled = metered.filled_kwh + said.estimated_share * (total - metered.filled_kwh)
        device = _part(total, filled, hardware)
        host = _host(said, report.gpus, pool, hardware, worked, metered)
        use = metered.use.with_steady(host.kwh) if host.kwh else metered.use
        kwh, gaps = device.kwh + host.kwh, device.filled_kwh + host.filled_kwh
        method = f"{said.method.value}+estimate" if gaps > _NEGLIGIBLE * kwh else said.method.value
        doubt = (device.doubt_kwh + host.doubt_kwh) / kwh if kwh else _METER_UNCERTAINTY
        share = gaps / kwh if kwh else 0.0
        return AttemptEnergy(use.laid_over(stints), host.kwh, method, doubt, share)
    start = stints[0][0]
    held = worked if simulated_hours is None else timedelta(hours=simulated_hours)
    hours = held / timedelta(hours=1)
    use = EnergyUse.constant(start, start + min(held, worked), machine_kw(hardware, report.gpus, utilisation) * hours)
    host_kwh = host_kw(hardware, report.gpus) * hours
    return AttemptEnergy(use.laid_over(stints), host_kwh, "estimate", hardware.uncertainty, 1.0)


def is_beyond_hardware(report: ReportSpec, pool: GpuPool) -> bool:
    """Whether a report's meter counted more energy than its hardware can have drawn since it was held."""
    if report.start_time is None:
        return False
    stints = stints_until(report, max(report.end_time or report.observed_at, report.start_time))
    hardware = pool_profile(pool)
    metered = _metered(report, hardware, stints, Assumptions().utilisation)
    return metered is not None and not _is_believable(metered, report, pool, hardware, stints)


def _part(kwh: float, filled_kwh: float, hardware: HardwareProfile) -> _Part:
    """As a meter counted it, but for what was filled."""
    return _Part(kwh, filled_kwh, (kwh - filled_kwh) * _METER_UNCERTAINTY + filled_kwh * hardware.uncertainty)


def _host(
    said: Energy, gpus: int, pool: GpuPool, hardware: HardwareProfile, worked: timedelta, metered: MeteredUse
) -> _Part:
    """The hosts' share beside the devices: nothing where the meter counts them already."""
    if _counts_hosts(said):
        return _Part(0.0, 0.0, 0.0)
    if said.host_kwh is None:
        declared = host_kw(hardware, gpus) * (worked / timedelta(hours=1))
        return _Part(declared, 0.0, declared * hardware.uncertainty)
    share = gpus_of_node(gpus, pool) / pool.gpus_per_node
    seen, total = metered.use.total_kwh - metered.filled_kwh, metered.use.total_kwh
    read = share * said.host_kwh
    kwh = read * total / seen if seen else read  # what no sample tells of, in step with the devices
    return _part(kwh, kwh - read * (1 - said.estimated_share), hardware)


def _counts_hosts(said: Energy) -> bool:
    return said.covers_host or said.method is EnergyMethod.RAPL


def _metered(report: ReportSpec, hardware: HardwareProfile, stints: _Stints, utilisation: float) -> MeteredUse | None:
    said = report.energy
    if said is None or said.method is EnergyMethod.ESTIMATE:
        return None
    samples = [(_without_pauses(sample.time, stints), sample.energy_kwh) for sample in said.samples]
    kw = power_kw(hardware, report.gpus, utilisation)
    return metered_use(stints[0][0], stints[0][0] + _worked(stints), samples, said.kwh, kw)


def _worked(stints: _Stints) -> timedelta:
    return sum((over - begun for begun, over in stints), timedelta())


def _is_believable(
    metered: MeteredUse, report: ReportSpec, pool: GpuPool, hardware: HardwareProfile, stints: _Stints
) -> bool:
    """Whether the hardware of an attempt can have drawn what was counted while it was held."""
    said, hours = report.energy, (_worked(stints) + _LAG).total_seconds() / 3600
    is_known = pool.peak_watts is not None or hardware.source != UNKNOWN.source
    boards = power_kw(hardware, report.gpus, 1.0) if is_known else _HIGHEST_BOARD_KW * report.gpus
    hosts = _HOST_KW * (report.gpus // gpus_of_node(report.gpus, pool))
    most = _EXCURSION * boards + (hosts if said is not None and _counts_hosts(said) else 0)
    host_kwh = (said.host_kwh or 0.0) if said is not None else 0.0
    return metered.use.total_kwh <= most * hours and host_kwh <= hosts * hours


def _without_pauses(moment: datetime, stints: _Stints) -> datetime:
    """How far the work was at a moment, as the time at which an unbroken run would have been there."""
    worked = sum((min(end, moment) - start for start, end in stints if start < moment), timedelta())
    beyond = max(moment - stints[-1][1], timedelta())
    return stints[0][0] + worked + beyond if moment > stints[0][0] else moment
