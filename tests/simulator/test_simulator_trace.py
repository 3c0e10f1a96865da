"""What a replay accepts as a trace, and how it says no."""

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from carbonfleet.api.signal import SignalKind
from carbonfleet.signals import TraceError, read_trace
from carbonfleet.simulator.grid import Grid, ReplayError, open_grid, open_recording

START = datetime(2024, 3, 1, tzinfo=UTC)


def long_file(path: Path, rows: list[tuple[int, str, str, str]]) -> Path:
    lines = ["datetime_utc,zone,gco2_per_kwh,signal"]
    lines += [
        f"{(START + timedelta(hours=h)):%Y-%m-%dT%H:%M:%SZ},{zone},{value},{kind}" for h, zone, value, kind in rows
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def good_rows(zone: str = "DE", hours: int = 6) -> list[tuple[int, str, str, str]]:
    return [(h, zone, str(300 + h), "average_lifecycle") for h in range(hours)]


def test_a_long_file_becomes_a_grid_of_its_zones_in_the_order_asked_for(tmp_path):
    path = long_file(tmp_path / "t.csv", [*good_rows("DE"), *good_rows("FR")])
    grid = open_grid([path], ["FR", "DE"])
    assert grid.zones == ("FR", "DE")
    assert grid.start == START
    assert grid.grams_per_kwh.tolist() == [[300, 301, 302, 303, 304, 305]] * 2


def test_zones_are_cut_to_the_span_that_they_have_in_common(tmp_path):
    path = long_file(tmp_path / "t.csv", [*good_rows("DE")[2:], *good_rows("FR")[:5]])
    grid = open_grid([path], ["DE", "FR"])
    assert (grid.start, grid.slots) == (START + timedelta(hours=2), 3)


def test_the_portals_own_format_is_read_with_both_kinds_apart(tmp_path):
    header = (
        "Datetime (UTC),Country,Zone name,Zone id,Carbon intensity gCO2eq/kWh (direct),"
        "Carbon intensity gCO2eq/kWh (Life cycle),Carbon-free energy percentage (CFE%),"
        "Renewable energy percentage (RE%),Data source,Data estimated,Data estimation method"
    )
    rows = [f"2024-03-01 0{h}:00:00,Germany,Germany,DE,{200 + h},{300 + h},50,50,x,false," for h in range(3)]
    path = tmp_path / "portal.csv.gz"
    path.write_bytes(gzip.compress("\n".join([header, *rows]).encode()))
    assert open_grid([path], ["DE"]).grams_per_kwh.tolist() == [[300, 301, 302]]
    assert open_grid([path], ["DE"], SignalKind.AVERAGE_DIRECT).grams_per_kwh.tolist() == [[200, 201, 202]]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "no value"),
        ("-3", "t be believed"),
        ("90000", "t be believed"),
        ("nan", "believed"),
        ("abc", "not a number"),
    ],
)
def test_a_value_that_cannot_be_believed_is_refused_and_named(tmp_path, value, words):
    rows = good_rows()
    rows[3] = (3, "DE", value, "average_lifecycle")
    with pytest.raises(ReplayError, match=words) as refused:
        open_grid([long_file(tmp_path / "t.csv", rows)], ["DE"])
    assert "DE at 2024-03-01T03:00:00Z" in str(refused.value)


def test_a_duplicate_hour_is_refused(tmp_path):
    rows = [*good_rows(), (2, "DE", "555", "average_lifecycle")]
    for fill in (False, True):
        with pytest.raises(ReplayError, match="has a value already") as refused:
            open_grid([long_file(tmp_path / "t.csv", rows)], ["DE"], fill=fill)
        assert "--fill-gaps" not in str(refused.value)


def test_a_zone_without_one_value_that_can_be_believed_is_named_with_the_first(tmp_path):
    rows = [(h, "DE", "0", "average_lifecycle") for h in range(3)]
    with pytest.raises(
        ReplayError, match="no average-lifecycle value of zone DE can be believed; the first refused row, at 2024"
    ):
        open_grid([long_file(tmp_path / "t.csv", [*rows, *good_rows("FR")])], ["DE"], fill=True)


