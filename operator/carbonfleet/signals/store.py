"""The history of every zone, kept in SQLite or PostgreSQL through the same code."""

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from sqlite3 import Connection
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    CompoundSelect,
    Float,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    Text,
    create_engine,
    delete,
    event,
    make_url,
    select,
    union,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import Issue
from carbonfleet.signals.reading import Kind, Reading, family, unit_of
from carbonfleet.signals.source import Batch
from carbonfleet.sqlite_files import make_private, read_only, share

_log = logging.getLogger(__name__)

_METADATA: Final = MetaData()
_READINGS: Final = Table(
    "signal_readings",
    _METADATA,
    Column("zone", String(130), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("start", BigInteger, primary_key=True),
    Column("source", String(128), primary_key=True),
    # An estimate and the settled value of the same hour are both kept.
    Column("settled", Boolean, primary_key=True),
    Column("step_seconds", Integer, nullable=False),
    Column("value", Float(53), nullable=False),
    Column("fetched_at", BigInteger, nullable=False),
)
_DOUBTS: Final = _READINGS.to_metadata(_METADATA, name="signal_doubts")
"""Readings that wait to be seen a second time."""
_FORECASTS: Final = Table(
    "signal_forecasts",
    _METADATA,
    Column("zone", String(130), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("issued_at", BigInteger, primary_key=True),
    Column("source", String(128), primary_key=True),
    Column("start", BigInteger, nullable=False),
    Column("fetched_at", BigInteger, nullable=False),
    Column("exact", Boolean, nullable=False),
    Column("hourly_values", Text, nullable=False),
)
_ROWS_AT_ONCE: Final = 500
FORECASTS_KEPT: Final = timedelta(days=35)
_AHEAD: Final = timedelta(hours=2)
"""The present hour may be named by its end."""
DOUBTS_KEPT: Final = timedelta(hours=6)
"""How long a value is remembered that was seen once."""


class StoreError(Exception):
    """The history can't be read or written; the message names the database."""


class HistoryStore:
    """Readings and issued forecasts. One thread at a time."""

    def __init__(self, url: str = "sqlite://", *, is_read_only: bool = False) -> None:
        """Raises StoreError. One that is only read is neither made nor changed."""
        try:
            self._engine = _engine(read_only(url) if is_read_only else url)
            if not is_read_only:
                _METADATA.create_all(self._engine)
        except ImportError as error:
            hint = "PostgreSQL needs its driver: pip install 'carbonfleet[postgresql]'"
            raise StoreError(f"the signal history can't be opened: {hint}") from error
        except SQLAlchemyError as error:
            raise StoreError(f"the signal history can't be opened: {_brief(error)}") from error
        self._upsert = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[self._engine.dialect.name]

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def record(self, readings: Iterable[Reading], doubtful: bool = False) -> None:
        """Keep readings, or those in doubt; a repeated one is replaced by what was fetched last. Raises StoreError."""
        rows = {_reading_key(reading): _reading_row(reading) for reading in readings}
        table = _DOUBTS if doubtful else _READINGS
        self._write(table, list(rows.values()), ("step_seconds", "value", "fetched_at"))

    def record_forecast(self, zone: str, kind: Kind, issue: Issue) -> None:
        """Keep an issued forecast. Raises StoreError."""
        row = _forecast_row(zone, kind, issue)
        self._write(_FORECASTS, [row], ("start", "fetched_at", "exact", "hourly_values"))

    def readings(
        self, zone: str, kind: Kind, start: datetime, end: datetime, doubtful: bool = False
    ) -> tuple[Reading, ...]:
        """All that begin in [start, end), or those in doubt, oldest first, of every source. Raises StoreError."""
        table = _DOUBTS if doubtful else _READINGS
        columns, (since, until) = table.c, (_seconds(start), _seconds(end))
        query = (
            select(table)
            .where(columns.zone == zone, columns.kind == kind.value)
            .where(columns.start >= since, columns.start < until)
            .order_by(columns.start, columns.settled, columns.fetched_at, columns.source)
        )
        return tuple(_reading(row, kind) for row in self._read(query))

    def forecasts(self, zone: str, kind: Kind, since: datetime) -> tuple[Issue, ...]:
        """The forecasts issued since then, oldest first, of every source. Raises StoreError."""
        columns = _FORECASTS.c
        query = (
            select(_FORECASTS)
            .where(columns.zone == zone, columns.kind == kind.value, columns.issued_at >= _seconds(since))
            .order_by(columns.issued_at, columns.source)
        )
        return tuple(_issue(row) for row in self._read(query))

    def sources(self) -> tuple[str, ...]:
        """Whoever said something that is kept, by name. Raises StoreError."""
        names = union(select(_READINGS.c.source), select(_FORECASTS.c.source))
        return tuple(sorted(str(row["source"]) for row in self._read(names)))

    def forget(self, now: datetime) -> None:
        """Drop old forecasts and what is no longer in doubt; readings are kept for good. Raises StoreError."""
        try:
            with self._engine.begin() as connection:
                connection.execute(delete(_FORECASTS).where(_FORECASTS.c.issued_at < _seconds(now - FORECASTS_KEPT)))
                connection.execute(delete(_DOUBTS).where(_DOUBTS.c.start < _seconds(now - DOUBTS_KEPT)))
        except SQLAlchemyError as error:
            raise StoreError(f"the signal history can't be written: {_brief(error)}") from error

    def _read(self, query: Select[Any] | CompoundSelect[Any]) -> Sequence[Mapping[str, Any]]:
        try:
            with self._engine.connect() as connection:
                return [dict(row) for row in connection.execute(query).mappings()]
        except SQLAlchemyError as error:
            raise StoreError(f"the signal history can't be read: {_brief(error)}") from error

    def _write(self, table: Table, rows: Sequence[Mapping[str, Any]], replaced: Sequence[str]) -> None:
        insert: Any = self._upsert(table)
        statement = insert.on_conflict_do_update(
            index_elements=[column.name for column in table.primary_key],
            set_={name: insert.excluded[name] for name in replaced},
        )
        try:
            with self._engine.begin() as connection:
                for first in range(0, len(rows), _ROWS_AT_ONCE):
                    connection.execute(statement, list(rows[first : first + _ROWS_AT_ONCE]))
        except SQLAlchemyError as error:
            raise StoreError(f"the signal history can't be written: {_brief(error)}") from error


def _engine(url: str) -> Engine:
    if make_url(url).get_backend_name() not in {"sqlite", "postgresql"}:
        raise StoreError("the signal history is kept in SQLite or PostgreSQL, nowhere else")
    options: dict[str, Any] = {}
    if url in {"sqlite://", "sqlite:///:memory:"}:
        options = {"poolclass": StaticPool}
    if url.startswith("sqlite"):
        options["connect_args"] = {"check_same_thread": False}
    engine = create_engine(url, pool_pre_ping=True, **options)
    if engine.dialect.name == "sqlite":
        make_private(engine.url.database)
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Connection, _record: object) -> None:
    share(connection)
    connection.execute("PRAGMA synchronous=NORMAL")


def _brief(error: Exception) -> str:
    """The cause, without the statement and its parameters, and without the URL's password."""
    return str(getattr(error, "orig", None) or error).splitlines()[0][:200]


def _seconds(moment: datetime) -> int:
    return math.floor(moment.timestamp())


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _reading_key(reading: Reading) -> tuple[object, ...]:
    return reading.zone, reading.kind, reading.start, reading.source, reading.settled


def _reading_row(reading: Reading) -> dict[str, Any]:
    return {
        "zone": reading.zone,
        "kind": reading.kind.value,
        "start": _seconds(reading.start),
        "source": reading.source,
        "settled": reading.settled,
        "step_seconds": int(reading.step.total_seconds()),
        "value": reading.value,
        "fetched_at": _seconds(reading.fetched_at),
    }


def _reading(row: Mapping[str, Any], kind: Kind) -> Reading:
    return Reading(
        row["zone"],
        _moment(row["start"]),
        timedelta(seconds=row["step_seconds"]),
        row["value"],
        kind,
        unit_of(kind),
        row["source"],
        row["settled"],
        _moment(row["fetched_at"]),
    )


def _forecast_row(zone: str, kind: Kind, issue: Issue) -> dict[str, Any]:
    values = [None if math.isnan(value) else value for value in issue.grams_per_kwh.tolist()]
    return {
        "zone": zone,
        "kind": kind.value,
        "issued_at": _seconds(issue.issued_at),
        "source": issue.source,
        "start": _seconds(issue.start),
        "fetched_at": _seconds(issue.fetched_at),
        "exact": issue.exact,
        "hourly_values": json.dumps(values),
    }


def _issue(row: Mapping[str, Any]) -> Issue:
    return Issue.of_values(
        source=row["source"],
        issued_at=_moment(row["issued_at"]),
        fetched_at=_moment(row["fetched_at"]),
        start=_moment(row["start"]),
        values=json.loads(row["hourly_values"]),
        exact=row["exact"],
    )


class Archive:
    """What was read and issued, of the declared sources alone."""

    def __init__(self, store: HistoryStore, sources: Sequence[str]) -> None:
        self._store = store
        self.sources = tuple(sources)
        self._families = [family(source) for source in sources]
        self._forgotten_at: datetime | None = None
        self.problem = ""
        """The database's last failure in words; empty while it works."""

    def close(self) -> None:
        """Give the database back."""
        self._store.close()

    def keep(self, batch: Batch, issue: Issue | None = None) -> None:
        """Record an answer; of a forecast, `issue`."""
        try:
            if issue is not None:
                self._store.record_forecast(batch.ask.zone, batch.ask.kind, issue)
                self._forget(batch.fetched_at)
            else:
                self._store.record(batch.readings)
        except StoreError as error:
            self._failed(error)
        else:
            self.problem = ""

    def readings(self, zone: str, kind: Kind, start: datetime, end: datetime) -> tuple[Reading, ...]:
        """All that declared sources said of [start, end), oldest first."""
        try:
            found = self._store.readings(zone, kind, start, end)
        except StoreError as error:
            self._failed(error)
            return ()
        return tuple(reading for reading in found if family(reading.source) in self._families)

    def doubt(self, readings: Sequence[Reading]) -> None:
        """Remember values over a restart that are not believed before they are seen twice."""
        try:
            if readings:
                self._store.record(readings, doubtful=True)
        except StoreError as error:
            self._failed(error)

    def doubted(self, zone: str, kind: Kind, now: datetime) -> tuple[Reading, ...]:
        """Those of the last hours that were not believed since."""
        believed = {(each.source, each.start) for each in self.readings(zone, kind, now - DOUBTS_KEPT, now + _AHEAD)}
        try:
            found = self._store.readings(zone, kind, now - DOUBTS_KEPT, now + _AHEAD, doubtful=True)
        except StoreError as error:
            self._failed(error)
            return ()
        return tuple(each for each in found if (each.source, each.start) not in believed)

    def best(self, zone: str, kind: Kind, start: datetime, end: datetime) -> tuple[Reading, ...]:
        """For each time one reading: of the first declared source, settled before estimated, the newest."""
        chosen: dict[datetime, Reading] = {}
        for reading in self.readings(zone, kind, start, end):
            known = chosen.get(reading.start)
            if known is None or self._standing(reading) >= self._standing(known):
                chosen[reading.start] = reading
        return _without_overlap(chosen[at] for at in sorted(chosen))

    def issues(self, zone: str, kind: SignalKind, since: datetime) -> tuple[Issue, ...]:
        """The forecasts of declared sources that were issued since then, oldest first."""
        try:
            found = self._store.forecasts(zone, kind, since)
        except StoreError as error:
            self._failed(error)
            return ()
        return tuple(issue for issue in found if family(issue.source) in self._families)

    def _standing(self, reading: Reading) -> tuple[int, bool, datetime]:
        return -self._families.index(family(reading.source)), reading.settled, reading.fetched_at

    def _forget(self, now: datetime) -> None:
        """Once a day."""
        if self._forgotten_at is None or (now - self._forgotten_at).days >= 1:
            self._forgotten_at = now
            self._store.forget(now)

    def _failed(self, error: StoreError) -> None:
        if not self.problem:
            _log.error("%s; planning goes on without it", error)
        self.problem = str(error)


def _without_overlap(readings: Iterable[Reading]) -> tuple[Reading, ...]:
    """Where sources of different steps meet, the earlier reading holds to its end."""
    kept: list[Reading] = []
    for reading in readings:
        if not kept or reading.start >= kept[-1].end:
            kept.append(reading)
    return tuple(kept)
