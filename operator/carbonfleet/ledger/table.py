"""The ledger's one table, and how an entry becomes a row of it and back; SQLite or PostgreSQL."""

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Engine
from sqlalchemy.schema import CreateIndex, CreateTable

from carbonfleet.ledger.entry import DEFAULTS, FIELDS, Entry, EntryKind
from carbonfleet.sqlite_files import share

_TIMES: Final = ("submitted_at", "start", "end", "recorded_at")
_NUMBERS: Final = (
    "energy_kwh",
    "energy_uncertainty",
    "pue",
    "operational_grams",
    "transfer_grams",
    "embodied_grams",
    "grams",
    "grams_per_kwh",
    "baseline_grams",
    "same_spoke_grams",
    "best_static_grams",
    "cost_usd",
    "baseline_pue",
    "best_static_pue",
)
_TYPES: Final[Mapping[str, sa.types.TypeEngine[Any]]] = MappingProxyType(
    {
        **dict.fromkeys(("attempt", "gpus"), sa.Integer()),
        **dict.fromkeys(("settled",), sa.Boolean()),
        **dict.fromkeys((*_TIMES, *_NUMBERS), sa.Float(53)),
    }
)
_METADATA: Final = sa.MetaData()
_LOCK: Final = 0x1ED6E7
"""Any number that only ledgers take."""
ENTRIES: Final = sa.Table(
    "entries",
    _METADATA,
    *(sa.Column(name, _TYPES.get(name, sa.Text()), primary_key=name == "id") for name in FIELDS),
    sa.Index("entries_by_job", "job_uid"),
    sa.Index("entries_by_end", "end"),
    sa.Index("entries_by_placement", "placement_id", "kind"),
)
_APPEND_ONLY: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "sqlite": tuple(
            f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {event} ON entries "
            "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
            for name, event in (("entries_never_change", "UPDATE"), ("entries_never_go", "DELETE"))
        ),
        "postgresql": (
            "CREATE OR REPLACE FUNCTION entries_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'integrity_constraint_violation'; "
            "END $$",
            "CREATE OR REPLACE TRIGGER entries_never_change BEFORE UPDATE OR DELETE OR TRUNCATE ON entries "
            "FOR EACH STATEMENT EXECUTE FUNCTION entries_append_only()",
        ),
    }
)
_UPSERTS: Final[Mapping[str, Any]] = MappingProxyType({"sqlite": sqlite.insert, "postgresql": postgresql.insert})


def prepare(engine: Engine) -> None:
    """Make the table where there is none, add columns that an older version lacks, refuse changes of lines."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # IF NOT EXISTS is no help there against another that makes it too.
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        connection.execute(CreateTable(ENTRIES, if_not_exists=True))
        _add_missing(connection)
        for index in ENTRIES.indexes:
            connection.execute(CreateIndex(index, if_not_exists=True))
        for statement in _APPEND_ONLY[engine.dialect.name]:
            connection.execute(sa.text(statement))


def _add_missing(connection: sa.Connection) -> None:
    present = {column["name"] for column in sa.inspect(connection).get_columns(ENTRIES.name)}
    for column in ENTRIES.columns:
        if column.name not in present:
            kind, default = column.type.compile(connection.dialect), DEFAULTS[column.name]
            literal = f"'{default}'" if isinstance(default, str) else default
            connection.execute(sa.text(f'ALTER TABLE entries ADD COLUMN "{column.name}" {kind} DEFAULT {literal}'))


def durable(connection: sqlite3.Connection, _record: object) -> None:
    """What is acknowledged is on the disk; a writer waits for another rather than fail."""
    share(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA mmap_size=268435456")  # A report reads in the order of ends, all over the file.


def insert_once(dialect: str) -> sa.Insert:
    """Add a row unless one of its id is there."""
    statement: sa.Insert = _UPSERTS[dialect](ENTRIES).on_conflict_do_nothing(index_elements=["id"])
    return statement


def row_of(entry: Entry) -> dict[str, Any]:
    """An entry as a row; times as seconds since the epoch, exact to the microsecond."""
    values = {name: getattr(entry, name) for name in FIELDS}
    values["kind"] = entry.kind.value
    return values | {name: values[name].timestamp() for name in _TIMES}


def entry_of(row: Mapping[str, Any]) -> Entry:
    """The way back. Raises KeyError, TypeError, ValueError for what is no row of a ledger."""
    values = {name: row[name] if name not in DEFAULTS else row.get(name, DEFAULTS[name]) for name in FIELDS}
    values["kind"] = EntryKind(values["kind"])
    values["settled"] = bool(values["settled"])
    values |= {name: datetime.fromtimestamp(values[name], UTC) for name in _TIMES}
    return Entry(**values)
