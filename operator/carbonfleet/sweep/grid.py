"""The configurations of a sweep: rows of a grid, each filled from the baseline."""

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from carbonfleet.api.wire import wire_name
from carbonfleet.api.workload import Lora, Training
from carbonfleet.sweep.error import SweepError
from carbonfleet.sweep.rules import Value

PLACES: Final[Mapping[str, str]] = MappingProxyType(
    {wire_name(field): "lora" for field in Lora.model_fields if field != "target_modules"}
    | {wire_name(field): "training" for field in Training.model_fields}
)
"""What a grid may vary, and the part of the workload that holds it."""
MOST_JOBS: Final = 1000
_SHORT: Final = MappingProxyType({"rank": "r", "alpha": "a", "dropout": "d", "learningRate": "lr"})
_LONGEST_NAME: Final = 63
_DIGITS: Final = 8


@dataclass(frozen=True, slots=True)
class Configuration:
    """One set of hyperparameters, by their names in the manifest."""

    values: tuple[tuple[str, Value], ...]
    is_baseline: bool

    def name(self, sweep: str) -> str:
        """The job's name, at most 63 characters; it depends on the values alone, not on the row's place."""
        words = [sweep, *(f"{_SHORT.get(field, field.lower())}{_word(value)}" for field, value in self.values)]
        full = "-".join(words)
        if len(full) <= _LONGEST_NAME:
            return full
        digest = hashlib.sha256(full.encode()).hexdigest()[:_DIGITS]
        return f"{full[: _LONGEST_NAME - _DIGITS - 1].rstrip('-')}-{digest}"


def configurations(
    baseline: Mapping[str, Value], rows: Iterable[Mapping[str, Value | tuple[Value, ...]]]
) -> tuple[Configuration, ...]:
    """Every combination of every row, in the file's order; what a row leaves out is the baseline's.

    Raises SweepError for a row that repeats another, a grid without the baseline, or one that is too large.
    """
    found: dict[frozenset[tuple[str, Value]], Configuration] = {}
    wanted = frozenset(baseline.items())
    for number, row in enumerate(rows, 1):
        for values in _combinations(row):
            filled = {**baseline, **values}
            key = frozenset(filled.items())
            if key in found:
                raise SweepError(f"grid row {number} repeats the configuration {_said(filled)}; keep one")
            found[key] = Configuration(tuple(filled.items()), key == wanted)
            if len(found) > MOST_JOBS:
                raise SweepError(f"the grid makes more than {MOST_JOBS} jobs at row {number}; narrow it")
    if wanted not in found:
        raise SweepError(f"the baseline {_said(baseline)} is not in the grid; add it as a row")
    return tuple(found.values())


def _combinations(row: Mapping[str, Value | tuple[Value, ...]]) -> Iterator[dict[str, Value]]:
    axes = [value if isinstance(value, tuple) else (value,) for value in row.values()]
    for chosen in itertools.product(*axes):
        yield dict(zip(row, chosen, strict=True))


def _said(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{field} {value}" for field, value in values.items())


def _word(value: Value) -> str:
    """A value as part of a DNS label: 0.1 is 0p1, 0.0001 is 1e-4, -1 is m1."""
    if isinstance(value, str):
        return re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")
    text = repr(value)
    if value and abs(value) < 0.01:
        mantissa, _, exponent = f"{value:.6e}".partition("e")
        text = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    text = text.removesuffix(".0").replace("+", "").replace(".", "p")
    return f"m{text[1:]}" if text.startswith("-") else text
