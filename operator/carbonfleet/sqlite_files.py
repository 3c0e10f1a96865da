"""SQLite files that several processes may open and write at once."""

import random
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from carbonfleet.private_files import make_file

WAIT_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.02


def read_only(url: str) -> str:
    """The address of a database that is only read: of a file of SQLite, one that SQLite neither makes nor writes."""
    scheme, _, file = url.partition("///")
    if scheme != "sqlite:" or not file:
        return url
    return f"sqlite:///file:{quote(file.partition('?')[0])}?mode=ro&uri=true"


def make_private(database: str | None) -> None:
    """Make the file that a database's URL names, whose log takes its mode; SQLite itself tells why it can't be made."""
    if database and database != ":memory:" and not database.startswith("file:"):
        with suppress(OSError):
            make_file(Path(database))


def share(connection: sqlite3.Connection) -> None:
    """Keep a write-ahead log, and let a writer wait for another rather than fail.

    SQLite does not heed its busy timeout where two connections make a file's log in the same moment, so that is tried
    again here. Raises sqlite3.OperationalError when the file stays locked for WAIT_SECONDS.
    """
    connection.execute(f"PRAGMA busy_timeout={round(WAIT_SECONDS * 1000)}")
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - jitter is no secret
        else:
            return
