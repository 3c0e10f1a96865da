"""What a meter of energy is, and the one that stands where nothing measures."""

from typing import Literal, Protocol

JOULES_PER_KWH = 3_600_000

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
