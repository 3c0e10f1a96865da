"""Records of a file that people were sent: CSV, JSON, JSON lines or Parquet, also with gzip; told apart by content."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from carbonfleet.faults import said
from carbonfleet.ledger.footprints.footprint import FootprintError

MOST_BYTES: Final = 1 << 29
"""Unpacked, of CSV and JSON lines."""
MOST_ROWS: Final = 1_000_000
LONGEST_LINE: Final = 1 << 20
"""Bytes of a line; of a whole file that is one JSON value, as many times more as follow."""
_JSON_LINES: Final = 64
DEEPEST: Final = 8
_TOO_LARGE: Final = f"it is too large: {MOST_BYTES >> 20} MiB are read; export fewer months"
_UNREADABLE: Final = (ValueError, RecursionError)
Record = Mapping[str, Any]


def records(file: Path) -> tuple[tuple[str, ...] | None, Iterator[tuple[int, Record]]]:
    """The columns, where the file names them all at once, and each record with its line (of Parquet: its row), from 1.

    JSON's objects within objects are columns with dots, as `project.id`. Raises FootprintError, OSError.
    """
    with file.open("rb") as content:
        begin = content.read(4)
    if begin == b"PAR1":
        return _parquet(file)
    packed = begin[:2] == b"\x1f\x8b"
    if begin[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise FootprintError(file, 1, "it is UTF-16: save it as UTF-8")
    lines = _lines(file, packed=packed)
    first = next(lines, (1, ""))
    if first[1].lstrip()[:1] in ("{", "["):
        return None, _json(file, first, lines)
    return _csv(file, first, lines)


def _lines(file: Path, *, packed: bool) -> Iterator[tuple[int, str]]:
    """Each line with its number. Raises FootprintError for what is no UTF-8, too long or too much."""
    whole = 0
    with file.open("rb") as raw:
        content: io.BufferedIOBase = gzip.GzipFile(fileobj=raw) if packed else raw
        number = 0
        while True:
            number += 1
            try:
                line = content.readline(LONGEST_LINE * _JSON_LINES + 1)
            except (OSError, EOFError, zlib.error) as error:
                raise FootprintError(file, number, f"it can't be unpacked: {said(error)}") from error
            if not line:
                return
            whole += len(line)
            if len(line) > LONGEST_LINE * _JSON_LINES or whole > MOST_BYTES:
                raise FootprintError(
                    file, number, f"it is too large: {MOST_BYTES >> 20} MiB are read; export fewer months"
                )
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise FootprintError(file, number, "it is not UTF-8: save it as UTF-8") from error


def _csv(
    file: Path, first: tuple[int, str], lines: Iterator[tuple[int, str]]
) -> tuple[tuple[str, ...], Iterator[tuple[int, Record]]]:
    def texts() -> Iterator[str]:
        yield first[1]
        for _, text in lines:
            yield text

    csv.field_size_limit(LONGEST_LINE)
    reader = csv.reader(texts(), strict=True)
    try:
        head = tuple(name.strip() for name in next(reader, []))
    except csv.Error as error:
        raise FootprintError(file, 1, f"it is no CSV: {error}") from error
    if not any(head):
        raise FootprintError(file, 1, "it is empty: export it anew")
    if twice := sorted({name for name in head if head.count(name) > 1}):
        raise FootprintError(file, 1, f"the column {twice[0]} is there twice: export it anew")
    return head, _csv_rows(file, head, reader)


def _csv_rows(file: Path, head: tuple[str, ...], reader: Any) -> Iterator[tuple[int, Record]]:  # noqa: ANN401 - csv's
    count = 0
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise FootprintError(file, line, f"it is no CSV from here on: {error}") from error
        if row is None:
            return
        if not row:
            continue
        if len(row) != len(head):
            raise FootprintError(file, line, f"it has {len(row)} fields, and the header {len(head)}: export it anew")
        count += 1
        _not_too_many(file, line, count)
        yield line, dict(zip(head, row, strict=True))


def _json(file: Path, first: tuple[int, str], lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, Record]]:
    """One object a line; or one value in all, a list of objects or an object that has one under `value`."""
    try:
        value = _parsed(first[1])
    except _UNREADABLE:
        yield from _one_json(file, first, lines)
        return
    count = 0
    for number, text in _after(first, lines):
        if number > first[0]:
            if not text.strip():
                continue
            try:
                value = _parsed(text)
            except _UNREADABLE as error:
                raise FootprintError(file, number, f"it is no JSON: {said(error)}") from error
        for record in _objects(file, number, value):
            count += 1
            _not_too_many(file, number, count)
            yield number, record


def _one_json(file: Path, first: tuple[int, str], lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, Record]]:
    parts, size = [first[1]], len(first[1])
    for number, text in lines:
        size += len(text)
        if size > LONGEST_LINE * _JSON_LINES:
            most = f"{LONGEST_LINE * _JSON_LINES >> 20} MiB"
            raise FootprintError(file, number, f"as one JSON value {most} are read: write an object a line")
        parts.append(text)
    try:
        value = _parsed("".join(parts))
    except json.JSONDecodeError as error:
        raise FootprintError(file, error.lineno, f"it is no JSON: {error.msg}") from error
    except _UNREADABLE as error:
        raise FootprintError(file, 1, f"it is no JSON: {said(error)}") from error
    for record in _objects(file, first[0], value):
        yield first[0], record


def _after(first: tuple[int, str], lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield first
    yield from lines


def _parsed(text: str) -> Any:  # noqa: ANN401 - any JSON
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _objects(file: Path, number: int, value: object) -> Iterator[Record]:
    if isinstance(value, dict) and isinstance(value.get("value"), list):
        if value.get("skipToken"):
            raise FootprintError(file, number, "it is one page of several: ask for all by its skipToken, and join them")
        value = value["value"]
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, dict):
            raise FootprintError(file, number, f"{each!r:.40} stands where an object does")
        yield _flat(file, number, each)


def _flat(file: Path, number: int, value: Record, depth: int = 1) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    if depth > DEEPEST:
        raise FootprintError(file, number, "its objects are nested too deep for any export")
    for name, each in value.items():
        if isinstance(each, dict):
            flat |= {f"{name}.{inner}": found for inner, found in _flat(file, number, each, depth + 1).items()}
        else:
            flat[name] = each
    return flat


def _parquet(file: Path) -> tuple[tuple[str, ...], Iterator[tuple[int, Record]]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise FootprintError(file, 1, "Parquet needs pyarrow: pip install 'carbonfleet[parquet]'") from error
    try:
        opened = pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise FootprintError(file, 1, f"it is no Parquet: {said(error)}") from error
    _not_too_many(file, 1, opened.metadata.num_rows)
    size = sum(opened.metadata.row_group(number).total_byte_size for number in range(opened.num_row_groups))
    if size > MOST_BYTES:
        raise FootprintError(file, 1, _TOO_LARGE)
    names = tuple(column.path.replace(".list.element", "") for column in opened.schema)

    def rows() -> Iterator[tuple[int, Record]]:
        number = 0
        try:
            for batch in opened.iter_batches(1_000):
                for row in batch.to_pylist():
                    number += 1
                    yield number, _flat(file, number, row)
        except (pa.ArrowException, OSError) as error:
            raise FootprintError(file, number + 1, f"it is no Parquet from here on: {said(error)}") from error

    return names, rows()


def _not_too_many(file: Path, line: int, count: int) -> None:
    if count > MOST_ROWS:
        raise FootprintError(file, line, f"it has more than {MOST_ROWS} rows: export fewer months")
