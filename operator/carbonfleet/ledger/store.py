"""The ledger's file: lines are added and never changed."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

import sqlalchemy as sa

from carbonfleet.ledger.entry import FIELDS, Entry, EntryKind

_TIMES: Final = ("submitted_at", "start", "end", "recorded_at")
_TYPES: Final[dict[str, sa.types.TypeEngine[Any]]] = {
    **dict.fromkeys(("attempt", "gpus"), sa.Integer()),
    **dict.fromkeys(("settled",), sa.Boolean()),
    **dict.fromkeys(_TIMES, sa.Float()),
    **dict.fromkeys(
        (
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
        ),
        sa.Float(53),
    ),
}
_METADATA: Final = sa.MetaData()
_ENTRIES: Final = sa.Table(
    "entries",
    _METADATA,
    *(sa.Column(name, _TYPES.get(name, sa.Text()), primary_key=name == "id") for name in FIELDS),
    sa.Index("entries_by_job", "job_uid"),
    sa.Index("entries_by_end", "end"),
)
_APPEND_ONLY: Final = (
    """CREATE TRIGGER IF NOT EXISTS entries_never_change BEFORE UPDATE ON entries
       BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS entries_never_go BEFORE DELETE ON entries
       BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
)


@dataclass(frozen=True, slots=True)
class Query:
    """Which attempts a report is about; what is left empty does not limit it."""

    job_uid: str = ""
    namespace: str = ""
    sweep: str = ""
    since: datetime | None = None
    """Attempts that ended at or after."""
    until: datetime | None = None


class Ledger:
    """Append-only store of entries. `url` is SQLAlchemy's; `sqlite:///file` for a file."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url)
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _durable)
        _METADATA.create_all(self._engine)
        if self._engine.dialect.name == "sqlite":
            with self._engine.begin() as connection:
                for statement in _APPEND_ONLY:
                    connection.execute(sa.text(statement))

    @classmethod
    def at(cls, file: Path) -> "Ledger":
        """A ledger in a SQLite file, made with its folder when missing."""
        file.parent.mkdir(parents=True, exist_ok=True)
        return cls(f"sqlite:///{file}")

    def record(self, entry: Entry) -> bool:
        """Add a line, durable when this returns; False when a line of this id stood there already."""
        return self.record_all([entry]) == 1

    def record_all(self, entries: Iterable[Entry]) -> int:
        """Add lines in one transaction; how many were new."""
        statement = _insert(self._engine.dialect.name)
        with self._engine.begin() as connection:
            return sum(connection.execute(statement, _row(entry)).rowcount for entry in entries)

    def entries(self, query: Query | None = None) -> Iterator[Entry]:
        """Every line of the attempts asked for, in the order of their ends, corrections included."""
        statement = _where(sa.select(_ENTRIES), query or Query()).order_by(_ENTRIES.c.end, _ENTRIES.c.id)
        with self._engine.connect() as connection:
            for row in connection.execute(statement):
                yield _entry(row._mapping)

    def attempts(self, query: Query | None = None) -> list[Entry]:
        """One line for each attempt: its latest settlement, or else its first account."""
        latest: dict[str, Entry] = {}
        for entry in self.entries(query):
            known = latest.get(entry.placement_id)
            if known is None or (entry.kind is EntryKind.SETTLEMENT and entry.recorded_at >= known.recorded_at):
                latest[entry.placement_id] = entry
        return list(latest.values())

    def export(self, out: IO[str]) -> int:
        """Write every line as JSON, one a line, lossless; how many."""
        lines = 0
        for entry in self.entries():
            out.write(json.dumps(_row(entry), sort_keys=True) + "\n")
            lines += 1
        return lines

    def load(self, lines: Iterable[str]) -> int:
        """Read what `export` wrote; lines that are here already add nothing. How many were new."""
        return self.record_all(_entry(json.loads(line)) for line in lines if line.strip())

    def close(self) -> None:
        """Let the database go."""
        self._engine.dispose()


def _durable(connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's own type
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA busy_timeout=10000")


def _insert(dialect: str) -> sa.sql.dml.Insert:
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as postgres_insert

        return postgres_insert(_ENTRIES).on_conflict_do_nothing(index_elements=["id"])
    return sa.insert(_ENTRIES).prefix_with("OR IGNORE")


def _where(statement: sa.Select[Any], query: Query) -> sa.Select[Any]:
    columns = _ENTRIES.c
    for name in ("job_uid", "namespace", "sweep"):
        if value := getattr(query, name):
            statement = statement.where(columns[name] == value)
    if query.since is not None:
        statement = statement.where(columns.end >= query.since.timestamp())
    if query.until is not None:
        statement = statement.where(columns.end < query.until.timestamp())
    return statement


def _row(entry: Entry) -> dict[str, Any]:
    values = asdict(entry)
    values["kind"] = entry.kind.value
    return values | {name: values[name].timestamp() for name in _TIMES}


def _entry(row: Any) -> Entry:  # noqa: ANN401 - a mapping of either origin
    values = {name: row[name] for name in FIELDS}
    values["kind"] = EntryKind(values["kind"])
    values |= {name: datetime.fromtimestamp(values[name], UTC) for name in _TIMES}
    return Entry(**values)
