"""A GPU's energy as NVIDIA's Data Center GPU Manager exports it over HTTP."""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.request import urlopen

from .meter import JOULES_PER_KWH, Source

READ_SECONDS = 15.0
"""Between two reads of DCGM's exporter, which measures every 30 s unless told otherwise."""
_DCGM = re.compile(r'^DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION\{[^}]*UUID="GPU-([^"]+)"[^}]*\} ([0-9.eE+]+)', re.MULTILINE)


class Dcgm:
    """A GPU's energy counter as DCGM's exporter serves it, in millijoules, where pods can't ask the driver."""

    source: Source | None = "dcgm"

    def __init__(self, url: str, uuid: str, now: Callable[[], float] = time.monotonic) -> None:
        self._url, self._uuid, self._now = url, uuid, now
        self._first = self._last = self._read()
        self._read_at = now()

    def kwh(self) -> float | None:
        """See `Meter`; an exporter that does not answer is asked again, and the count stands meanwhile."""
        if self._now() - self._read_at >= READ_SECONDS:
            self._read_at = self._now()
            with suppress(OSError, LookupError):
                self._last = self._read()
        return (self._last - self._first) / 1000 / JOULES_PER_KWH

    def _read(self) -> float:
        with urlopen(self._url, timeout=3) as answer:  # noqa: S310  # the operator's own address
            counts = dict(_DCGM.findall(answer.read(2**22).decode("utf-8", "replace")))
        return float(counts[self._uuid])
