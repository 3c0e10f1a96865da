"""Recorded series in CSV files, and series made by code, as sources of signals."""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from carbonfleet.api.signal import SignalKind
from carbonfleet.api.wire import Wire
from carbonfleet.clock import Clock
from carbonfleet.signals.reading import HOUR, Kind, Reading, Reason, RejectedValue, floor_hour, unit_of
from carbonfleet.signals.source import Ask, Batch, Feed, Finding, NoDataError
from carbonfleet.signals.validation import number_problem, parse_time

ZoneKind = tuple[str, SignalKind]
Curve = Callable[[str, SignalKind, datetime], float | None]
"""The value of a zone in the hour that begins at a moment; None where there is none."""

_LONG_SIGNALS: Final = {
    "average_lifecycle": SignalKind.AVERAGE_LIFECYCLE,
    "average_direct": SignalKind.AVERAGE_DIRECT,
    "marginal": SignalKind.MARGINAL,
}
_REJECTIONS_KEPT: Final = 1000


class TraceSettings(Wire):
    """A recorded or made series in a CSV file. Its future serves as a perfect forecast."""

    type: Literal["trace"] = "trace"
    path: Path
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9./-]*$", max_length=64)] = "trace"
    forecast: bool = True
    """False: what is to come stays unknown."""


class TraceError(ValueError):
    """A trace can't be read; the message names the file and what is wrong."""


@dataclass(frozen=True, slots=True)
class Trace:
    """By zone and kind, a mapping from the start of each hour, or finer step, to a value and whether it is settled."""

    values: Mapping[ZoneKind, Mapping[datetime, tuple[float, bool]]]
    rejected: tuple[RejectedValue, ...] = ()
    """The first thousand rows that were refused."""

    def at(self, zone: str, kind: SignalKind, hour: datetime) -> float | None:
        """The value in the hour that begins at `hour`; None where there is none."""
        entry = self.values.get((zone, kind), {}).get(hour)
        return entry[0] if entry else None


@dataclass(slots=True)
class _TraceReader:
    """What has been read so far; values begin at multiples of `finest`."""

    finest: timedelta

    values: dict[ZoneKind, dict[datetime, tuple[float, bool]]] = field(default_factory=dict)
    rejected: list[RejectedValue] = field(default_factory=list)
    times: dict[str, datetime | None] = field(default_factory=dict)

    def add(self, at: str, zone: str, kind: SignalKind, text: str, settled: bool) -> None:
        problem = self._take(at, zone, kind, text, settled)
        if problem and len(self.rejected) < _REJECTIONS_KEPT:
            self.rejected.append(RejectedValue(zone, at[:40], text[:40], *problem))

    def _take(self, at: str, zone: str, kind: SignalKind, text: str, settled: bool) -> tuple[Reason, str] | None:
        if at not in self.times:
            self.times[at] = _start(at, self.finest)
        start = self.times[at]
        if start is None:
            what = "an hour" if self.finest == HOUR else f"a step of {self.finest // timedelta(minutes=1)} minutes"
            return Reason.BAD_TIME, f"not the start of {what} in ISO-8601"
        if not text.strip():
            return Reason.NULL, "no value"
        try:
            value = float(text)
        except ValueError:
            return Reason.NOT_A_NUMBER, "not a number"
        series = self.values.setdefault((zone, kind), {})
        if start in series:
            return Reason.DUPLICATE, "the time has a value already"
        if problem := number_problem(value, kind):
            return problem
        series[start] = (value, settled)
        return None


def _start(text: str, finest: timedelta) -> datetime | None:
    """Files of the portal leave the zone out of their UTC times."""
    moment = parse_time(text) or parse_time(f"{text.strip()}+00:00")
    return moment if moment is not None and moment.timestamp() % finest.total_seconds() == 0 else None


def read_trace(*paths: Path, finest: timedelta = HOUR) -> Trace:
    """The series in CSV files (plain or .gz), in the portal's or the long format. Raises TraceError.

    Values that begin at another time than a multiple of `finest` are refused.
    """
    reader = _TraceReader(finest)
    for path in paths:
        try:
            with _open(path) as lines:
                _read_rows(csv.reader(lines), reader)
        except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error, TraceError) as error:
            raise TraceError(f"trace {path}: {error}") from error
    if not reader.values:
        raise TraceError(f"no usable value in {', '.join(map(str, paths))}")
    return Trace(reader.values, tuple(reader.rejected))


def _open(path: Path) -> io.TextIOBase:
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _read_rows(rows: Iterator[list[str]], reader: _TraceReader) -> None:
    header = [name.strip().lower() for name in next(rows, [])]
    if "gco2_per_kwh" in header:
        _read_long(rows, header, reader)
    elif any("intensity" in name for name in header):
        _read_portal(rows, header, reader)
    else:
        raise TraceError(
            "the first line must name datetime_utc, zone, gco2_per_kwh and signal, "
            "or the columns of the Electricity Maps portal"
        )


