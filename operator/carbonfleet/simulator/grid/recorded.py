"""Recorded forecasts with their real errors: one issue a day, some days ahead, beside what then happened."""

import csv
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import (
    AgeLimits,
    Forecast,
    Hindcast,
    Issue,
    OwnForecast,
    Span,
    ZoneData,
    blends_of,
    forecast_of,
    hindcast,
)
from carbonfleet.placement.snapshot import FloatArray
from carbonfleet.signals import TraceError, open_csv, read_time
from carbonfleet.simulator.grid.feeds import Forecasts
from carbonfleet.simulator.grid.trace import HOUR, Grid, ReplayError

COLUMNS: Final = {"issued_at", "datetime_utc", "zone", "forecast_gco2_per_kwh", "actual_gco2_per_kwh"}
DAY: Final = 24
AHEAD: Final = 72
SOURCE: Final = "recorded"
_FEWEST_HOURS: Final = 8 * DAY
_LIMITS: Final = AgeLimits(forecast=timedelta(days=1))
"""There is one issue a day."""


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """What was measured, and what was issued at the begin of each day; `issued` has shape (zones, days, hours)."""

    grid: Grid
    issued: FloatArray


def open_recording(path: Path, zones: Sequence[str]) -> Recording:
    """Read a file with one row for each zone, issue and hour. Raises ReplayError for gaps and bad values."""
    measured, issued = dict[tuple[str, datetime], float](), dict[tuple[str, datetime, int], float]()
    for row in _rows(path):
        if row["zone"] in zones:
            at, target = _time(path, row, "issued_at"), _time(path, row, "datetime_utc")
            ahead = (target - at) // HOUR
            if (row["zone"], at, ahead) in issued:
                raise ReplayError(f"{path}: two rows of {row['zone']} for {target}, issued at {at}")
            issued[row["zone"], at, ahead] = _value(path, row, "forecast_gco2_per_kwh")
            if ahead < DAY:
                measured[row["zone"], target] = _value(path, row, "actual_gco2_per_kwh")
    return _recording(path, zones, measured, issued)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with open_csv(path) as lines:
            reader = csv.DictReader(lines)
            if not set(reader.fieldnames or ()) >= COLUMNS:
                raise ReplayError(
                    f"{path} is no file of recorded forecasts, whose first line names {', '.join(sorted(COLUMNS))}; "
                    "for a trace without forecasts take --forecast none"
                )
            yield from reader
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise ReplayError(f"recorded forecasts {path}: {error}") from error


def _time(path: Path, row: dict[str, str], column: str) -> datetime:
    try:
        moment = read_time(column, row[column] or "")
    except TraceError as error:
        raise ReplayError(f"{path}: {error}") from error
    if moment is None:
        raise ReplayError(f"{path}: {column} of a row of {row['zone']} is {row[column]!r}, not a time")
    return moment


def _value(path: Path, row: dict[str, str], column: str) -> float:
    try:
        value = float(row[column])
    except (TypeError, ValueError):
        value = float("nan")
    if not 0 < value <= 2000:
        raise ReplayError(
            f"{path}: {column} of {row['zone']} at {row['datetime_utc']} is {row[column]!r}, not within 0 and 2000"
        )
    return value


def _recording(
    path: Path,
    zones: Sequence[str],
    measured: dict[tuple[str, datetime], float],
    issued: dict[tuple[str, datetime, int], float],
) -> Recording:
    missing = [zone for zone in zones if not any(key[0] == zone for key in measured)]
    if missing:
        there = sorted({row["zone"] for row in _rows(path)})
        raise ReplayError(f"{path} has no zone {', '.join(missing)}; it has {', '.join(there)}")
    days = sorted({at for _, at, _ in issued})
    hours = 1 + max(ahead for *_, ahead in issued)
    try:
        values = [[measured[zone, day + HOUR * h] for day in days for h in range(DAY)] for zone in zones]
        casts = [[[issued[zone, day, h] for h in range(hours)] for day in days] for zone in zones]
    except KeyError as error:
        zone, *rest = error.args[0]
        raise ReplayError(f"{path}: there is no row of {zone} for {', '.join(map(str, rest))}") from None
    if days != [days[0] + timedelta(days=i) for i in range(len(days))]:
        raise ReplayError(f"{path}: a day has no issue")
    # The file does not name its kind; figures such as Sweden's 36 g/kWh are those of life cycles.
    grid = Grid(tuple(zones), SignalKind.AVERAGE_LIFECYCLE, days[0], np.array(values), {})
    return Recording(grid, np.array(casts))


class Trusted:
    """The newest issue as it is, taken at its word."""

    name = "recorded, trusted"

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def at(self, hour: int) -> Forecasts:
        """What was issued at the begin of the day."""
        day, offset = divmod(hour, DAY)
        grid, found = self._recording.grid, {}
        for row, zone in enumerate(grid.zones):
            values = self._recording.issued[row, day, offset:]
            found[zone, grid.signal] = _forecast(grid, zone, hour, values, np.zeros(values.size))
        return found


class Corrected:
    """The newest issue blended with a forecast from history, as the hub does it, by what both got wrong so far."""

    name = "recorded"

    def __init__(self, recording: Recording, first: int, last: int) -> None:
        if first < _FEWEST_HOURS:
            raise ReplayError(f"the first job comes {first} hours after the recording begins; it needs {_FEWEST_HOURS}")
        self._grid, values = recording.grid, recording.grid.grams_per_kwh
        self._own = [hindcast(row, self._grid.start, first, last, AHEAD) for row in values]
        self._issues = [
            [_issue(self._grid.moment(day * DAY), said) for day, said in enumerate(days)] for days in recording.issued
        ]

    def at(self, hour: int) -> Forecasts:
        """What could have been made of it."""
        found, span = {}, Span(self._grid.moment(hour), self._grid.moment(hour), AHEAD)
        for zone, own, issues in zip(self._grid.zones, self._own, self._issues, strict=True):
            known = self._known(zone, own, tuple(issues[: hour // DAY + 1]), span.now)
            forecast = forecast_of(known, span, ("forecast",), _LIMITS)
            if isinstance(forecast, Forecast):
                found[zone, self._grid.signal] = forecast
        return found

    def _known(self, zone: str, own: Hindcast, issues: tuple[Issue, ...], now: datetime) -> ZoneData:
        """Of one zone, by `now`."""
        row, past = self._grid.slot(now) - own.first, own.past(now)
        forecast = Forecast(
            zone, self._grid.signal, now, HOUR, own.grams_per_kwh[row], own.doubt_grams_per_kwh[row],
            "history", "profile", now - HOUR, past,
        )  # fmt: skip
        ours = OwnForecast(forecast, blends_of(past, {SOURCE: issues}))
        return ZoneData(zone, self._grid.signal, issues[-1:], own=lambda: ours)


def _issue(made: datetime, values: FloatArray) -> Issue:
    return Issue(SOURCE, made, made, made, values)


def _forecast(grid: Grid, zone: str, hour: int, values: FloatArray, doubt: FloatArray) -> Forecast:
    start = grid.moment(hour)
    return Forecast(zone, grid.signal, start, HOUR, values, doubt, SOURCE, "forecast", start - HOUR)
