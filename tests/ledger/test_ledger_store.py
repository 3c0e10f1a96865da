"""The ledger's file: nothing acknowledged is lost, nothing counts twice, nothing changes."""

import io
import json
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa
from ledger_values import HOUR, NOON, entry, settled

from carbonfleet.ledger import EntryKind, LedgerError
from carbonfleet.ledger.store import Ledger, Query


def test_what_is_recorded_is_read_back_whole(ledger):
    assert ledger.record(entry())
    assert list(ledger.entries()) == [entry()]
    assert ledger.attempts()[0].saved_grams == 1400.0


def test_a_file_that_is_no_ledger_is_one_clear_error(tmp_path):
    file = tmp_path / "ledger.sqlite"
    file.write_bytes(bytes(range(256)) * 64)
    with pytest.raises(LedgerError, match="the ledger can't be opened: file is not a database"):
        Ledger.at(file)


def test_a_repeat_adds_nothing(ledger):
    assert ledger.record(entry())
    assert not ledger.record(entry(grams=1.0))
    assert [line.grams for line in ledger.entries()] == [100.0]


@pytest.mark.parametrize("other", [{"job_uid": "uid-2"}, {"placement_id": "other"}, {"attempt": 2}])
def test_an_id_that_is_here_for_another_attempt_is_an_error_and_nothing_is_written(ledger, other):
    ledger.record(entry())
    with pytest.raises(LedgerError, match="attempt:1 is here for another attempt"):
        ledger.record_all([entry(2), entry(**other)])
    assert list(ledger.entries()) == [entry()]


def test_one_id_twice_in_one_batch_is_an_error_where_the_attempts_differ(ledger):
    assert ledger.record_all([entry(), entry()]) == 1
    with pytest.raises(LedgerError, match="attempt:3 is here for another attempt"):
        ledger.record_all([entry(3), entry(3, job_uid="uid-2")])
    assert list(ledger.entries()) == [entry()]


def test_a_correction_stands_beside_what_it_corrects(ledger):
    later = settled(entry(), grams=120.0)
    ledger.record(entry())
    ledger.record(later)

    assert list(ledger.entries()) == [entry(), later]
    assert ledger.attempts() == [later]


def test_lines_can_neither_be_changed_nor_removed(ledger, ledger_url):
    ledger.record(entry())
    engine = sa.create_engine(ledger_url)
    for statement in ("UPDATE entries SET grams = 0", "DELETE FROM entries"):
        with pytest.raises(sa.exc.IntegrityError, match="append-only"), engine.begin() as connection:
            connection.execute(sa.text(statement))
    engine.dispose()
    assert list(ledger.entries()) == [entry()]


def test_a_query_limits_by_namespace_job_and_end(ledger):
    lines = [entry(1), entry(2, namespace="other"), entry(3, end=NOON + timedelta(days=40))]
    ledger.record_all(lines)

    assert [e.job for e in ledger.entries(Query(namespace="other"))] == ["job-2"]
    assert [e.job for e in ledger.entries(Query(job_uid="uid-3"))] == ["job-3"]
    assert [e.job for e in ledger.entries(Query(until=NOON + timedelta(days=1)))] == ["job-1", "job-2"]


def test_the_lengths_of_the_newest_whole_runs_are_told_oldest_first(ledger):
    ended = {"profile": "llama", "gpu_type": "H100"}
    for number, hours in enumerate((3.0, 0.0, 4.0, 5.0, 6.0)):
        ledger.record(entry(number, end=NOON + number * HOUR, start=NOON, run_hours=hours, **ended))
    ledger.record(entry(4, id="settlement:4:1", kind=EntryKind.SETTLEMENT, end=NOON + 4 * HOUR, run_hours=6.0, **ended))
    said = [("llama", "H100", 2, hours) for hours in (4.0, 5.0, 6.0)]
    assert ledger.run_lengths(NOON + HOUR, 10) == said
    assert ledger.run_lengths(NOON + HOUR, 2) == said[1:]


