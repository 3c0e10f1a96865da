"""Rows of a dataset as they were read, and where each of them stands."""

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import fsspec

from ..failure import Failure
from ..host_limits import DATASETS, allowed_file, allowed_name, http_client
from ..settings import TINY_DATASET, Dataset
from .tiny import tiny_instructions

TINY_SAMPLES = 1000
ELSEWHERE = frozenset({"http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf"})
"""Schemes of addresses that lead to no file of this host."""

Row = dict[str, Any]


class BadRow(ValueError):  # noqa: N818  # whoever knows its place makes it a Failure
    """What is wrong with one row, as the start of a sentence."""


@dataclass(frozen=True, slots=True)
class Table:
    """All rows of a dataset; `place(i)` says for people where row `i` stands."""

    rows: Sequence[Row]
    place: Callable[[int], str]


@contextmanager
def at(place: str) -> Iterator[None]:
    """Make a BadRow the `UnknownDataset` that says where it stands and what to do."""
    try:
        yield
    except BadRow as error:
        raise Failure("UnknownDataset", f"{place}: {error}. Correct the row or remove it") from error


def read_table(dataset: Dataset, seed: int) -> Table:
    """Every row of the dataset; raises `UnknownDataset` for a line that is none, and whatever its library raises."""
    if dataset.name == TINY_DATASET:
        rows: Sequence[Row] = tiny_instructions(dataset.samples or TINY_SAMPLES, seed)
    elif dataset.path:
        return _jsonl(dataset.path)
    else:
        import datasets  # slow to import, and only needed here

        name = allowed_name(dataset.name or "", DATASETS)
        rows = datasets.load_dataset(name, split=dataset.split, revision=dataset.revision)
    return Table(rows, lambda index: f"dataset {dataset.name!r}, row {index} from 0")


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


def _reading(path: str) -> tuple[str, dict[str, Any]]:
    """What to open, and how; raises `UnknownDataset` for a file, an address or a scheme that is not allowed."""
    scheme, separator, _ = path.partition("://")
    if scheme not in ELSEWHERE or "::" in path:
        file = allowed_file(path, DATASETS)
        if "::" in file or (separator and scheme != "file"):
            schemes = ", ".join(sorted(ELSEWHERE))
            raise Failure(
                "UnknownDataset", f"{path[:200]!r} is no address that is read: name a file, or one of {schemes}"
            )
        return file, {}
    if scheme in {"http", "https"}:
        return path, {"get_client": http_client, "skip_instance_cache": True}
    return path, {}


def _jsonl(path: str) -> Table:
    path, options = _reading(path)
    rows: list[Row] = []
    numbers: list[int] = []
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113 - it may be an address as well
        what = "is a folder or a device, not a file of JSON lines"
        raise Failure("UnknownDataset", f"{path[:200]!r} {what}. Name a file in dataset.path")

    def place(number: int) -> str:
        return f"{path[:200]!r}, line {number}"

    # Bytes that are not UTF-8 become lone surrogates, so that the line that holds them can be named.
    text = {"encoding": "utf-8-sig", "errors": "surrogateescape", "newline": "\n"}
    with fsspec.open(path, "rt", **text, **options) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                with at(place(number)):
                    rows.append(_object(line))
                numbers.append(number)
    return Table(rows, lambda index: place(numbers[index]))


def _object(line: str) -> Row:
    try:
        line.encode()
        row = json.loads(line, parse_constant=_no_constant, object_pairs_hook=_distinct)
    except UnicodeEncodeError as error:
        raise BadRow("not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise BadRow(f"not a JSON object ({error})") from error
    if not isinstance(row, dict):
        raise BadRow(f"not a JSON object but {kind(row)}")
    return row


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _distinct(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:100]!r} stands there twice")
    return row