def finer(path: Path, minutes: int, zone: str = "DE", count: int = 8) -> Path:
    rows = ["datetime_utc,zone,gco2_per_kwh,signal"]
    rows += [
        f"{(START + timedelta(minutes=minutes * i)):%Y-%m-%dT%H:%M:%SZ},{zone},{100 + i},average_lifecycle"
        for i in range(count)
    ]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("minutes", [15, 30])
def test_a_finer_trace_is_taken_as_it_is(tmp_path, minutes):
    grid = open_grid([finer(tmp_path / "t.csv", minutes)], ["DE"])
    assert (grid.step, grid.slots) == (timedelta(minutes=minutes), 8)
    assert grid.grams_per_kwh.tolist() == [[100 + i for i in range(8)]]
    assert grid.mean(0, START + timedelta(minutes=minutes), minutes * 2) == 101.5


def test_an_hourly_zone_beside_a_finer_one_holds_its_value_for_the_hour(tmp_path):
    paths = [finer(tmp_path / "t.csv", 30), long_file(tmp_path / "u.csv", good_rows("FR", 3))]
    grid = open_grid(paths, ["DE", "FR"])
    assert grid.grams_per_kwh.tolist() == [[100, 101, 102, 103, 104, 105], [300, 300, 301, 301, 302, 302]]


def test_a_gap_in_a_finer_trace_is_named_and_filled(tmp_path):
    path = finer(tmp_path / "t.csv", 15, count=40)
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines() if ",103," not in line))
    with pytest.raises(ReplayError, match=r"lacks 1 value, the first at 2024-03-01 00:45"):
        open_grid([path], ["DE"])
    assert open_grid([path], ["DE"], fill=True).grams_per_kwh[0, 2:5].tolist() == [102, 102, 104]