def test_how_fast_data_came_in_is_told_by_cluster_oldest_first(ledger):
    for number, speed in enumerate((100.0, 0.0, 300.0, 200.0)):
        ledger.record(entry(number, end=NOON + number * HOUR, start=NOON, ingress_gib_per_hour=speed))
    cluster = entry(0).cluster
    assert ledger.ingress(NOON + HOUR, 10) == [(cluster, 300.0), (cluster, 200.0)]
    assert ledger.ingress(NOON, 1) == [(cluster, 200.0)]


def test_export_and_import_lose_nothing(ledger, tmp_path):
    odd = timedelta(microseconds=123_457)
    first = entry(1, grams=0.1 + 0.2, end=NOON + odd, energy_curve="[[0.0, 0.0], [60.0, 0.1]]")
    lines = [first, settled(first), entry(2, baseline_grams=None, cost_usd=None)]
    ledger.record_all(lines)
    text = io.StringIO()
    assert ledger.export(text) == 3

    copy = Ledger.at(tmp_path / "copy.sqlite")
    assert copy.load(text.getvalue().splitlines()) == 3
    assert copy.load(text.getvalue().splitlines()) == 0
    assert list(copy.entries()) == list(ledger.entries())
    assert {line.id: line for line in copy.entries()} == {line.id: line for line in lines}
    copy.close()


def exported(*entries) -> list[str]:
    ledger, text = Ledger("sqlite://"), io.StringIO()
    ledger.record_all(entries)
    ledger.export(text)
    ledger.close()
    return text.getvalue().splitlines()


def test_an_import_that_disagrees_with_itself_is_refused_whole(ledger):
    """A file that was put together by hand, without links."""
    twice = [line for grams in (100.0, 1.0) for line in exported(entry(), entry(2, grams=grams))]
    unlinked = [
        json.dumps({k: v for k, v in json.loads(line).items() if k not in ("number", "digest")}) for line in twice
    ]
    with pytest.raises(LedgerError, match="attempt:2 is here with other figures"):
        ledger.load(unlinked)
    assert list(ledger.entries()) == []
    assert ledger.load(unlinked[:2] * 2) == 2


def test_an_import_that_disagrees_is_refused_whole(ledger):
    ledger.record(entry(2))
    with pytest.raises(LedgerError, match="attempt:2 is here with other figures"):
        ledger.load(exported(entry(1), entry(2, grams=7.0)))
    assert list(ledger.entries()) == [entry(2)]


@pytest.mark.parametrize(
    "line", ["not json", "[]", '{"id": "attempt:9"}', exported(entry(3))[0].replace("2.4", "NaN")], ids=str
)
def test_a_broken_line_is_named_and_nothing_is_read(ledger, line):
    with pytest.raises(LedgerError, match="line 2 is no entry of a ledger"):
        ledger.load([*exported(entry(1)), line])
    assert list(ledger.entries()) == []


def test_a_ledger_of_an_older_version_is_read_on(tmp_path):
    newer = (
        "account",
        "profile",
        "run_hours",
        "host_kwh",
        "estimated_share",
        "ingress_gib_per_hour",
        "energy_curve",
        "baseline_zone",
        "baseline_pue",
        "best_static_zone",
        "best_static_pue",
    )
    file = tmp_path / "ledger.sqlite"
    made = Ledger.at(file)
    made.record(entry(baseline_zone="", best_static_zone=""))
    made.close()
    with sqlite3.connect(file) as connection:
        connection.execute("DROP INDEX entries_by_placement")
        for name in newer:
            connection.execute(f"ALTER TABLE entries DROP COLUMN {name}")
    connection.close()

    again = Ledger.at(file)
    assert list(again.entries()) == [entry(baseline_zone="", best_static_zone="")]
    assert again.record(entry(2))
    again.close()


