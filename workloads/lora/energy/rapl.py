"""The energy of the machine's CPUs as they count it themselves: Intel's Running Average Power Limit."""

from pathlib import Path

from .meter import JOULES_PER_KWH, Source


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


def _number(path: Path) -> int:
    return int(path.read_text())