@pytest.mark.parametrize(("minutes", "slot"), [(1, 15), (5, 15), (10, 30), (12, 60), (20, 60)])
def test_values_closer_than_slots_are_averaged_over_the_shortest_slot_that_they_fill(tmp_path, minutes, slot):
    grid = open_grid([finer(tmp_path / "t.csv", minutes, count=120 // minutes)], ["DE"])
    assert grid.step == timedelta(minutes=slot)
    each = slot // minutes
    assert grid.grams_per_kwh.tolist() == [[100 + each * i + (each - 1) / 2 for i in range(120 // slot)]]


def test_the_first_of_twelve_values_is_not_taken_for_the_hour(tmp_path):
    path = finer(tmp_path / "t.csv", 5, count=24)
    low = [line.replace(",100,", ",40,").replace(",112,", ",40,") for line in path.read_text().splitlines()]
    path.write_text("\n".join(low) + "\n")
    hourly = read_trace(path).series["DE", SignalKind.AVERAGE_LIFECYCLE].averaged(timedelta(hours=1), 1.0)
    assert [value for value, _ in hourly.values()] == [
        (sum(range(101, 112)) + 40) / 12,
        (sum(range(113, 124)) + 40) / 12,
    ]


def test_a_finer_slot_that_is_known_in_part_is_a_gap(tmp_path):
    path = finer(tmp_path / "t.csv", 5, count=24 * 12)
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines() if ",104," not in line))
    with pytest.raises(ReplayError, match=r"lacks 1 value, the first at 2024-03-01 00:15"):
        open_grid([path], ["DE"])
    assert open_grid([path], ["DE"], fill=True).grams_per_kwh[0, :3].tolist() == [101, 101, 107]


@pytest.mark.parametrize("minutes", [7, 45, 90, 180, 1440])
def test_steps_that_do_not_divide_an_hour_are_refused_with_the_column_and_what_to_do(tmp_path, minutes):
    with pytest.raises(
        TraceError, match=f"column 'datetime_utc' its .* {minutes} minutes apart; give a series in steps"
    ):
        open_grid([finer(tmp_path / "t.csv", minutes, count=40)], ["DE"])


def lines_of(*spans: tuple[int, int, int]) -> list[str]:
    """Rows of stretches, each from a minute to another in steps of so many."""
    return [
        f"{START + timedelta(minutes=at):%Y-%m-%dT%H:%M:%SZ},DE,{300 + at % 7},average_lifecycle"
        for first, last, step in spans
        for at in range(first, last, step)
    ]


DAY_MINUTES = 24 * 60


@pytest.mark.parametrize(
    "spans",
    [
        [(0, DAY_MINUTES, 60), (DAY_MINUTES, 2 * DAY_MINUTES, 5)],
        [(0, 4 * DAY_MINUTES, 60), (4 * DAY_MINUTES, 5 * DAY_MINUTES, 30)],
        [(0, 3 * DAY_MINUTES, 5), (3 * DAY_MINUTES, 4 * DAY_MINUTES, 60), (4 * DAY_MINUTES, 5 * DAY_MINUTES, 5)],
        [(0, 2 * DAY_MINUTES, 15), (2 * DAY_MINUTES, 3 * DAY_MINUTES, 30)],
        [(0, DAY_MINUTES, 60), (DAY_MINUTES + 30, 2 * DAY_MINUTES, 60)],
    ],
)
def test_mixed_steps_are_refused_with_the_column_and_what_to_do(tmp_path, spans):
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["datetime_utc,zone,gco2_per_kwh,signal", *lines_of(*spans)]) + "\n")
    for fill in (False, True):
        with pytest.raises((TraceError, ReplayError), match=r"column 'datetime_utc' .*one step holds throughout"):
            open_grid([path], ["DE"], fill=fill)


def test_an_hour_of_finer_values_in_a_long_hourly_trace_is_not_sampled(tmp_path):
    path = tmp_path / "t.csv"
    rows = lines_of((0, 1200, 60), (1200, 1260, 5), (1260, 20 * DAY_MINUTES, 60))
    path.write_text("\n".join(["datetime_utc,zone,gco2_per_kwh,signal", *rows]) + "\n")
    with pytest.raises(ReplayError, match="12 values can't be believed, the first of DE at 2024-03-01T20:00"):
        open_grid([path], ["DE"])
    grid = open_grid([path], ["DE"], fill=True)
    assert (grid.filled, grid.grams_per_kwh[0, 20]) == ({"DE": 1}, grid.grams_per_kwh[0, 19])


def test_filling_ends_at_a_twentieth_of_the_values(tmp_path):
    rows = [(h, "DE", "" if h % 20 == 3 else "300", "average_lifecycle") for h in range(100)]
    assert open_grid([long_file(tmp_path / "t.csv", rows)], ["DE"], fill=True).filled == {"DE": 5}
    rows[50] = (50, "DE", "", "average_lifecycle")
    with pytest.raises(ReplayError, match=r"6 of 100 values of zone DE are missing from column 'gco2_per_kwh', .* 5%"):
        open_grid([long_file(tmp_path / "t.csv", rows)], ["DE"], fill=True)


@pytest.mark.parametrize("column", ["datetime", "datetime_local", "Datetime (Europe/Oslo)"])
@pytest.mark.parametrize("fill", [False, True])
def test_local_times_without_an_offset_are_refused_with_the_column(tmp_path, column, fill):
    path = tmp_path / "t.csv"
    path.write_text(f"{column},zone,gco2_per_kwh,signal\n2024-03-01 00:00:00,DE,300,average_lifecycle\n")
    with pytest.raises(TraceError, match=r"column 'datetime.*' holds the time 2024-03-01 00:00:00 without an offset"):
        open_grid([path], ["DE"], fill=fill)


def test_local_times_with_their_offset_are_moments(tmp_path):
    path = tmp_path / "t.csv"
    rows = ["2024-03-01T02:00:00+02:00", "2024-03-01T02:00:00+01:00"]
    path.write_text(
        "datetime,zone,gco2_per_kwh,signal\n"
        + "".join(f"{at},DE,{300 + i},average_lifecycle\n" for i, at in enumerate(rows))
    )
    grid = open_grid([path], ["DE"])
    assert (grid.start, grid.grams_per_kwh.tolist()) == (START, [[300, 301]])


def test_many_refused_rows_of_one_zone_hide_none_of_the_next(tmp_path):
    rows = [(h, "AA", "", "average_lifecycle") for h in range(3000)] + good_rows("AA")
    rows += [*good_rows("DE", 24), (5, "DE", "77", "average_lifecycle")]
    path = long_file(tmp_path / "t.csv", rows)
    with pytest.raises(ReplayError, match="one value can't be believed, the first of DE at 2024-03-01T05"):
        open_grid([path], ["DE"], fill=True)
    assert read_trace(path).refused == {"AA": 3000, "DE": 1}


def test_a_file_that_was_cut_off_is_refused(tmp_path):
    whole = gzip.compress(long_file(tmp_path / "t.csv", good_rows(hours=400)).read_bytes())
    path = tmp_path / "t.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TraceError, match=r"t\.csv\.gz"):
        open_grid([path], ["DE"])


def test_a_gap_is_refused_with_its_first_hour(tmp_path):
    rows = good_rows()
    del rows[2]
    with pytest.raises(ReplayError, match=r"lacks 1 value, the first at 2024-03-01 02:00"):
        open_grid([long_file(tmp_path / "t.csv", rows)], ["DE"])


def test_a_gap_is_filled_from_the_hour_before_when_asked_and_counted(tmp_path):
    rows = good_rows(hours=20)
    rows[2] = (2, "DE", "", "average_lifecycle")
    grid = open_grid([long_file(tmp_path / "t.csv", rows)], ["DE"], fill=True)
    assert grid.grams_per_kwh[0, :6].tolist() == [300, 301, 301, 303, 304, 305]
    assert grid.filled == {"DE": 1}


def test_a_bad_row_of_another_zone_does_not_matter(tmp_path):
    rows = [*good_rows("DE"), (0, "FR", "-1", "average_lifecycle"), (1, "FR", "30", "average_lifecycle")]
    assert open_grid([long_file(tmp_path / "t.csv", rows)], ["DE"]).slots == 6


def test_signals_never_mix(tmp_path):
    direct = [(h, zone, value, "average_direct") for h, zone, value, _ in good_rows("FR")]
    path = long_file(tmp_path / "t.csv", [*good_rows("DE"), *direct])
    with pytest.raises(ReplayError, match="FR has no average-lifecycle values, only average-direct"):
        open_grid([path], ["DE", "FR"])


def test_an_unknown_zone_is_refused_with_the_nearest_names(tmp_path):
    with pytest.raises(ReplayError, match="no zone DEE in the trace; there is DE"):
        open_grid([long_file(tmp_path / "t.csv", good_rows())], ["DEE"])


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(TraceError, match="first line"):
        open_grid([path], ["DE"])


def test_spans_without_a_common_hour_are_refused(tmp_path):
    path = long_file(tmp_path / "t.csv", [*good_rows("DE", 2), (4, "FR", "50", "average_lifecycle")])
    with pytest.raises(ReplayError, match="no hour in common"):
        open_grid([path], ["DE", "FR"])


def test_the_mean_of_a_window_weighs_hours_by_their_minutes():
    grid = Grid(("DE",), SignalKind.AVERAGE_LIFECYCLE, START, np.array([[100.0, 200.0, 400.0]]), {})
    assert grid.mean(0, START + timedelta(minutes=30), 90) == pytest.approx((30 * 100 + 60 * 200) / 90)
    assert grid.mean(0, START, 180) == pytest.approx(700 / 3)


def test_a_window_beyond_the_trace_is_refused_and_not_cut():
    grid = Grid(("DE",), SignalKind.AVERAGE_LIFECYCLE, START, np.array([[100.0, 200.0]]), {})
    with pytest.raises(ReplayError, match="beyond the trace"):
        grid.mean(0, START + timedelta(minutes=61), 60)


@pytest.mark.parametrize("column", ["issued_at", "datetime_utc"])
def test_recorded_forecasts_are_refused_with_local_times_but_not_with_utc_ones(tmp_path, column):
    ends = {"issued_at": "Z", "datetime_utc": "Z"} | {column: ""}
    rows = ["issued_at,datetime_utc,zone,forecast_gco2_per_kwh,actual_gco2_per_kwh"]
    for hour in range(24):
        issued, at = "2024-03-01T00:00:00" + ends["issued_at"], f"2024-03-01T{hour:02}:00:00" + ends["datetime_utc"]
        rows.append(f"{issued},{at},DE,300,310")
    path = tmp_path / "r.csv"
    path.write_text("\n".join(rows) + "\n")
    if column == "datetime_utc":
        assert open_recording(path, ["DE"]).grid.start == START
    else:
        with pytest.raises(ReplayError, match="'issued_at' holds the time 2024-03-01T00:00:00 without an offset"):
            open_recording(path, ["DE"])
