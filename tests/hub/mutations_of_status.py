"""Each field of a status, and what may stand there in place of what the hub wrote."""

import copy
from collections.abc import Iterator
from typing import Any

from carbonfleet.api.job_status import Phase
from fixtures.mutations import DIGITS, SCALARS

Place = tuple[str | int, ...]
VALUES: tuple[Any, ...] = (*(value for value in SCALARS if value is not DIGITS), *Phase, "Hibernating", 2, 7, "one")


def places(status: Any, at: Place = ()) -> Iterator[Place]:
    """Where something stands, at every depth."""
    inside = status.items() if isinstance(status, dict) else enumerate(status) if isinstance(status, list) else ()
    for key, value in inside:
        yield (*at, key)
        yield from places(value, (*at, key))


def put(status: dict[str, Any], place: Place, value: Any) -> dict[str, Any]:
    """The status with a value there."""
    changed: Any = copy.deepcopy(status)
    holder = changed
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = value
    return changed
