"""What is known of GPU models: power, speed and what making them emitted, with sources and uncertainty."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

from carbonfleet.api.cluster import GpuPool
from carbonfleet.api.job import Resources


@dataclass(frozen=True, slots=True)
class HardwareProfile:
    """One GPU of a model, and its share of its host. Idle and peak power are those of the board."""

    gpu_type: str
    idle_watts: float
    peak_watts: float
    relative_speed: float
    """LoRA training in 16 bits beside an A100 SXM (1)."""
    memory_gib: float
    embodied_kg: float
    """kg CO2e of making it."""
    uncertainty: float
    """Relative standard error of an energy estimate from this profile."""
    source: str
    host_watts: float = 0.0
    """A GPU's share of what its machine draws beside the GPUs; 0 where none is declared: it lies in the uncertainty."""


_PEAK = "Peak: vendor's data sheet (board power)."
_IDLE = "Idle: nvidia-smi readings published with the MLCommons power results and Zeus (ml.energy)."
_EMBODIED_A100 = "Embodied: 150 kg (Luccioni et al. 2022, arXiv:2211.02001)."
_EMBODIED_H100 = "Embodied: 164 kg (NVIDIA, Product Carbon Footprint HGX H100: 1,312 kg for 8)."
_EMBODIED_SCALED = "Embodied: scaled from the A100's 150 kg by die area and memory; ±50 %."
_SPEED = "Speed: 16-bit dense tensor throughput bounded by memory bandwidth; ±30 %, so measure and declare."


def _profile(name: str, watts: tuple[float, float], speed: float, gib: float, kg: float, note: str) -> HardwareProfile:
    source = " ".join((_PEAK, _IDLE, note, _SPEED))
    return HardwareProfile(name, watts[0], watts[1], speed, gib, kg, 0.2, source)


PROFILES: Mapping[str, HardwareProfile] = MappingProxyType(
    {
        profile.gpu_type: profile
        for profile in (
            _profile("T4", (10, 70), 0.15, 16, 60, _EMBODIED_SCALED),
            _profile("L4", (12, 72), 0.28, 24, 60, _EMBODIED_SCALED),
            _profile("A10G", (16, 300), 0.32, 24, 90, _EMBODIED_SCALED),
            _profile("A5000", (18, 230), 0.38, 24, 90, _EMBODIED_SCALED),
            _profile("RTX-3090", (25, 350), 0.42, 24, 95, _EMBODIED_SCALED),
            _profile("RTX-4090", (22, 450), 0.72, 24, 95, _EMBODIED_SCALED),
            _profile("L40S", (33, 350), 0.75, 48, 110, _EMBODIED_SCALED),
            _profile("A100", (52, 400), 1.0, 80, 150, _EMBODIED_A100),
            _profile("H100", (70, 700), 2.2, 80, 164, _EMBODIED_H100),
            _profile("H200", (75, 700), 2.5, 141, 164, _EMBODIED_H100),
            _profile("B200", (120, 1000), 4.5, 192, 220, _EMBODIED_SCALED),
        )
    }
)
UNKNOWN = HardwareProfile(
    "unknown", 50, 400, 1.0, 0, 150, 0.5, "Not in the table: taken as an A100, with half its value in doubt."
)


def profile(gpu_type: str) -> HardwareProfile:
    """The profile of a GPU model by its name, in any case; `UNKNOWN` for one that is not in the table."""
    known = {name.upper(): value for name, value in PROFILES.items()}
    return known.get(canonical(gpu_type), UNKNOWN)


def canonical(gpu_type: str) -> str:
    """A GPU model's name to compare by: a100, A100 and NVIDIA-A100 are one model."""
    name = gpu_type.upper().removeprefix("NVIDIA-")
    aliases = {"3090": "RTX-3090", "4090": "RTX-4090", "RTX3090": "RTX-3090", "RTX4090": "RTX-4090"}
    aliases |= {"RTX-A5000": "A5000", "RTXA5000": "A5000"}
    return aliases.get(name, name)


def pool_profile(pool: GpuPool) -> HardwareProfile:
    """The pool's own figures over its model's profile."""
    base = profile(pool.gpu_type)
    peak = base.peak_watts if pool.peak_watts is None else pool.peak_watts
    idle = min(base.idle_watts if pool.idle_watts is None else pool.idle_watts, peak)
    return HardwareProfile(
        gpu_type=pool.gpu_type,
        idle_watts=idle,
        peak_watts=peak,
        relative_speed=pool.relative_speed or base.relative_speed,
        memory_gib=pool.memory_gib,
        embodied_kg=base.embodied_kg,
        uncertainty=base.uncertainty,
        source=base.source,
        host_watts=(pool.host_watts or 0.0) / pool.gpus_per_node,
    )


def declared_hours(resources: Resources, pool: GpuPool) -> float:
    """How long a whole run takes in a pool, without start-up: as declared for its GPU type, or by relative speed."""
    for asked in resources.options:
        if canonical(asked.gpu_type) == canonical(pool.gpu_type):
            return asked.duration / timedelta(hours=1)
    speed = profile(resources.reference_gpu).relative_speed / pool_profile(pool).relative_speed
    return resources.duration / timedelta(hours=1) * speed


def power_kw(hardware: HardwareProfile, gpus: float, utilisation: float) -> float:
    """Electrical power of `gpus` boards, in kW: idle plus the used share of the way to peak."""
    watts = hardware.idle_watts + utilisation * (hardware.peak_watts - hardware.idle_watts)
    return gpus * watts / 1000


def host_kw(hardware: HardwareProfile, gpus: float) -> float:
    """Power of the hosts' share beside `gpus` boards, in kW."""
    return gpus * hardware.host_watts / 1000


def machine_kw(hardware: HardwareProfile, gpus: float, utilisation: float) -> float:
    """Power of boards and hosts, without PUE, in kW: a 320 W board in a host of 50 W draws 0.37."""
    return power_kw(hardware, gpus, utilisation) + host_kw(hardware, gpus)


def gpus_of_node(gpus: int, pool: GpuPool) -> int:
    """GPUs of a run on each of its machines: as nodes of equal size, the fewest that there are."""
    most = min(gpus, pool.gpus_per_node)
    return next(count for count in range(most, 0, -1) if gpus % count == 0)