def _column(header: Sequence[str], *starts: str) -> int:
    """The column whose name begins with one of `starts`. Raises TraceError."""
    found = next((i for i, name in enumerate(header) if name.startswith(starts)), None)
    if found is None:
        raise TraceError(f"no column {' or '.join(starts)}")
    return found


def _read_long(rows: Iterator[list[str]], header: Sequence[str], reader: _TraceReader) -> None:
    at, zone = _column(header, "datetime"), _column(header, "zone")
    value, signal = _column(header, "gco2_per_kwh"), _column(header, "signal")
    estimated = header.index("is_estimated") if "is_estimated" in header else None
    for row in rows:
        if len(row) < len(header):
            raise TraceError(f"a line has {len(row)} of {len(header)} columns: {','.join(row)[:80]}")
        kind = _LONG_SIGNALS.get(row[signal].strip())
        if kind is None:
            raise TraceError(f"signal {row[signal][:40]!r} is none of {', '.join(_LONG_SIGNALS)}")
        settled = estimated is None or row[estimated].strip().lower() != "true"
        reader.add(row[at], row[zone].strip(), kind, row[value], settled)


def _read_portal(rows: Iterator[list[str]], header: Sequence[str], reader: _TraceReader) -> None:
    at, zone = _column(header, "datetime"), _column(header, "zone id")
    estimated = _column(header, "data estimated")
    columns = [(i, kind) for i, name in enumerate(header) if (kind := _portal_kind(name))]
    for row in rows:
        if len(row) < len(header):
            raise TraceError(f"a line has {len(row)} of {len(header)} columns: {','.join(row)[:80]}")
        settled = row[estimated].strip().lower() != "true"
        for column, kind in columns:
            reader.add(row[at], row[zone].strip(), kind, row[column], settled)


def _portal_kind(name: str) -> SignalKind | None:
    """`Carbon intensity gCO2eq/kWh (Life cycle)`; older files say LCA."""
    if not name.startswith("carbon intensity"):
        return None
    lifecycle = any(word in name for word in ("life cycle", "lifecycle", "lca"))
    return SignalKind.AVERAGE_LIFECYCLE if lifecycle else SignalKind.AVERAGE_DIRECT


class TraceSource:
    """A curve over time, replayed: what is past is measured, what is to come is the forecast."""

    remote = False

    def __init__(self, name: str, covered: Collection[ZoneKind], curve: Curve, *, with_forecast: bool = True) -> None:
        self.name = name
        self._covered = frozenset(covered)
        self._curve = curve
        self._with_forecast = with_forecast

    @classmethod
    def of(cls, name: str, trace: Trace, *, with_forecast: bool = True) -> "TraceSource":
        """A source that replays `trace`."""
        return cls(name, trace.values.keys(), trace.at, with_forecast=with_forecast)

    def offers(self, zone: str, kind: Kind, feed: Feed) -> bool:
        """What the curve covers."""
        return (zone, kind) in self._covered and (self._with_forecast or feed is not Feed.FORECAST)

    def fetch(self, ask: Ask, now: datetime) -> Batch:
        """Hourly values of the asked range, measured ones up to the current hour. Raises NoDataError."""
        readings = tuple(self._readings(ask, now))
        if not readings:
            raise NoDataError(f"{self.name} has no value of {ask.zone} from {ask.start} to {ask.end}")
        return Batch(ask, self.name, now, now, readings, exact=True)

    def _readings(self, ask: Ask, now: datetime) -> Iterator[Reading]:
        if not isinstance(ask.kind, SignalKind) or not self.offers(ask.zone, ask.kind, ask.feed):
            return
        end = ask.end if ask.feed is Feed.FORECAST else min(ask.end, now)
        hour = floor_hour(ask.start)
        settled = ask.feed is not Feed.FORECAST
        while hour < end:
            value = self._curve(ask.zone, ask.kind, hour)
            if value is not None:
                unit = unit_of(ask.kind)
                yield Reading(ask.zone, hour, HOUR, value, ask.kind, unit, self.name, settled, now)
            hour += HOUR

    def check(self, zones: Collection[str], now: datetime) -> tuple[Finding, ...]:
        """Which of the zones the trace holds."""
        held = {zone for zone, _ in self._covered}
        return tuple(
            Finding(self.name, zone, True, "Ready", "in the trace")
            if zone in held
            else Finding(self.name, zone, False, "UnknownZone", f"the trace holds no zone {zone}")
            for zone in sorted(zones)
        )


def trace_source(settings: TraceSettings, clock: Clock) -> TraceSource:
    """The series in a file. Raises TraceError."""
    return TraceSource.of(settings.name, read_trace(settings.path), with_forecast=settings.forecast)
