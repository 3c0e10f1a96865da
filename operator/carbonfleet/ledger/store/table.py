"""The ledger's tables, and how an entry becomes a row and back; SQLite or PostgreSQL."""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Engine
from sqlalchemy.schema import CreateIndex, CreateTable

from carbonfleet.ledger.chain import START, Link, link_after
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
    "run_hours",
    "host_kwh",
    "estimated_share",
    "ingress_gib_per_hour",
)
_COUNTS: Final = ("attempt", "gpus")
_OPTIONAL: Final = frozenset({"baseline_grams", "same_spoke_grams", "best_static_grams", "cost_usd"})
_NEVER_NEGATIVE: Final = ("energy_kwh", "host_kwh", "estimated_share", "grams", "pue")
_MOST_FIGURE: Final = 1e15
"""Of grams, kWh and USD: more is a slip, and sums of it would be no numbers."""
_MOST_COUNT: Final = 2**31 - 1
_LAST_SECOND: Final = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
_TYPES: Final[Mapping[str, sa.types.TypeEngine[Any]]] = MappingProxyType(
    {
        **dict.fromkeys(_COUNTS, sa.Integer()),
        **dict.fromkeys(("settled",), sa.Boolean()),
        **dict.fromkeys((*_TIMES, *_NUMBERS), sa.Float(53)),
    }
)
_STORED: Final[Mapping[type, tuple[str, ...]]] = MappingProxyType(
    {sa.Integer: ("integer",), sa.Boolean: ("integer",), sa.Float: ("real", "integer")}
)
"""What SQLite calls the values of a type."""
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
LINKS: Final = sa.Table(
    "chain",
    _METADATA,
    sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
    sa.Column("entry", sa.Text(), nullable=False, unique=True),
    sa.Column("digest", sa.Text(), nullable=False),
)
"""The place of each entry in the chain."""
EVIDENCE: Final = sa.Table(
    "evidence",
    _METADATA,
    sa.Column("digest", sa.Text(), primary_key=True),
    sa.Column("body", sa.Text(), nullable=False),
)
_POSTGRESQL_REFUSAL: Final = (
    "CREATE OR REPLACE FUNCTION entries_append_only() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'integrity_constraint_violation'; "
    "END $$"
)


_UPSERTS: Final[Mapping[str, Any]] = MappingProxyType({"sqlite": sqlite.insert, "postgresql": postgresql.insert})


def prepare(engine: Engine) -> None:
    """Make the table where there is none, add columns that an older version lacks, refuse changes of lines."""
    with engine.begin() as connection:
        # Others may open the same ledger now: what is missing must not be looked for before they are done.
        try:
            writes_alone(connection)
        except sa.exc.OperationalError as error:
            if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY:
                return  # A ledger that can only be read is taken as it is.
            raise
        for table in _METADATA.sorted_tables:
            connection.execute(CreateTable(table, if_not_exists=True))
        _add_missing(connection)
        for index in ENTRIES.indexes:
            connection.execute(CreateIndex(index, if_not_exists=True))
        for statement in _append_only(engine.dialect.name):
            connection.execute(sa.text(statement))
        if head_of(connection) is None:
            _chain_all(connection)


def _append_only(dialect: str) -> list[str]:
    names = [table.name for table in _METADATA.sorted_tables]
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER IF NOT EXISTS {name}_never_{what} BEFORE {event} ON {name} "
            "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
            for name in names
            for what, event in (("change", "UPDATE"), ("go", "DELETE"))
        ]
    return [
        _POSTGRESQL_REFUSAL,
        *(
            f"CREATE OR REPLACE TRIGGER {name}_never_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {name} "
            "FOR EACH STATEMENT EXECUTE FUNCTION entries_append_only()"
            for name in names
        ),
    ]


def _chain_all(connection: sa.Connection) -> None:
    """Chain what stands in a ledger from before there was a chain, as it stands now."""
    order = sa.select(ENTRIES).order_by(ENTRIES.c.recorded_at, ENTRIES.c.id)
    chain_rows(connection, [row._asdict() for row in connection.execute(order)])


def head_of(connection: sa.Connection) -> Link | None:
    """The last link; None in an empty ledger."""
    return _link(connection, LINKS.c.number.desc())


def first_of(connection: sa.Connection) -> Link | None:
    """The first link; None in an empty ledger."""
    return _link(connection, LINKS.c.number)


def _link(connection: sa.Connection, order: sa.ColumnElement[int]) -> Link | None:
    found = connection.execute(sa.select(LINKS).order_by(order).limit(1)).first()
    return None if found is None else Link(found.number, str(found.digest))


