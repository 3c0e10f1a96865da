"""The ledger's file or database: lines are added and never changed."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from carbonfleet.faults import said
from carbonfleet.ledger.chain import START, Anchor, ChainedRow, Link, link_after
from carbonfleet.ledger.entry import EVIDENCE_FIELDS, FIELDS, Entry, EntryKind, LedgerError
from carbonfleet.ledger.evidence import Document, digest_of
from carbonfleet.ledger.export import UNREADABLE, as_line, exported, unreadable
from carbonfleet.ledger.store.sums import By, Sums, sums_of, sums_statement
from carbonfleet.ledger.store.table import (
    ENTRIES,
    EVIDENCE,
    LINKS,
    chain_rows,
    durable,
    entry_of,
    first_of,
    head_of,
    insert_once,
    is_sound,
    prepare,
    row_of,
    writes_alone,
)
from carbonfleet.private_files import make_folder
from carbonfleet.sqlite_files import make_private, read_only

_ROWS_AT_ONCE: Final = 500
Item = TypeVar("Item")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Query:
    """Which attempts a report is about; what is left empty does not limit it."""

    job_uid: str = ""
    namespace: str = ""
    sweep: str = ""
    since: datetime | None = None
    """Attempts that ended at or after."""
    until: datetime | None = None
    job: str = ""
    """By name."""


class Ledger:
    """Append-only store of entries, safe to use from several threads.

    `url` is SQLAlchemy's; `sqlite:///file` for a file. Every method raises LedgerError when the database
    fails.
    """

    def __init__(self, url: str, *, is_read_only: bool = False) -> None:
        """One that is only read is neither made nor changed."""
        with _told("the ledger can't be opened"):
            if sa.make_url(url).get_backend_name() not in {"sqlite", "postgresql"}:
                raise LedgerError("the ledger is kept in SQLite or PostgreSQL, nowhere else")
            self._engine = sa.create_engine(read_only(url) if is_read_only else url)
            if self._engine.dialect.name == "sqlite":
                make_private(self._engine.url.database)
                sa.event.listen(self._engine, "connect", durable)
            if not is_read_only:
                prepare(self._engine)
        self._lock = threading.Lock()
        self._version = 0

    @classmethod
    def at(cls, file: Path) -> "Ledger":
        """A ledger in a SQLite file, made with its folder when missing."""
        make_folder(file.parent)
        return cls(f"sqlite:///{file}")

    @classmethod
    def existing(cls, address: str, *, is_read_only: bool = False) -> "Ledger":
        """A ledger that must be there: a file, or SQLAlchemy's URL of a database. Raises LedgerError."""
        if "://" in address:
            return cls(address, is_read_only=is_read_only)
        if not Path(address).is_file():
            raise LedgerError(f"there is no ledger at {address}: give --ledger FILE, or the URL of a database")
        return cls(f"sqlite:///{address}", is_read_only=is_read_only)

    @property
    def version(self) -> int:
        """Rises when this process adds lines; the figures of one version never change."""
        return self._version

    def try_to_write(self) -> None:
        """Add nothing, as lines would be added: raises LedgerError where those could not."""
        with self._writing() as connection:
            none = sa.select(ENTRIES).where(sa.false())
            connection.execute(sa.insert(ENTRIES).from_select(ENTRIES.c.keys(), none))

    def record(self, entry: Entry, evidence: Iterable[Document] = ()) -> bool:
        """Add a line with what it is derived from; False when the line of this attempt stood there already.

        It is durable when this returns.
        """
        return self.record_all([entry], evidence) == 1

    def record_all(self, entries: Iterable[Entry], evidence: Iterable[Document] = ()) -> int:
        """Add lines in one transaction; how many were new. A repeat adds nothing, whatever its figures.

        All or nothing: raises LedgerError where an id is here already for another attempt.
        """
        with self._writing() as connection:
            added = 0
            for chunk in _chunks(entries):
                fresh = self._insert(connection, [row_of(entry) for entry in chunk])
                if fresh < len(chunk):
                    _refuse_other_attempts(connection, chunk)
                added += fresh
            if added:
                self._keep(connection, evidence)
        self._changed(added)
        return added

    def entries(self, query: Query | None = None) -> Iterator[Entry]:
        """Every line of the attempts asked for, in the order of their ends, corrections included."""
        return self._read(_where(sa.select(ENTRIES), query or Query()).order_by(ENTRIES.c.end, ENTRIES.c.id))

    def attempts(self, query: Query | None = None) -> list[Entry]:
        """One line for each attempt: its latest settlement, or else its first account."""
        statement = _where(sa.select(ENTRIES).where(self._is_latest()), query or Query())
        return list(self._read(statement.order_by(ENTRIES.c.end, ENTRIES.c.id)))

    def sums(self, by: By, query: Query | None = None) -> list[Sums]:
        """The figures of one line for each attempt, added up by group and signal, in their order."""
        grouped = sums_statement(by, self._engine.dialect.name)
        statement = _where(grouped.where(self._is_latest(), self._is_sound()), query or Query())
        with _told("the ledger can't be read"), self._engine.connect() as connection:
            found = [sums_of(row._asdict()) for row in connection.execute(statement)]
        # Here, since databases sort text each in their own way.
        return sorted(found, key=lambda sums: (sums.group, sums.job_uid, sums.signal))

    def unsettled(self, since: datetime, until: datetime, after: tuple[datetime, str], limit: int) -> list[Entry]:
        """Attempts that ended in [since, until) and were never settled, by end and id, those past `after`."""
        end, settlement = ENTRIES.c.end, ENTRIES.alias("settlement")
        moment, last = after[0].timestamp(), after[1]
        settled = sa.exists().where(
            settlement.c.placement_id == ENTRIES.c.placement_id,
            settlement.c.kind == EntryKind.SETTLEMENT.value,
        )
        statement = (
            sa.select(ENTRIES)
            .where(ENTRIES.c.kind == EntryKind.ATTEMPT.value, end >= since.timestamp(), end < until.timestamp())
            .where(sa.or_(end > moment, sa.and_(end == moment, ENTRIES.c.id > last)), ~settled)
            .order_by(end, ENTRIES.c.id)
            .limit(limit)
        )
        return list(self._read(statement))

    def run_lengths(self, since: datetime, limit: int) -> list[tuple[str, str, int, float]]:
        """Of runs that were trained to their end, at or after `since`: profile, GPU type, GPUs and hours.

        The newest `limit`, oldest first.
        """
        columns = ENTRIES.c
        wanted = columns.profile, columns.gpu_type, columns.gpus, columns.run_hours
        return [tuple(row) for row in self._learned(wanted, since, limit)]

    def ingress(self, since: datetime, limit: int) -> list[tuple[str, float]]:
        """Of attempts that ended at or after `since` and fetched their data from elsewhere: cluster and GiB an hour.

        The newest `limit`, oldest first.
        """
        wanted = ENTRIES.c.cluster, ENTRIES.c.ingress_gib_per_hour
        return [tuple(row) for row in self._learned(wanted, since, limit)]

    def _learned(self, wanted: Sequence[sa.Column[Any]], since: datetime, limit: int) -> Sequence[sa.Row[Any]]:
        """Some columns of attempts of which the last of them is known."""
        columns = ENTRIES.c
        statement = (
            sa.select(*wanted)
            .where(columns.kind == EntryKind.ATTEMPT.value, columns.end >= since.timestamp(), wanted[-1] > 0)
            .where(self._is_sound())
            .order_by(columns.end.desc(), columns.id.desc())
            .limit(limit)
        )
        with _told("the ledger can't be read"), self._engine.connect() as connection:
            return connection.execute(statement).all()[::-1]

    def broken(self) -> Iterator[str]:
        """The ids of lines that hold what none can, and are left out of all others' figures."""
        with _told("the ledger can't be read"), self._engine.connect() as connection:
            unsound = sa.not_(sa.func.coalesce(self._is_sound(), sa.false()))
            yield from map(str, connection.execute(sa.select(ENTRIES.c.id).where(unsound)).scalars())

    def head(self) -> Anchor | None:
        """The chain's last link, which vouches for every line until now; None while there is none."""
        with _told("the ledger can't be read"), self._engine.connect() as connection:
            last, first = head_of(connection), first_of(connection)
        return Anchor.of(first, last) if first is not None and last is not None else None

    def chained(self) -> Iterator[ChainedRow]:
        """Every line in the order of the chain, then what is in none."""
        fields = (ENTRIES.c[name] for name in FIELDS)
        both = sa.select(LINKS.c.number, LINKS.c.digest, *fields).join_from(
            LINKS, ENTRIES, LINKS.c.entry == ENTRIES.c.id, isouter=True
        )
        loose = sa.select(ENTRIES).where(ENTRIES.c.id.not_in(sa.select(LINKS.c.entry))).order_by(ENTRIES.c.id)
        with _told("the ledger can't be read"), self._engine.connect() as connection:
            for number, digest, *values in connection.execute(both.order_by(LINKS.c.number)):
                row = dict(zip(FIELDS, values, strict=True))
                yield ChainedRow(Link(number, str(digest)), row if row["id"] else None)
            for found in connection.execute(loose).mappings():
                yield ChainedRow(None, dict(found))

    def documents(self, digests: Iterable[str]) -> dict[str, str]:
        """The evidence of these digests, as far as it is here."""
        statement = sa.select(EVIDENCE).where(EVIDENCE.c.digest.in_(set(digests)))
        with _told("the ledger can't be read"), self._engine.connect() as connection:
            return {row.digest: row.body for row in connection.execute(statement)}

    def export(self, out: IO[str], left_out: Callable[[str], object] = logger.warning) -> int:
        """Write every line as JSON with its link, one a line, and each piece of evidence before the first line that
        names one; lossless, but for what is no JSON and is told to `left_out`. How many lines were written.
        """
        lines, told = 0, set[str]()
        for line in self.chained():
            row = line.row or {}
            named = {digest for name in EVIDENCE_FIELDS if (digest := row.get(name))} - told
            try:
                evidence = [as_line(Document(*each)) for each in sorted(self.documents(named).items())]
                text = as_line(line)
            except UNREADABLE as error:
                left_out(f"{row.get('id')}: {said(error)}")
                continue
            out.writelines(f"{each}\n" for each in (*evidence, text))
            told |= named
            lines += 1
        return lines

    def load(self, lines: Iterable[str]) -> int:
        """Read what `export` wrote; lines that are here already add nothing. How many were new.

        All or nothing: raises LedgerError, naming the line, for one that is none of a ledger's, and for
        one whose id is here with other figures.
        """
        with self._writing() as connection:
            added = 0
            for parsed in _chunks(_as_entries(lines)):
                entries = [one for one in parsed if isinstance(one, Entry)]
                added += self._insert(connection, [row_of(entry) for entry in entries])
                _refuse_other_figures(connection, entries)
                self._keep(connection, [one for one in parsed if isinstance(one, Document)])
        self._changed(added)
        return added

    def close(self) -> None:
        """Let the database go."""
        self._engine.dispose()

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with _told("the ledger can't be written"), self._engine.begin() as connection:
            writes_alone(connection)
            yield connection

    def _insert(self, connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> int:
        # One id twice in one statement is left to the database row by row.
        unique = {row["id"]: row for row in reversed(rows)}
        if not unique:
            return 0
        statement = insert_once(self._engine.dialect.name, ENTRIES).returning(ENTRIES.c.id)
        fresh = {row.id for row in connection.execute(statement, list(unique.values()))}
        added = [row for row in reversed(unique.values()) if row["id"] in fresh]
        chain_rows(connection, added)
        return len(added)

    def _keep(self, connection: sa.Connection, evidence: Iterable[Document]) -> None:
        rows = [{"digest": each.digest, "body": each.text} for each in evidence]
        if rows:
            connection.execute(insert_once(self._engine.dialect.name, EVIDENCE), rows)

    def _read(self, statement: sa.Select[Any]) -> Iterator[Entry]:
        with _told("the ledger can't be read"), self._engine.connect() as connection:
            for row in connection.execute(statement.where(self._is_sound())):
                yield entry_of(row._asdict())

    def _is_sound(self, table: sa.FromClause = ENTRIES) -> sa.ColumnElement[bool]:
        return is_sound(table, self._engine.dialect.name)

    def _is_latest(self) -> sa.ColumnElement[bool]:
        """No later settlement of the same attempt."""
        later, columns = ENTRIES.alias("later"), ENTRIES.c
        newer = sa.or_(
            columns.kind == EntryKind.ATTEMPT.value,
            later.c.recorded_at > columns.recorded_at,
            sa.and_(later.c.recorded_at == columns.recorded_at, later.c.id > columns.id),
        )
        same = later.c.placement_id == columns.placement_id
        return ~sa.exists().where(same, later.c.kind == EntryKind.SETTLEMENT.value, newer, self._is_sound(later))

    def _changed(self, added: int) -> None:
        with self._lock:
            self._version += bool(added)


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise LedgerError(f"{what}: PostgreSQL needs its driver: pip install 'carbonfleet[postgresql]'") from error
    except SQLAlchemyError as error:
        # Neither the statement with its values nor the URL with its password.
        cause = str(getattr(error, "orig", None) or error).splitlines()[0][:200]
        raise LedgerError(f"{what}: {cause}") from error
    except UNREADABLE as error:
        raise LedgerError(f"{what}: {said(error)}") from error


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, _ROWS_AT_ONCE)):
        yield chunk


