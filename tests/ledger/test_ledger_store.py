"""The ledger's file: nothing acknowledged is lost, nothing counts twice, nothing changes."""

import io
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from carbonfleet.ledger import Entry, EntryKind, Ledger, Query

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def entry(number: int = 1, **changes) -> Entry:
    made = Entry(
        id=f"attempt:{number}",
        kind=EntryKind.ATTEMPT,
        placement_id=str(number),
        job_uid=f"uid-{number}",
        namespace="ml",
        job=f"job-{number}",
        sweep="",
        tier="standard",
        attempt=1,
        phase="Succeeded",
        cluster="no-osl-1",
        region="europe-north1",
        zone="NO-NO1",
        pool="a100",
        gpu_type="A100",
        gpus=2,
        submitted_at=NOON - timedelta(hours=1),
        start=NOON,
        end=NOON + timedelta(hours=3),
        signal="average-lifecycle",
        source="trace",
        settled=False,
        energy_kwh=2.4,
        energy_method="estimate",
        energy_uncertainty=0.25,
        pue=1.1,
        operational_grams=90.0,
        transfer_grams=1.0,
        embodied_grams=9.0,
        grams=100.0,
        grams_per_kwh=35.5,
        baseline_region="us-east-2",
        baseline_grams=1500.0,
        same_spoke_grams=101.0,
        best_static_region="europe-north1",
        best_static_grams=101.0,
        cost_usd=12.5,
        recorded_at=NOON + timedelta(hours=3),
    )
    return replace(made, **changes)


@pytest.fixture
def ledger(tmp_path):
    made = Ledger.at(tmp_path / "state" / "ledger.sqlite")
    yield made
    made.close()


def test_what_is_recorded_is_read_back_whole(ledger):
    assert ledger.record(entry())
    assert list(ledger.entries()) == [entry()]
    assert ledger.attempts()[0].saved_grams == 1400.0


def test_a_repeat_adds_nothing(ledger):
    assert ledger.record(entry())
    assert not ledger.record(entry(grams=1.0))
    assert [line.grams for line in ledger.entries()] == [100.0]


def test_a_correction_stands_beside_what_it_corrects(ledger):
    later = entry(
        id="settlement:1:1",
        kind=EntryKind.SETTLEMENT,
        grams=120.0,
        settled=True,
        recorded_at=NOON + timedelta(days=3),
    )
    ledger.record(entry())
    ledger.record(later)

    assert list(ledger.entries()) == [entry(), later]
    assert ledger.attempts() == [later]


def test_lines_can_neither_be_changed_nor_removed(ledger, tmp_path):
    ledger.record(entry())
    engine = sa.create_engine(f"sqlite:///{tmp_path}/state/ledger.sqlite")
    for statement in ("UPDATE entries SET grams = 0", "DELETE FROM entries"):
        with pytest.raises(sa.exc.IntegrityError, match="append-only"), engine.begin() as connection:
            connection.execute(sa.text(statement))
    assert list(ledger.entries()) == [entry()]


def test_a_query_limits_by_namespace_job_and_end(ledger):
    lines = [entry(1), entry(2, namespace="other"), entry(3, end=NOON + timedelta(days=40))]
    ledger.record_all(lines)

    assert [e.job for e in ledger.entries(Query(namespace="other"))] == ["job-2"]
    assert [e.job for e in ledger.entries(Query(job_uid="uid-3"))] == ["job-3"]
    assert [e.job for e in ledger.entries(Query(until=NOON + timedelta(days=1)))] == ["job-1", "job-2"]


def test_export_and_import_lose_nothing(ledger, tmp_path):
    ledger.record_all([entry(1), entry(2, baseline_grams=None, cost_usd=None)])
    text = io.StringIO()
    assert ledger.export(text) == 2

    copy = Ledger.at(tmp_path / "copy.sqlite")
    assert copy.load(text.getvalue().splitlines()) == 2
    assert copy.load(text.getvalue().splitlines()) == 0
    assert list(copy.entries()) == list(ledger.entries())
    copy.close()


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from test_ledger_store import Ledger, entry
from pathlib import Path
ledger = Ledger.at(Path(sys.argv[1]))
for number in range(int(sys.argv[3]), 1_000_000):
    ledger.record(entry(number))
    print(number, flush=True)
"""


def kill_while_writing(file, folder, first: int) -> int:
    """Start a writer, SIGKILL it after a few acknowledged lines; the last number acknowledged."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file), str(folder), str(first)], stdout=subprocess.PIPE, text=True
    )
    acknowledged = [int(writer.stdout.readline()) for _ in range(5)]
    writer.kill()
    acknowledged += [int(line) for line in writer.stdout.read().split()]
    writer.wait(timeout=10)
    return acknowledged[-1]


def check_kills(file, folder, kills: int) -> None:
    last = 0
    for _ in range(kills):
        last = kill_while_writing(file, folder, last + 1)
        ledger = Ledger.at(file)
        numbers = [int(line.placement_id) for line in ledger.entries()]
        ledger.close()
        assert len(numbers) == len(set(numbers))
        assert set(range(1, last + 1)) <= set(numbers)


def test_sigkill_while_writing_loses_and_doubles_nothing(tmp_path, request):
    check_kills(tmp_path / "ledger.sqlite", request.path.parent, kills=2)


@pytest.mark.soak
def test_a_hundred_sigkills_lose_and_double_nothing(tmp_path, request):
    check_kills(tmp_path / "ledger.sqlite", request.path.parent, kills=100)
    print("100 kills: nothing lost, nothing doubled")