def chain_rows(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Give rows that were just added their place after the head. Their transaction is the only one that writes."""
    head, links = head_of(connection) or Link(0, START), []
    for row in rows:
        head = link_after(head.digest, head.number + 1, row)
        links.append({"number": head.number, "entry": row["id"], "digest": head.digest})
    if links:
        connection.execute(LINKS.insert(), links)


def writes_alone(connection: sa.Connection) -> None:
    """Let no other write until the transaction ends, from before the first read on."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _add_missing(connection: sa.Connection) -> None:
    present = {column["name"] for column in sa.inspect(connection).get_columns(ENTRIES.name)}
    for column in ENTRIES.columns:
        if column.name not in present:
            kind, default = column.type.compile(connection.dialect), DEFAULTS[column.name]
            literal = f"'{default}'" if isinstance(default, str) else default
            connection.execute(sa.text(f'ALTER TABLE entries ADD COLUMN "{column.name}" {kind} DEFAULT {literal}'))


def durable(connection: sqlite3.Connection, _record: object) -> None:
    """What is acknowledged is on the disk; a writer waits for another rather than fail; one bad byte ends no read."""
    connection.text_factory = lambda text: str(text, "utf-8", "replace")
    share(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA mmap_size=268435456")  # A report reads in the order of ends, all over the file.


def insert_once(dialect: str, table: sa.Table) -> sa.Insert:
    """Add a row unless one of its key is there."""
    key = [column.name for column in table.primary_key]
    statement: sa.Insert = _UPSERTS[dialect](table).on_conflict_do_nothing(index_elements=key)
    return statement


def row_of(entry: Entry) -> dict[str, Any]:
    """An entry as a row, as a database gives it back; times as seconds since the epoch, exact to the microsecond."""
    values = {name: getattr(entry, name) for name in FIELDS}
    values["kind"] = entry.kind.value
    # SQLite keeps no zero below zero.
    numbers = {name: float(values[name]) + 0.0 for name in _NUMBERS if values[name] is not None}
    return values | numbers | {name: values[name].timestamp() for name in _TIMES}


def entry_of(row: Mapping[str, Any]) -> Entry:
    """The way back. Raises KeyError, TypeError, ValueError for what is no row of a ledger."""
    values = {name: row[name] if name not in DEFAULTS else row.get(name, DEFAULTS[name]) for name in FIELDS}
    for name, value in values.items():
        if not _is_sound(name, value):
            raise ValueError(f"{name} is {value!r:.40}")
    values["kind"] = EntryKind(values["kind"])
    values["settled"] = bool(values["settled"])
    values |= {name: datetime.fromtimestamp(values[name], UTC) for name in _TIMES}
    return Entry(**values)


def _is_sound(name: str, value: object) -> bool:
    """Whether a row may hold this value there; the same for one value as `is_sound`."""
    if value is None:
        return name in _OPTIONAL
    if name == "settled":
        return value in (False, True)
    if name not in _TYPES:
        return isinstance(value, str) and "\0" not in value and value.encode("utf-8", "replace").decode() == value
    if isinstance(value, bool) or not isinstance(value, int if name in _COUNTS else (int, float)):
        return False
    least, most = _range(name)
    return least <= value <= most


def _range(name: str) -> tuple[float, float]:
    if name in _COUNTS:
        return 0, _MOST_COUNT
    if name in _TIMES:
        return 0, _LAST_SECOND
    return (0 if name in _NEVER_NEGATIVE else -_MOST_FIGURE), _MOST_FIGURE


def is_sound(table: sa.FromClause, dialect: str) -> sa.ColumnElement[bool]:
    """Which rows are lines of a ledger: SQLite keeps anything in any column, PostgreSQL numbers that are none."""
    rules = [table.c.end >= table.c.start, table.c.kind.in_([kind.value for kind in EntryKind])]
    for name in FIELDS:
        column = table.c[name]
        fits = [column.is_not(None)]
        if dialect == "sqlite":
            fits = [sa.func.typeof(column).in_(_STORED.get(type(column.type), ("text",)))]
        if name in _TYPES and name != "settled":
            fits.append(column.between(*_range(name)))
        elif name == "settled" and dialect == "sqlite":
            fits.append(sa.cast(column, sa.Integer).in_((0, 1)))
        rules.append(sa.or_(column.is_(None), sa.and_(*fits)) if name in _OPTIONAL else sa.and_(*fits))
    return sa.and_(*rules)
