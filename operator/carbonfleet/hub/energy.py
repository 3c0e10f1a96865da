"""The energy of an attempt: its meter's count where that can be true, the hardware profile's estimate elsewhere."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from carbonfleet.api.cluster import GpuPool
from carbonfleet.api.report import EnergyMethod, ReportSpec, stints_of
from carbonfleet.ledger.emissions import EnergyUse, MeteredUse, metered_use
from carbonfleet.placement.assumptions import Assumptions
from carbonfleet.placement.hardware import UNKNOWN, HardwareProfile, energy_kwh, pool_profile, power_kw

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


def energy_of(
    report: ReportSpec,
    pool: GpuPool,
    hardware: HardwareProfile,
    end: datetime,
    utilisation: float,
    simulated_hours: float | None = None,
) -> tuple[EnergyUse, str, float]:
    """Energy over the attempt, how it was found, and its relative uncertainty.

    What a meter counted where the spoke reports it and it is believable, with the profile's estimate for
    what the meter did not see; otherwise the profile's estimate alone: over the time that the GPUs were held, or
    `simulated_hours` of ones that do not exist.
    """
    stints = stints_until(report, end)
    metered, said = _metered(report, hardware, stints, utilisation), report.energy
    if metered is not None and said is not None and metered.use.total_kwh <= _most_kwh(report, pool, hardware, stints):
        total, filled = metered.use.total_kwh, metered.filled_kwh
        doubt = (total - filled) * _METER_UNCERTAINTY + filled * hardware.uncertainty
        method = f"{said.method.value}+estimate" if filled > _NEGLIGIBLE * total else said.method.value
        return metered.use.laid_over(stints), method, doubt / total if total else _METER_UNCERTAINTY
    start, worked = stints[0][0], _worked(stints)
    held = worked if simulated_hours is None else timedelta(hours=simulated_hours)
    kwh = energy_kwh(hardware, report.gpus, held.total_seconds() / 3600, utilisation)
    use = EnergyUse.constant(start, start + min(held, worked), kwh)
    return use.laid_over(stints), "estimate", hardware.uncertainty


def is_beyond_hardware(report: ReportSpec, pool: GpuPool) -> bool:
    """Whether a report's meter counted more energy than its GPUs can have drawn since they were held."""
    if report.start_time is None:
        return False
    stints = stints_until(report, max(report.end_time or report.observed_at, report.start_time))
    hardware = pool_profile(pool)
    metered = _metered(report, hardware, stints, Assumptions().utilisation)
    return metered is not None and not metered.use.total_kwh <= _most_kwh(report, pool, hardware, stints)


def _metered(report: ReportSpec, hardware: HardwareProfile, stints: _Stints, utilisation: float) -> MeteredUse | None:
    said = report.energy
    if said is None or said.method is EnergyMethod.ESTIMATE:
        return None
    samples = [(_without_pauses(sample.time, stints), sample.energy_kwh) for sample in said.samples]
    kw = power_kw(hardware, report.gpus, utilisation)
    return metered_use(stints[0][0], stints[0][0] + _worked(stints), samples, said.kwh, kw)


def _worked(stints: _Stints) -> timedelta:
    return sum((over - begun for begun, over in stints), timedelta())


def _most_kwh(report: ReportSpec, pool: GpuPool, hardware: HardwareProfile, stints: _Stints) -> float:
    """What the hardware of an attempt can draw while it is held."""
    is_known = pool.peak_watts is not None or hardware.source != UNKNOWN.source
    boards = power_kw(hardware, report.gpus, 1.0) if is_known else _HIGHEST_BOARD_KW * report.gpus
    by_rapl = report.energy is not None and report.energy.method is EnergyMethod.RAPL
    hosts = -(-report.gpus // pool.gpus_per_node) if by_rapl else 0
    return (_EXCURSION * boards + _HOST_KW * hosts) * (_worked(stints) + _LAG).total_seconds() / 3600


def _without_pauses(moment: datetime, stints: _Stints) -> datetime:
    """How far the work was at a moment, as the time at which an unbroken run would have been there."""
    worked = sum((min(end, moment) - start for start, end in stints if start < moment), timedelta())
    beyond = max(moment - stints[-1][1], timedelta())
    return stints[0][0] + worked + beyond if moment > stints[0][0] else moment
