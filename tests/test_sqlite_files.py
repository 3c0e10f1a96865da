"""SQLite files under several openers at once."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from carbonfleet.sqlite_files import share

OPENERS, FILES = 4, 60


def test_many_that_open_a_new_file_in_one_moment_all_write_to_it(tmp_path):
    barrier = Barrier(OPENERS, timeout=60)

    def write(path):
        connection = sqlite3.connect(path)
        barrier.wait()
        share(connection)
        connection.execute("CREATE TABLE IF NOT EXISTS rows (number)")
        connection.execute("INSERT INTO rows VALUES (1)")
        connection.commit()
        connection.close()

    with ThreadPoolExecutor(OPENERS) as pool:
        for number in range(FILES):
            list(pool.map(write, [tmp_path / str(number)] * OPENERS))
    for number in range(FILES):
        connection = sqlite3.connect(tmp_path / str(number))
        assert connection.execute("SELECT count(*) FROM rows").fetchone() == (OPENERS,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()