def test_a_ledger_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(LedgerError, match="there is no ledger at"):
        Ledger.existing(str(tmp_path / "none.sqlite"))
    assert not list(tmp_path.iterdir())


def test_an_error_tells_no_password():
    with pytest.raises(LedgerError) as caught:
        Ledger("postgresql+psycopg://me:secret@127.0.0.1:1/none?connect_timeout=2")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("changes", [{"grams": float("nan")}, {"energy_kwh": -1.0}, {"end": NOON - timedelta(hours=1)}])
def test_what_can_not_be_is_no_entry(changes):
    with pytest.raises(ValueError, match="ledger entry attempt:1"):
        entry(**changes)


def test_two_writers_at_once_lose_and_double_nothing(ledger_url):
    def write(first: int) -> int:
        ledger = Ledger(ledger_url)
        added = sum(ledger.record(entry(number)) for number in range(first, first + 40))
        ledger.close()
        return added

    with ThreadPoolExecutor(2) as pool:
        added = list(pool.map(write, [0, 20]))
    ledger = Ledger(ledger_url)
    assert sum(added) == len(list(ledger.entries())) == 60
    ledger.close()


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from ledger_values import entry
from carbonfleet.ledger.store import Ledger
ledger = Ledger(sys.argv[1])
for number in range(int(sys.argv[3]), 1_000_000):
    ledger.record(entry(number))
    print(number, flush=True)
"""


def kill_while_writing(url, folder, first: int) -> int:
    """Start a writer, SIGKILL it after a few acknowledged lines; the last number acknowledged."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, url, str(folder), str(first)], stdout=subprocess.PIPE, text=True
    )
    acknowledged = [int(writer.stdout.readline()) for _ in range(5)]
    writer.kill()
    acknowledged += [int(line) for line in writer.stdout.read().split()]
    writer.wait(timeout=60)
    return acknowledged[-1]


def check_kills(url, folder, kills: int) -> None:
    last = 0
    for _ in range(kills):
        last = kill_while_writing(url, folder, last + 1)
        ledger = Ledger(url)
        numbers = [int(line.placement_id) for line in ledger.entries()]
        ledger.close()
        assert len(numbers) == len(set(numbers))
        assert set(range(1, last + 1)) <= set(numbers)


def test_sigkill_while_writing_loses_and_doubles_nothing(ledger_url, request):
    check_kills(ledger_url, request.path.parents[1] / "fixtures", kills=2)


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_a_hundred_sigkills_lose_and_double_nothing(ledger_url, request):
    check_kills(ledger_url, request.path.parents[1] / "fixtures", kills=100)
    print("100 kills: nothing lost, nothing doubled")


@pytest.mark.parametrize("attempt", range(5))
def test_a_ledger_from_before_that_many_open_at_once_is_brought_up_to_date_once(tmp_path, attempt):
    file = tmp_path / f"{attempt}.sqlite"
    made = Ledger.at(file)
    made.record_all([entry(1), entry(2)])
    made.close()
    with sqlite3.connect(file) as connection:
        connection.executescript(
            "DROP TABLE chain; DROP TABLE evidence; ALTER TABLE entries DROP COLUMN report_digest;"
        )
    connection.close()
    with ThreadPoolExecutor(4) as pool:
        ledgers = list(pool.map(lambda _: Ledger(f"sqlite:///{file}"), range(4)))
    assert [line.link.number for line in ledgers[0].chained()] == [1, 2]
    for ledger in ledgers:
        ledger.close()


def test_a_try_adds_nothing_and_says_where_no_line_could_be_added(ledger, tmp_path):
    ledger.try_to_write()
    assert list(ledger.entries()) == []
    file = tmp_path / "kept.sqlite"
    Ledger.at(file).close()
    with pytest.raises(LedgerError, match="readonly database"):
        Ledger(f"sqlite:///file:{file}?mode=ro&uri=true").try_to_write()
