"""Rows of files: JSON lines, JSON, CSV and Parquet, each row with the line or number that it stands at."""

import csv
import gzip
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import fsspec

from ..failure import Failure
from ..host_limits import DATASETS, allowed_file, http_client
from .rows import BadRow, Row, Table, at, kind

ELSEWHERE = frozenset({"http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf"})
"""Schemes of addresses that lead to no file of this host."""
_LONGEST_CSV_FIELD = 2**31 - 1
_LOCATED = Iterator[tuple[int, Row]]


def read_file(path: str) -> Table:
    """Every row of a file of the kind that its name ends with; one of another ending is JSON lines.

    Raises `UnknownDataset` for what may not be read and for a row that is none, and whatever reading raises.
    """
    path, options = _reading(path)
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113 - it may be an address as well
        what = "is a folder or a device, not a file of rows"
        raise Failure("UnknownDataset", f"{path[:200]!r} {what}. Name a file in dataset.path")
    with fsspec.open(path, "rb", **options) as file:
        data: bytes = file.read()
    name = path.lower()
    if name.endswith(".gz"):
        name, data = name.removesuffix(".gz"), gzip.decompress(data)
    if name.endswith(".parquet"):
        return _parquet(data, path)

    def place(number: int) -> str:
        return f"{path[:200]!r}, line {number}"

    reader = _csv_rows if name.endswith(".csv") else _json_rows if name.endswith(".json") else _json_lines
    # Bytes that are not UTF-8 become lone surrogates, so that the line that holds them can be named.
    found = list(reader(data.decode("utf-8-sig", errors="surrogateescape"), place))
    return Table([row for _, row in found], lambda index: place(found[index][0]))


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


def _parquet(data: bytes, path: str) -> Table:
    from pyarrow import parquet  # slow to import, and only needed here

    rows = parquet.read_table(io.BytesIO(data)).to_pylist()
    return Table(rows, lambda index: f"{path[:200]!r}, row {index} from 0", from_arrow=True)


def _csv_rows(text: str, place: Callable[[int], str]) -> _LOCATED:
    """Rows under a header, each at the line that it begins in."""
    csv.field_size_limit(_LONGEST_CSV_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    names: list[str] | None = None
    while True:
        number = reader.line_num + 1
        with at(place(number)):
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise BadRow(f"not CSV ({error})") from error
            if not fields:
                continue
            if names is None:
                names = _header(fields)
                continue
            row = _csv_row(names, fields)
        yield number, row


def _header(names: list[str]) -> list[str]:
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadRow(f"the header names {twice[:100]!r} twice")
    return names


def _csv_row(names: list[str], fields: list[str]) -> Row:
    """A row of texts; a helpfulness that is a number is read as one."""
    for field in fields:
        _expect_utf8(field)
    if len(fields) != len(names):
        raise BadRow(f"has {len(fields)} fields under a header of {len(names)}")
    row: Row = dict(zip(names, fields, strict=True))
    with suppress(KeyError, ValueError):
        row["helpfulness"] = float(row["helpfulness"])
    return row


def _json_rows(text: str, place: Callable[[int], str]) -> _LOCATED:
    """The objects of a JSON array, each at the line that it begins in; a file that begins otherwise holds lines."""
    position, line, counted, separator = _next_token(text, 0), 1, 0, "["
    if text[position : position + 1] != "[":
        yield from _json_lines(text, place)
        return
    while separator != "]":
        position = _next_token(text, position + 1)
        line, counted = line + text.count("\n", counted, position), position
        if separator == "[" and text[position : position + 1] == "]":
            break
        with at(place(line)):
            row, end = _decoded(text, position)
            position = _next_token(text, end)
            separator = text[position : position + 1]
            if separator not in {",", "]"}:
                raise BadRow("neither a comma nor the end of the array follows this object")
        yield line, row
    if text[position + 1 :].strip():
        with at(place(line)):
            raise BadRow("more follows after the end of the array")


def _json_lines(text: str, place: Callable[[int], str]) -> _LOCATED:
    for number, line in enumerate(io.StringIO(text, newline="\n"), 1):
        if line.strip():
            with at(place(number)):
                row, end = _decoded(line, _next_token(line, 0))
                if line[end:].strip():
                    raise BadRow("not one JSON object: more follows after it")
            yield number, row


def _next_token(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _decoded(text: str, position: int) -> tuple[Row, int]:
    """The JSON object that begins at a position, and where it ends."""
    try:
        row, end = _DECODER.raw_decode(text, position)
    except (ValueError, RecursionError) as error:
        _expect_utf8(text[position : position + 4096])
        raise BadRow(f"not a JSON object ({error})") from error
    _expect_utf8(text[position:end])
    if not isinstance(row, dict):
        raise BadRow(f"not a JSON object but {kind(row)}")
    return row, end


def _expect_utf8(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRow("not UTF-8") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _distinct(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:100]!r} stands there twice")
    return row


_DECODER = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_distinct)
