"""How much memory a process and all that it started hold, at most."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
BETWEEN_SECONDS: Final = 5.0
"""Looking costs some 100 ms, since the kernel walks every page."""


class Footprint:
    """The highest sum seen of proportional set sizes: pages that processes share count once."""

    def __init__(self, root: int) -> None:
        self.peak_bytes = 0
        self._family = {root}
        self._next = 0.0

    def look(self) -> None:
        """Look now, unless that was done a moment ago. Sees nothing where there is no /proc."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + BETWEEN_SECONDS
        parents = dict(filter(None, map(_parent, PROC.glob("[0-9]*/stat"))))
        born = {1}
        while born:
            born = {pid for pid, parent in parents.items() if parent in self._family} - self._family
            self._family |= born
        self._family &= parents.keys()
        self.peak_bytes = max(self.peak_bytes, sum(map(_held, self._family)))


def _parent(stat: Path) -> tuple[int, int] | None:
    with suppress(OSError, ValueError):
        return int(stat.parent.name), int(stat.read_text().rpartition(")")[2].split()[1])
    return None


def _held(pid: int) -> int:
    with suppress(OSError, ValueError):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
