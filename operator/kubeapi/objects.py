"""What a Kubernetes object is here: JSON values, and how they become bytes."""

import json
import math
from datetime import UTC, datetime
from typing import Any, NoReturn

Json = Any
"""Any JSON value; its shape is the business of the resource's schema, not of the type checker."""

Obj = dict[str, Any]
"""A JSON object, such as a whole Kubernetes object."""

_encoder = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large a number")
    return number


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def encode(value: Json) -> bytes:
    """Compact JSON. Lone surrogates, which UTF-8 cannot carry, become `?`."""
    return _encoder.encode(value).encode("utf-8", "replace")


def decode(data: bytes | str) -> Json:
    """Strict JSON: NaN and Infinity are refused with ValueError."""
    return _decoder.decode(data.decode() if isinstance(data, bytes) else data)


def copied(value: Json) -> Json:
    """A copy that shares nothing with `value`."""
    return decode(encode(value))


def timestamp(moment: datetime) -> str:
    """RFC 3339 with whole seconds, as `metav1.Time` is written."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> datetime | None:
    """An RFC 3339 moment, aware UTC; None where `text` is none."""
    try:
        moment = datetime.fromisoformat(text)
    except (ValueError, TypeError):
        return None
    return moment.astimezone(UTC) if moment.tzinfo else None


def metadata(obj: Obj) -> Obj:
    """The object's metadata; an empty one where it has none."""
    found = obj.get("metadata")
    return found if isinstance(found, dict) else {}


def at_path(value: Json, path: str) -> Json:
    """What a dotted path of field names leads to; None where it leads nowhere."""
    for name in path.strip(".").split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def shown(value: Json) -> str:
    """A value as error messages show it."""
    return quoted(value) if isinstance(value, str) else encode(value).decode()


def quoted(text: str) -> str:
    """`text` as Go's `%q` writes it."""
    return json.dumps(text, ensure_ascii=False)
