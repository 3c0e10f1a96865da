"""A Prometheus query as the meter: Kepler, Scaphandre, or a plug that measures, whatever an exporter serves."""

import json
import re
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from .http_get import get
from .meter import Meter
from .series import Series

READ_SECONDS: Final = 15.0
"""Between two queries: exporters are seldom scraped more often."""
_LAG_SECONDS: Final = 360.0
"""How old an answer may be: five minutes, for which Prometheus gives a lost series' last value, and a scrape."""
_MAX_WATTS: Final = 20_000.0
"""Of a machine with 16 GPUs, where `LORA_METER_MAX_WATTS` does not say."""
JOULES: Final[Mapping[str, float]] = {"microjoules": 1e-6, "joules": 1, "wh": 3600, "kwh": 3_600_000}
"""Units of counters."""
WATTS: Final[Mapping[str, float]] = {"microwatts": 1e-6, "milliwatts": 1e-3, "watts": 1, "kilowatts": 1000}
"""Units of gauges."""
_PLACEHOLDER: Final = re.compile(r"\$(\w*)")


def prometheus(
    environment: Mapping[str, str], gpu_uuid: str | None, now: Callable[[], float] = time.monotonic
) -> Meter:
    """The meter that `LORA_METER_*` describe; raise `ValueError` where they are no such thing."""
    unit = environment.get("LORA_METER_UNIT", "joules")
    scale = {**JOULES, **WATTS}.get(unit)
    if scale is None:
        raise ValueError(f"LORA_METER_UNIT {unit[:80]!r} is none of {', '.join([*JOULES, *WATTS])}")
    covers = environment.get("LORA_METER_COVERS", "machine")
    if covers not in {"machine", "gpus"}:
        raise ValueError(f"LORA_METER_COVERS {covers[:80]!r} is neither machine nor gpus")
    query = query_of(environment, gpu_uuid)
    address = f"{_base(environment['LORA_METER_URL'])}/api/v1/query?{urlencode({'query': query, 'timeout': '3s'})}"
    series = Series(
        lambda: scale * value_in(get(address)),
        max_watts=_highest(environment.get("LORA_METER_MAX_WATTS", "")),
        is_power=unit in WATTS,
        lag_seconds=_LAG_SECONDS,
    )
    return Meter(
        "prometheus",
        [series],
        every_seconds=READ_SECONDS,
        is_remote=True,
        covers_host=covers == "machine",
        is_per_gpu="$gpu" in environment.get("LORA_METER_QUERY", ""),
        now=now,
    )


def query_of(environment: Mapping[str, str], gpu_uuid: str | None) -> str:
    """The query with `$pod`, `$node`, `$namespace`, `$job` and `$gpu` in their places, each as a whole string literal.

    Raises `ValueError` for other placeholders, and for ones that this process knows no value for.
    """
    text = environment.get("LORA_METER_QUERY", "").strip()
    if not text:
        raise ValueError("LORA_METER_QUERY is empty")
    known = {
        "pod": environment.get("LORA_METER_POD") or socket.gethostname(),
        "node": environment.get("LORA_METER_NODE") or socket.gethostname(),
        "namespace": environment.get("LORA_METER_NAMESPACE", ""),
        "job": environment.get("LORA_OUTPUT", "").rstrip("/").rpartition("/")[2],
        "gpu": f"GPU-{gpu_uuid}" if gpu_uuid else "",
    }

    def literal(match: re.Match[str]) -> str:
        value = known.get(match[1], "")
        if not value:
            raise ValueError(f"LORA_METER_QUERY: nothing is known for {match[0][:80]}")
        # A label's value is UTF-8; JSON escapes what ends a literal as PromQL, which takes Go's literals, does.
        return json.dumps(value.encode("utf-8", "replace").decode(), ensure_ascii=False)

    return _PLACEHOLDER.sub(literal, text)


def value_in(answer: str) -> float:
    """The one value in the answer to an instant query, a vector or a scalar.

    Raises ValueError, LookupError or TypeError for errors, no series or several, and values that are no numbers.
    """
    said: Any = json.loads(answer)
    if said["status"] != "success":
        raise ValueError("the query failed")
    result = said["data"]["result"]
    if said["data"]["resultType"] == "vector":
        if len(result) != 1:
            raise ValueError(f"{len(result)} series in place of one")
        result = result[0]["value"]
    elif said["data"]["resultType"] != "scalar":
        raise ValueError("neither a vector nor a scalar")
    _moment, text = result
    if not isinstance(text, str):
        raise TypeError("values are texts")
    return float(text)


def _base(url: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", url):
        raise ValueError("LORA_METER_URL must be http:// or https://, a host, and at most a path")
    return url.rstrip("/")


def _highest(text: str) -> float:
    try:
        watts = float(text or _MAX_WATTS)
    except ValueError:
        watts = 0.0
    if not 0 < watts <= 1e6:
        raise ValueError(f"LORA_METER_MAX_WATTS {text[:80]!r} must be more than 0 and at most 1000000")
    return watts
