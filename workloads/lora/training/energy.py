"""The energy of an attempt: of the processes that it had before, and of all workers of this one."""

import json
import math
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ..energy import Count, Meter, open_host_meter, open_meter
from .distributed import World


@dataclass(frozen=True, slots=True)
class Used:
    """Energy of the devices that train and of their hosts beside them, and how much of the two is estimated."""

    kwh: float = 0.0
    host_kwh: float = 0.0
    estimated_kwh: float = 0.0


@dataclass(slots=True)
class Energy:
    """Counts the energy of an attempt by the meters of one worker, and knows what all of them counted."""

    device: Meter
    host: Meter
    source: str | None
    covers_host: bool
    is_per_gpu: bool
    before: Used = field(default_factory=Used)
    used: Used | None = None
    """None where nothing measures the devices."""
    has_host: bool = False

    @classmethod
    def opened(cls, world: World) -> "Energy":
        """With the best meters of each worker's machine; every worker must call it."""
        device = open_meter(world.gpu_uuid, world.first_on_node)
        host = open_host_meter(device, world.first_on_node)
        said = world.gather((device.source, device.covers_host, device.is_per_gpu))
        return cls(device, host, *next((each for each in said if each[0] is not None), (None, False, False)))

    def count(self, world: World) -> None:
        """Add up what all workers counted; every worker must call it. One whose meter is silent counts as the rest."""
        is_due = self.is_per_gpu or world.first_on_node
        mine = [*_figures(self.device.count(), is_due), *_figures(self.host.count(), world.first_on_node)]
        totals = world.sum(mine)
        device, host = _scaled(*totals[:4]), _scaled(*totals[4:])
        self.has_host = host is not None
        if device is None:
            self.used = None
            return
        host = host or Count(0.0)
        self.used = Used(
            self.before.kwh + device.kwh,
            self.before.host_kwh + host.kwh,
            self.before.estimated_kwh + device.estimated_kwh + host.estimated_kwh,
        )

    def close(self) -> None:
        """Read the meters a last time, and stop them."""
        self.device.close()
        self.host.close()

    def numbers(self) -> dict[str, Any]:
        """As progress and metrics tell it."""
        used = self.used
        total = used.kwh + used.host_kwh if used else 0.0
        return {
            "energy_kwh": used.kwh if used else None,
            "energy_source": self.source if used else None,
            "energy_covers_host": self.covers_host if used else None,
            "host_energy_kwh": used.host_kwh if used and self.has_host else None,
            "energy_estimated_share": (min(1.0, used.estimated_kwh / total) if total else 0.0) if used else None,
        }


def used_before(progress: bytes, attempt: int) -> Used:
    """What earlier processes of this attempt had used, as its last `progress.json` says; nothing where it says none."""
    with suppress(ValueError, TypeError, AttributeError, OverflowError):
        said = json.loads(progress)
        if said.get("attempt") == attempt:
            kwh, host, share = (
                float(said.get(name) or 0.0) for name in ("energy_kwh", "host_energy_kwh", "energy_estimated_share")
            )
            if all(math.isfinite(figure) and figure >= 0 for figure in (kwh, host, share)):
                return Used(kwh, host, min(share, 1.0) * (kwh + host))
    return Used()


def _figures(count: Count | None, is_due: bool) -> list[float]:
    """What one worker adds to the sum: whether it should count, whether it does, and what."""
    counted = count or Count(0.0)
    return [float(is_due), float(count is not None), counted.kwh, counted.estimated_kwh]


def _scaled(due: float, counting: float, kwh: float, estimated_kwh: float) -> Count | None:
    """The energy of all that should count, from those that do; None where none does."""
    if not counting:
        return None
    total = kwh * max(1.0, due / counting)
    return Count(total, estimated_kwh + total - kwh)
