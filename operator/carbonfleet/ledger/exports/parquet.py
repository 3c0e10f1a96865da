"""Apache Parquet, with the columns of the CSV and types of their own; needs the extra `parquet`."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Final

from carbonfleet.ledger.entry import Entry
from carbonfleet.ledger.exports.attempts import COLUMNS, ExportError, rows
from carbonfleet.ledger.exports.market import MarketFactors

_ROWS_AT_ONCE: Final = 20_000


def write_parquet(file: Path, entries: Iterable[Entry], factors: MarketFactors) -> None:
    """Write a file. Raises ExportError where pyarrow is not installed, OSError."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ExportError("Parquet needs pyarrow: pip install 'carbonfleet[parquet]'") from error
    kinds = {
        "text": pa.string(),
        "whole": pa.int64(),
        "number": pa.float64(),
        "flag": pa.bool_(),
        "time": pa.timestamp("us", tz="UTC"),
    }
    schema = pa.schema([(column.name, kinds[column.kind]) for column in COLUMNS])
    remaining = rows(entries, factors)
    with file.open("wb") as out, pq.ParquetWriter(out, schema) as writer:
        while chunk := list(islice(remaining, _ROWS_AT_ONCE)):
            values: list[tuple[Any, ...]] = list(zip(*chunk, strict=True))
            arrays = [pa.array(each, field.type) for each, field in zip(values, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
