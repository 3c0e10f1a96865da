"""Traces: both CSV formats, bad rows, the made trace of the demo, and replays."""

import gzip
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from carbon_servers import wave

from carbonfleet.api.signal import SignalKind
from carbonfleet.signals import Reason, TraceError, TraceSource, read_trace
from carbonfleet.signals.source import Ask, Feed, NoDataError
from carbonfleet.signals.sources.demo import SOURCE_NAME, demo_trace, demo_value, replayed

LIFECYCLE, DIRECT = SignalKind.AVERAGE_LIFECYCLE, SignalKind.AVERAGE_DIRECT
HOUR = timedelta(hours=1)
NOON = datetime(2025, 12, 15, 12, tzinfo=UTC)

LONG = """datetime_utc,zone,gco2_per_kwh,signal,is_estimated
2025-12-15T12:00:00Z,NO-NO1,33.5,average_lifecycle,False
2025-12-15T13:00:00Z,NO-NO1,34.5,average_lifecycle,True
2025-12-15T12:00:00Z,NO-NO1,12,average_direct,False
2025-12-15T13:00:00Z,DE,,average_lifecycle,False
2025-12-15T13:30:00Z,DE,400,average_lifecycle,False
2025-12-15T14:00:00Z,DE,NaN,average_lifecycle,False
2025-12-15T14:00:00Z,DE,-4,average_lifecycle,False
2025-12-15T13:00:00Z,NO-NO1,99,average_lifecycle,False
"""
PORTAL = """Datetime (UTC),Country,Zone name,Zone id,Carbon intensity gCO₂eq/kWh (direct),\
Carbon intensity gCO₂eq/kWh (Life cycle),Carbon-free energy percentage (CFE%),Data source,Data estimated,\
Data estimation method
2025-12-15 12:00:00,Norway,Southeast Norway,NO-NO1,3.2,33.5,99,entsoe,false,
2025-12-15 13:00:00,Norway,Southeast Norway,NO-NO1,3.4,34.5,99,entsoe,true,TIME_SLICER_AVERAGE
"""


def write(folder: Path, text: str, name="trace.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_long_format_is_read_kind_by_kind(tmp_path):
    trace = read_trace(write(tmp_path, LONG))
    assert trace.series["NO-NO1", LIFECYCLE].values == {NOON: (33.5, True), NOON + HOUR: (34.5, False)}
    assert trace.series["NO-NO1", DIRECT].values == {NOON: (12.0, True)}


def test_bad_rows_are_refused_one_by_one(tmp_path):
    trace = read_trace(write(tmp_path, LONG))
    assert [rejection.reason for rejection in trace.rejected] == [
        Reason.NULL,
        Reason.NOT_A_NUMBER,
        Reason.NEGATIVE,
        Reason.DUPLICATE,
    ]


def test_the_portals_format_is_read_and_may_be_packed(tmp_path):
    path = tmp_path / "portal.csv.gz"
    path.write_bytes(gzip.compress(PORTAL.encode()))
    trace = read_trace(path)
    assert trace.series["NO-NO1", LIFECYCLE].values == {NOON: (33.5, True), NOON + HOUR: (34.5, False)}
    assert trace.series["NO-NO1", DIRECT].values[NOON] == (3.2, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "the first line must name"),
        ("", "the first line must name"),
        ("datetime_utc,zone,gco2_per_kwh,signal\n2025-12-15T12:00:00Z,SE,3\n", "3 of 4 columns"),
        ("datetime_utc,zone,gco2_per_kwh,signal\n2025-12-15T12:00:00Z,SE,30,health\n", "'health' is none of"),
        ("datetime_utc,zone,gco2_per_kwh,signal\n", "no usable value"),
    ],
)
def test_a_file_of_another_form_is_refused_in_words(tmp_path, text, words):
    with pytest.raises(TraceError, match=words):
        read_trace(write(tmp_path, text))


def test_a_trace_measures_the_past_and_forecasts_the_future(make_signals, read, clock, tmp_path):
    source = TraceSource.of("trace", read_trace(write(tmp_path, LONG)))
    clock.set(NOON + timedelta(minutes=30))
    found = read(make_signals(source), "NO-NO1", hours=1).forecasts["NO-NO1", LIFECYCLE]
    assert found.grams_per_kwh.tolist() == [33.5, 34.5]
    assert found.doubt_grams_per_kwh.tolist() == [0.0, 0.0]
    (held,) = source.fetch(Ask("NO-NO1", LIFECYCLE, Feed.MEASURED, NOON, NOON + 9 * HOUR), clock.now()).readings
    assert held.value == 33.5


def five_minutes(folder: Path, *hours: dict[int, int]) -> TraceSource:
    """A source of five-minute values: for each hour what holds at which minutes."""
    rows = [
        f"{NOON + HOUR * i + timedelta(minutes=minute):%Y-%m-%dT%H:%M:%SZ},DE,{value},average_lifecycle"
        for i, hour in enumerate(hours)
        for minute, value in hour.items()
    ]
    text = "\n".join(["datetime_utc,zone,gco2_per_kwh,signal", *rows])
    return TraceSource.of("trace", read_trace(write(folder, text)))


