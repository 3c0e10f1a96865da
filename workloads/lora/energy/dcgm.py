"""A GPU's energy as NVIDIA's Data Center GPU Manager exports it over HTTP."""

import re
import time
from collections.abc import Callable

from .http_get import get
from .meter import BOARD_WATTS, Meter
from .series import Series

READ_SECONDS = 15.0
"""Between two reads of an exporter, which measures every 30 s unless told otherwise."""
_LAG_SECONDS = 90.0
"""How old its count may be."""
_COUNT = re.compile(r'^DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION\{[^}]*UUID="GPU-([^"]+)"[^}]*\} ([0-9.eE+]+)', re.MULTILINE)


def dcgm(url: str, uuid: str, now: Callable[[], float] = time.monotonic) -> Meter:
    """A meter of a GPU's counter as DCGM's exporter serves it, in millijoules, where pods can't ask the driver."""

    def joules() -> float:
        return float(dict(_COUNT.findall(get(url)))[uuid]) / 1000

    series = Series(joules, max_watts=BOARD_WATTS, lag_seconds=_LAG_SECONDS)
    return Meter("dcgm", [series], every_seconds=READ_SECONDS, is_remote=True, is_per_gpu=True, now=now)
