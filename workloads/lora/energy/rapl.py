"""The energy of the machine's CPUs and memory as they count it themselves: Intel's Running Average Power Limit."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from .meter import Meter
from .series import Series

MAX_WATTS = 1000.0
"""Of a package, or of the memory at it: twice what a Xeon 6980P or an EPYC 9965 (500 W) may draw."""


def rapl(root: Path, now: Callable[[], float] = time.monotonic) -> Meter:
    """A meter of the machine's counters (microjoules that wrap), of all processes; raise `OSError` where there is none.

    Packages, and the memory at them where it has a counter of its own. Cores are a part of their package, and `psys`
    is all of it once more.
    """
    zones = sorted(_zones(root))
    if not zones:
        raise FileNotFoundError(root)
    wraps = [_microjoules(zone / "max_energy_range_uj") for zone in zones]
    meter = Meter(
        "rapl",
        [
            Series(partial(_microjoules, zone / "energy_uj"), max_watts=MAX_WATTS, wraps_at_joules=wrap or None)
            for zone, wrap in zip(zones, wraps, strict=True)
        ],
        covers_host=True,
        now=now,
    )
    meter.expect_readings()
    return meter


def _zones(root: Path) -> Iterator[Path]:
    for zone in root.glob("intel-rapl:*"):
        name, is_part = _name(zone), zone.name.count(":") > 1
        if name == "dram" if is_part else name != "psys":
            yield zone


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text().strip()
    except OSError:
        return ""


def _microjoules(path: Path) -> float:
    """In joules."""
    with path.open() as file:
        return int(file.read(64)) / 1_000_000