def test_finer_values_are_averaged_and_an_hour_that_is_mostly_unknown_is_none(tmp_path):
    whole = {minute: 40 if minute == 0 else 400 for minute in range(0, 60, 5)}
    half = {minute: value for minute, value in whole.items() if minute < 30}
    source = five_minutes(tmp_path, whole, half, {0: 40, 5: 400}, whole)
    batch = source.fetch(Ask("DE", LIFECYCLE, Feed.FORECAST, NOON, NOON + 4 * HOUR), NOON)
    assert [(each.start, each.value) for each in batch.readings] == [
        (NOON, 370.0),
        (NOON + HOUR, 340.0),
        (NOON + 3 * HOUR, 370.0),
    ]


def test_a_check_of_a_trace_counts_what_of_each_zone_was_refused_and_names_the_first(tmp_path):
    rows = [f"2025-12-15T{hour:02}:00:00Z,DE,{300 + hour},average_lifecycle,False" for hour in range(24)]
    rows += [f"2025-12-{day}T00:00:00Z,FR,50,average_lifecycle,False" for day in range(10, 20)]
    text = "\n".join([*LONG.splitlines(), *rows]) + "\n"
    found = TraceSource.of("trace", read_trace(write(tmp_path, text))).check(["DE", "FR", "IS", "NO-NO1"], NOON)
    assert [(each.zone, each.ok) for each in found] == [("DE", True), ("FR", False), ("IS", False), ("NO-NO1", True)]
    assert "1440 minutes apart; give a series in steps of" in found[1].message
    assert found[3].message.startswith("in the trace; 1 rows are refused, the first: NO-NO1 2025-12-15T13:00:00Z: Dup")


def test_a_trace_that_is_over_says_so(tmp_path):
    source = TraceSource.of("trace", read_trace(write(tmp_path, LONG)))
    with pytest.raises(NoDataError, match="trace has no value of NO-NO1"):
        source.fetch(Ask("NO-NO1", LIFECYCLE, Feed.FORECAST, NOON + 9 * HOUR, NOON + 10 * HOUR), NOON)


@pytest.mark.parametrize(("zone", "low", "high"), [("NO-NO1", 33, 39), ("CA-QC", 40, 63), ("US-MIDA-PJM", 472, 580)])
def test_the_made_trace_keeps_to_the_observed_ranges_and_uses_them(zone, low, high):
    values = [demo_value(zone, LIFECYCLE, NOON + HOUR * i) for i in range(24 * 30)]
    assert low <= min(values) <= low + 0.15 * (high - low)
    assert high - 0.15 * (high - low) <= max(values) <= high


def test_waiting_for_the_night_gains_in_the_made_trace(make_signals, read, clock):
    clock.set(datetime(2025, 12, 15, 20, tzinfo=UTC))
    found = read(make_signals(demo_trace()), "CA-QC", hours=24).forecasts["CA-QC", LIFECYCLE]
    assert (found.source, SOURCE_NAME) == ("demo-trace", "demo-trace")
    assert found.grams_per_kwh[:15].min() < 0.75 * found.grams_per_kwh[0]


def test_the_ledger_gets_what_held_in_the_made_trace(make_signals, clock):
    signals = make_signals(demo_trace())
    readings = signals.intensities("CA-QC", LIFECYCLE, NOON - timedelta(minutes=90), NOON)
    assert [reading.start for reading in readings] == [NOON - 2 * HOUR, NOON - HOUR]
    assert [reading.value for reading in readings] == [
        demo_value("CA-QC", LIFECYCLE, reading.start) for reading in readings
    ]


def test_a_live_forecast_is_fetched_once_and_replayed(make_signals, read, clock, maps, electricitymaps):
    source = replayed(electricitymaps(), ["NO-NO1", "CA-QC"], clock.now())
    assert len(maps.asked("carbon-intensity")) == 4
    maps.stop()
    clock.forward(hours=5)
    found = read(make_signals(source), "CA-QC", hours=24).forecasts["CA-QC", LIFECYCLE]
    assert found.source == "electricitymaps/v3 replayed"
    assert found.grams_per_kwh[0] == wave("CA-QC", clock.now())


@pytest.mark.skipif("CARBONFLEET_DATA_DIR" not in os.environ, reason="CARBONFLEET_DATA_DIR is not set")
@pytest.mark.parametrize(
    ("name", "zones", "hours"),
    [
        ("em_lca_2022H1_35zones.csv.gz", 35, 4344),
        ("em_portal_2021_2022H1_NO_ES_BR_CISO.csv.gz", 4, 13104),
        ("opendc_2021_2023_no2022H2_AT_BE_NL_AU.csv.gz", 4, 21864),
    ],
)
def test_real_traces_are_read_whole(name, zones, hours):
    trace = read_trace(Path(os.environ["CARBONFLEET_DATA_DIR"]) / name)
    assert {series.step for series in trace.series.values()} == {HOUR}
    assert len({zone for zone, _ in trace.series}) == zones
    assert max(len(series.values) for series in trace.series.values()) == hours