def _as_entries(lines: Iterable[str]) -> Iterator[Entry | Document]:
    """What an export says. Raises LedgerError for a line that is none, or that does not follow from those before."""
    previous = START
    for number, line in exported(lines):
        try:
            if isinstance(line, Document):
                if digest_of(line.text) != line.digest:
                    raise LedgerError(f"line {number}: the evidence {line.digest} was altered")
                yield line
                continue
            read = entry_of(line.row or {})
            follows = line.link is None or link_after(previous, line.link.number, line.row or {}) == line.link
        except UNREADABLE as error:
            raise unreadable(number, error) from error
        yield read
        if not follows:
            raise LedgerError(f"line {number} is not as it was exported: look with `carbonfleet report verify`")
        previous = line.link.digest if line.link is not None else previous


def _refuse_other_attempts(connection: sa.Connection, entries: Sequence[Entry]) -> None:
    """One id never stands for two attempts: the second would be lost."""
    statement = sa.select(ENTRIES).where(ENTRIES.c.id.in_({entry.id for entry in entries}))
    known = {row.id: _attempt_of(entry_of(row._asdict())) for row in connection.execute(statement)}
    for entry in entries:
        if known[entry.id] != _attempt_of(entry):
            raise LedgerError(
                f"entry {entry.id} is here for another attempt, and that of {entry.namespace}/{entry.job} was not "
                "written: see with `carbonfleet report` which of them ran"
            )


def _attempt_of(entry: Entry) -> tuple[str, str, str, int]:
    return entry.kind.value, entry.placement_id, entry.job_uid, entry.attempt


def _refuse_other_figures(connection: sa.Connection, entries: Sequence[Entry]) -> None:
    """Two ledgers that disagree on an entry must be looked at by a person."""
    statement = sa.select(ENTRIES).where(ENTRIES.c.id.in_([entry.id for entry in entries]))
    known = {row.id: entry_of(row._asdict()) for row in connection.execute(statement)}
    for entry in entries:
        if known[entry.id] != entry:
            raise LedgerError(f"entry {entry.id} is here with other figures; nothing was read")


def _where(statement: sa.Select[Any], query: Query) -> sa.Select[Any]:
    columns = ENTRIES.c
    for name in ("job_uid", "namespace", "sweep", "job"):
        if value := getattr(query, name):
            statement = statement.where(columns[name] == value)
    if query.since is not None:
        statement = statement.where(columns.end >= query.since.timestamp())
    if query.until is not None:
        statement = statement.where(columns.end < query.until.timestamp())
    return statement
