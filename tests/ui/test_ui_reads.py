"""What the page reads by: a watch that goes on from a list, and databases that it can't change."""

from datetime import UTC, datetime, timedelta

import pytest
from served_page import ZONES

from carbonfleet.api.signal import SignalKind
from carbonfleet.kube import KubeError, ours
from carbonfleet.ledger import LedgerError
from carbonfleet.ledger.store import Ledger
from carbonfleet.signals import HistoryStore, SignalSettings, StoreError, open_signals, read_signals
from carbonfleet.sqlite_files import read_only
from fixtures.hand_clock import HandClock
from fixtures.ledger_values import entry

WHERE = ours("carbontrainingjobs", "team-b")


def test_a_watch_tells_what_changed_after_a_list_and_ends(hub):
    hub.apply("before", "team-b")
    _, version = hub.kube.list(WHERE)
    hub.apply("after", "team-b", labels={"text": "none"})
    hub.kube.delete(ours("carbontrainingjobs", "team-b", "before"))
    told = [(kind, body["metadata"].get("name")) for kind, body in hub.kube.watch(WHERE, version, seconds=1)]
    assert [each for each in told if each[0] != "BOOKMARK"] == [("ADDED", "after"), ("DELETED", "before")]


def test_a_watch_of_what_is_not_there_is_refused_as_any_other_request(hub):
    with pytest.raises(KubeError) as refused:
        list(hub.kube.watch("/apis/carbonfleet.dev/v1alpha1/nothing", "1", seconds=1))
    assert refused.value.status == 404


def test_a_ledger_that_is_read_is_neither_made_nor_changed(tmp_path):
    file = tmp_path / "ledger ?%.sqlite"
    with pytest.raises(LedgerError, match="there is no ledger"):
        Ledger.existing(str(file), is_read_only=True)
    assert list(tmp_path.iterdir()) == []
    written = Ledger.at(tmp_path / "ledger.sqlite")
    written.record(entry(1))
    read = Ledger.existing(str(tmp_path / "ledger.sqlite"), is_read_only=True)
    assert read.attempts() == written.attempts()
    with pytest.raises(LedgerError, match="readonly"):
        read.record(entry(2))
    read.close()
    written.close()


def test_a_store_that_is_read_is_neither_made_nor_changed(tmp_path):
    url = f"sqlite:///{tmp_path}/signals.sqlite"
    with pytest.raises(StoreError):
        HistoryStore(url, is_read_only=True).sources()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["postgresql+psycopg://u:p@h/d", "sqlite://", "sqlite:///"])
def test_an_address_that_is_no_file_of_sqlite_stays(url):
    assert read_only(url) == url


def test_the_page_forecasts_as_the_hub_does_from_what_it_kept(tmp_path):
    noon = datetime(2025, 12, 16, 12, tzinfo=UTC)
    settings = SignalSettings.model_validate(
        {"sources": [{"type": "demo"}], "store": f"sqlite:///{tmp_path}/signals.sqlite"}
    )
    clock = HandClock(hands=[noon])
    wanted = [(zone, SignalKind.AVERAGE_LIFECYCLE) for zone in ZONES]
    hub = open_signals(settings, clock)
    hub.refresh(wanted)
    theirs = hub.forecasts(wanted, noon, noon + timedelta(hours=24))
    ours_ = read_signals(settings, clock, wanted, noon + timedelta(hours=24))
    hub.close()
    assert ours_.forecasts.keys() == theirs.forecasts.keys() == set(wanted)
    for key, forecast in ours_.forecasts.items():
        assert forecast.grams_per_kwh.tolist() == theirs.forecasts[key].grams_per_kwh.tolist()
        assert forecast.doubt_grams_per_kwh.tolist() == theirs.forecasts[key].doubt_grams_per_kwh.tolist()
    assert ours_.histories == theirs.histories
