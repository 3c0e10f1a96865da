"""Rows of a dataset as they were read, and where each of them stands."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..failure import Failure

Row = dict[str, Any]


class BadRow(ValueError):  # noqa: N818  # whoever knows its place makes it a Failure
    """What is wrong with one row, as the start of a sentence."""


@dataclass(frozen=True, slots=True)
class Table:
    """All rows of a dataset; `place(i)` says for people where row `i` stands."""

    rows: Sequence[Row]
    place: Callable[[int], str]
    from_arrow: bool = False
    """Whether objects in a row have the fields of all rows' objects, and null where their own row has none."""

    def row(self, index: int) -> Row:
        """Row number `index` from 0."""
        row = self.rows[index]
        return {name: _without_nulls(value) for name, value in row.items()} if self.from_arrow else row


@contextmanager
def at(place: str) -> Iterator[None]:
    """Make a BadRow the `UnknownDataset` that says where it stands and what to do."""
    try:
        yield
    except BadRow as error:
        raise Failure("UnknownDataset", f"{place}: {error}. Correct the row or remove it") from error


def rating(row: Row) -> float:
    """HelpSteer2's helpfulness of a row; raises BadRow where it is no finite number."""
    value = row.get("helpfulness")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRow(f"helpfulness is {kind(value)}, and dataset.minimum_helpfulness needs a number")
    if value != value or abs(value) == math.inf:
        raise BadRow(f"helpfulness is {value}, and dataset.minimum_helpfulness needs a finite number")
    return value


def text(value: object, name: str) -> str:
    """The value of a field that holds text; raises BadRow for anything else, and for text that is not Unicode."""
    if not isinstance(value, str):
        raise BadRow(f"{name} is {kind(value)}, not a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = f"U+{ord(value[error.start]):04X} at character {error.start + 1}"
        raise BadRow(f"{name} holds half of a surrogate pair ({half}), which is no text") from error
    return value


def kind(value: object) -> str:
    """What a value is, in JSON's words where it has one."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), f"of type {type(value).__name__}")


def _without_nulls(value: Any) -> Any:  # noqa: ANN401  # any JSON value
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value
