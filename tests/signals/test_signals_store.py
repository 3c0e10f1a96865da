"""The history store: what is kept, what replaces what, and what a crash may cost."""

import signal
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from postgresql_server import drop_tables, postgresql

from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import Issue
from carbonfleet.signals import HistoryStore, Reading, StoreError
from carbonfleet.signals.reading import Unit

LIFECYCLE = SignalKind.AVERAGE_LIFECYCLE
HOUR = timedelta(hours=1)
NOON = datetime(2025, 12, 15, 12, tzinfo=UTC)


def reading(hour: int = 0, value: float = 40.0, *, settled=False, source="electricitymaps/v3", fetched=NOON) -> Reading:
    start = NOON + HOUR * hour
    return Reading("NO-NO1", start, HOUR, value, LIFECYCLE, Unit.GRAMS_PER_KWH, source, settled, fetched)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path):
    url = f"sqlite:///{tmp_path / 'signals.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
        drop_tables(url)
    store = HistoryStore(url)
    yield store
    store.close()


@pytest.fixture(scope="module")
def postgresql_url():
    yield from postgresql()


def kept(store, start=NOON - 100 * HOUR, end=NOON + 100 * HOUR) -> list[Reading]:
    return list(store.readings("NO-NO1", LIFECYCLE, start, end))


def test_readings_come_back_as_they_were(store):
    written = [reading(0), reading(1, 41.25, settled=True)]
    store.record(written)
    assert kept(store) == written


def test_a_range_is_half_open(store):
    store.record([reading(hour) for hour in range(5)])
    found = store.readings("NO-NO1", LIFECYCLE, NOON + HOUR, NOON + 3 * HOUR)
    assert [r.start for r in found] == [NOON + HOUR, NOON + 2 * HOUR]


def test_a_repeat_adds_nothing_and_a_revision_replaces(store):
    store.record([reading(0)])
    store.record([reading(0)])
    store.record([reading(0, 43.0, fetched=NOON + HOUR)])
    assert [(r.value, r.fetched_at) for r in kept(store)] == [(43.0, NOON + HOUR)]


def test_an_estimate_stays_beside_its_settled_value(store):
    store.record([reading(0, 40.0), reading(0, 44.0, settled=True)])
    assert [(r.value, r.settled) for r in kept(store)] == [(40.0, False), (44.0, True)]


def test_forecasts_come_back_with_their_gaps(store):
    issue = Issue("electricitymaps/v3", NOON, NOON, NOON, np.array([1.0, np.nan, 3.0]))
    store.record_forecast("NO-NO1", LIFECYCLE, issue)
    (found,) = store.forecasts("NO-NO1", LIFECYCLE, NOON - HOUR)
    np.testing.assert_array_equal(found.grams_per_kwh, issue.grams_per_kwh)
    assert (found.source, found.issued_at, found.start) == ("electricitymaps/v3", NOON, NOON)
    store.forget(NOON + 36 * 24 * HOUR)
    assert store.forecasts("NO-NO1", LIFECYCLE, NOON - HOUR) == ()


def test_what_is_in_doubt_is_kept_apart_and_not_for_long(store):
    doubted = reading(0, 5.0)
    store.record([doubted], doubtful=True)
    assert store.readings("NO-NO1", LIFECYCLE, NOON, NOON + HOUR) == ()
    assert store.readings("NO-NO1", LIFECYCLE, NOON, NOON + HOUR, doubtful=True) == (doubted,)
    store.forget(NOON + 7 * HOUR)
    assert store.readings("NO-NO1", LIFECYCLE, NOON, NOON + HOUR, doubtful=True) == ()


def test_other_databases_are_refused_in_words():
    with pytest.raises(StoreError, match="SQLite or PostgreSQL"):
        HistoryStore("mysql+pymysql://u:secret@127.0.0.1/db")


def test_a_database_that_cannot_be_opened_is_named_without_its_password(tmp_path):
    with pytest.raises(StoreError, match="can't be opened") as caught:
        HistoryStore(f"sqlite:///{tmp_path}/missing/signals.db")
    assert "secret" not in str(caught.value)


def test_planning_goes_on_without_the_database(tmp_path, make_signals, read, electricitymaps, caplog):
    path = tmp_path / "signals.db"
    store = HistoryStore(f"sqlite:///{path}")
    signals = make_signals(electricitymaps(), store=store)
    store.close()
    path.unlink()
    path.mkdir()
    assert read(signals).forecasts
    assert "planning goes on without it" in caplog.text


def test_what_was_recorded_survives_a_kill(tmp_path):
    """A writer is killed in the middle of its writes: each batch it reported is there, whole."""
    url = f"sqlite:///{tmp_path / 'signals.db'}"
    program = textwrap.dedent(f"""
        from datetime import UTC, datetime, timedelta
        from carbonfleet.api.signal import SignalKind
        from carbonfleet.signals import HistoryStore, Reading
        from carbonfleet.signals.reading import Unit
        store, hour = HistoryStore({url!r}), timedelta(hours=1)
        start = datetime(2025, 1, 1, tzinfo=UTC)
        for batch in range(100_000):
            at = start + 24 * hour * batch
            store.record(
                Reading("NO-NO1", at + i * hour, hour, 40.0, SignalKind.AVERAGE_LIFECYCLE,
                        Unit.GRAMS_PER_KWH, "test", True, start) for i in range(24))
            print(batch, flush=True)
    """)
    writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for line in writer.stdout:
        if int(line) >= 20:
            break
    writer.send_signal(signal.SIGKILL)
    rest = writer.stdout.read().split()
    writer.wait(60)
    acknowledged = int(rest[-1]) if rest else 20
    store = HistoryStore(url)
    found = store.readings("NO-NO1", LIFECYCLE, datetime(2025, 1, 1, tzinfo=UTC), datetime(2300, 1, 1, tzinfo=UTC))
    store.close()
    assert len(found) >= 24 * (acknowledged + 1)
    assert len(found) % 24 == 0


def test_an_estimate_that_comes_late_does_not_displace_the_settled_value(make_signals, electricitymaps):
    store = HistoryStore()
    store.record([reading(-2, 44.0, settled=True), reading(-2, 40.0, fetched=NOON + HOUR)])
    signals = make_signals(electricitymaps(), store=store)
    (held,) = signals.intensities("NO-NO1", LIFECYCLE, NOON - 2 * HOUR, NOON - HOUR)
    assert (held.value, held.settled) == (44.0, True)


def test_values_of_sources_that_are_not_declared_are_not_used(make_signals, electricitymaps):
    """A demo's trace in the same database is no measurement; another version of the same API is."""
    store = HistoryStore()
    store.record([reading(-3, 33.0, source="demo-trace"), reading(-2, 44.0, source="electricitymaps/v4")])
    signals = make_signals(electricitymaps(), store=store)
    found = signals.intensities("NO-NO1", LIFECYCLE, NOON - 4 * HOUR, NOON)
    assert [held.value for held in found] == [44.0]
