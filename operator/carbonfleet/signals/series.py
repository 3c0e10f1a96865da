"""Series of carbon intensities in CSV files: each with its resolution, or refused with the column and what to do."""

import csv
import gzip
import io
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from pathlib import Path
from typing import Final

from carbonfleet.api.signal import SignalKind
from carbonfleet.signals.reading import HOUR, MINUTE, Reason, RejectedValue
from carbonfleet.signals.validation import number_problem, parse_time

ZoneKind = tuple[str, SignalKind]
Entry = tuple[float, bool]
"""A value, and whether it is settled."""

_LONG_SIGNALS: Final = {
    "average_lifecycle": SignalKind.AVERAGE_LIFECYCLE,
    "average_direct": SignalKind.AVERAGE_DIRECT,
    "marginal": SignalKind.MARGINAL,
}
_REJECTIONS_KEPT: Final = 100
_STRAYS: Final = 0.05
"""The share of slots with values at other times from which on a series has no step of its own."""
_REGULAR: Final = 6
"""So many equal distances in a row are a step, not gaps."""


class TraceError(ValueError):
    """A file of series can't be read; the message names the file, the column and what to do."""


@dataclass(frozen=True, slots=True)
class Series:
    """Values of one zone and kind, in ascending order; each holds for `step` from its start on."""

    step: timedelta
    values: Mapping[datetime, Entry]
    column: str = ""
    """Where they stand in the file."""

    def averaged(self, slot: timedelta, least_known: float) -> Mapping[datetime, Entry]:
        """Means over slots, each a whole number of steps, of which at least that share is known.

        As all values hold equally long, the plain mean is the time-weighted one. A mean of estimates is an estimate.
        """
        if slot <= self.step:
            return self.values
        found = {}
        for start, group in groupby(self.values.items(), lambda item: floored(item[0], slot)):
            entries = [entry for _, entry in group]
            if len(entries) >= least_known * (slot // self.step):
                mean = math.fsum(value for value, _ in entries) / len(entries)
                found[start] = (mean, all(settled for _, settled in entries))
        return found


@dataclass(frozen=True, slots=True)
class Trace:
    """What is in some files, by zone and kind: a series, or in words why there is none."""

    series: Mapping[ZoneKind, Series]
    faults: Mapping[ZoneKind, str] = field(default_factory=dict)
    rejected: tuple[RejectedValue, ...] = ()
    """Refused rows, the first hundred of each zone and reason."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """By zone: how many rows were refused."""


def floored(moment: datetime, slot: timedelta) -> datetime:
    """The start of the slot that holds `moment`; slots are counted from midnight UTC."""
    return moment - timedelta(seconds=moment.timestamp() % slot.total_seconds())


def read_trace(*paths: Path) -> Trace:
    """The series in CSV files (plain or .gz), in the portal's or the long format. Raises TraceError.

    A series whose step can't be told is a fault of its zone alone; a time of nobody knows where is one of the file.
    """
    rows = _Rows()
    for path in paths:
        try:
            with open_csv(path) as lines:
                _read_rows(csv.reader(lines), rows)
        except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error, TraceError) as error:
            raise TraceError(f"trace {path}: {error}") from error
    series, faults = {}, {}
    for key in sorted(rows.values):
        found = _series(key, rows)
        if isinstance(found, Series):
            series[key] = found
        else:
            faults[key] = found
    if not series:
        why = f": {next(iter(faults.values()))}" if faults else ""
        raise TraceError(f"no usable value in {', '.join(map(str, paths))}{why}")
    refused = Counter[str]()
    for (zone, _), count in rows.refused.items():
        refused[zone] += count
    return Trace(series, faults, tuple(rows.rejected), refused)


def open_csv(path: Path) -> io.TextIOBase:
    """The lines of a file, plain or .gz. Raises OSError; reading also EOFError, zlib.error and UnicodeDecodeError."""
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


@dataclass(slots=True)
class _Rows:
    """What has been read so far."""

    values: dict[ZoneKind, dict[datetime, Entry]] = field(default_factory=dict)
    starts: dict[ZoneKind, set[datetime]] = field(default_factory=dict)
    """Also of rows without a value that can be believed: they too tell how far apart values lie."""
    columns: dict[ZoneKind, tuple[str, str]] = field(default_factory=dict)
    """Of times and of values."""
    rejected: list[RejectedValue] = field(default_factory=list)
    refused: Counter[tuple[str, Reason]] = field(default_factory=Counter)
    times: dict[tuple[str, str], datetime | None] = field(default_factory=dict)

    def add(self, columns: tuple[str, str], key: ZoneKind, at: str, text: str, settled: bool) -> None:
        """Take a row, or count why not. Raises TraceError for a local time without its offset."""
        if problem := self._take(columns, key, at, text, settled):
            self.reject(key, at, text, *problem)

    def reject(self, key: ZoneKind, at: str, text: str, reason: Reason, message: str) -> None:
        self.refused[key[0], reason] += 1
        if self.refused[key[0], reason] <= _REJECTIONS_KEPT:
            self.rejected.append(RejectedValue(key[0], at[:40], text[:40], reason, message))

    def _take(
        self, columns: tuple[str, str], key: ZoneKind, at: str, text: str, settled: bool
    ) -> tuple[Reason, str] | None:
        series = self.values.setdefault(key, {})
        self.columns[key] = columns
        if (columns[0], at) not in self.times:
            self.times[columns[0], at] = read_time(columns[0], at)
        start = self.times[columns[0], at]
        if start is None:
            return Reason.BAD_TIME, f"column {columns[0]!r} holds no time in ISO-8601"
        self.starts.setdefault(key, set()).add(start)
        if not text.strip():
            return Reason.NULL, f"column {columns[1]!r} holds no value"
        value = _number(text)
        if value is None:
            return Reason.NOT_A_NUMBER, f"column {columns[1]!r} holds what is not a number"
        if start in series:
            return Reason.DUPLICATE, f"the time in column {columns[0]!r} has a value already; are these local times?"
        if problem := number_problem(value, key[1]):
            return problem
        series[start] = (value, settled)
        return None


def read_time(column: str, text: str) -> datetime | None:
    """A time with its offset, or one without in a column whose name says that it is UTC. Raises TraceError."""
    moment = parse_time(text.strip())
    if moment is None:
        moment = parse_time(f"{text.strip()}+00:00") or parse_time(f"{text.strip()}T00:00+00:00")
        if moment is not None and "utc" not in column:
            raise TraceError(
                f"column {column!r} holds the time {text.strip()[:40]} without an offset: write it with one, "
                "such as 2024-03-31T01:00:00+01:00, or name the column datetime_utc if it is UTC"
            )
    return moment


def _number(text: str) -> float | None:
    try:
        # Python reads digits of other scripts and 1_000 as well; whoever wrote them may have meant something else.
        return float(text) if text.isascii() and "_" not in text else None
    except ValueError:
        return None


def _series(key: ZoneKind, rows: _Rows) -> Series | str:
    """One zone's series with its step, or why it has none; values at other times than its steps are rejected."""
    starts, values, (times, column) = sorted(rows.starts.get(key, ())), rows.values[key], rows.columns[key]
    if not values:
        return f"no {key[1].value} value of zone {key[0]} can be believed"
    apart = Counter(after - before for before, after in pairwise(starts))
    step, count = max(apart.items(), key=lambda item: (item[1], -item[0])) if apart else (HOUR, 0)
    if step > HOUR and count < max(3, len(starts) // 2):
        step = HOUR  # A few hours with gaps.
    lie = f"zone {key[0]}: by column {times!r} its {key[1].value} values lie {step // MINUTE} minutes apart"
    if step < MINUTE or HOUR % step:
        return f"{lie}; give a series in steps of 60, 30, 15, 10, 5 or 1 minutes, an hour at most"
    if coarser := _coarser(starts, step):
        return f"{lie}, but from {coarser[0]} on {coarser[1] // MINUTE}: give a file in which one step holds throughout"
    mixed = {floored(start, step) for start in starts if floored(start, step) != start}
    if len(mixed) > _STRAYS * len({floored(start, step) for start in starts}):
        first = next(start for start in starts if floored(start, step) in mixed and start not in mixed)
        return f"{lie}, but one begins at {first}: give a file in which one step holds throughout, from whole hours on"
    kept = {}
    for start in sorted(values):
        if floored(start, step) in mixed:
            why = (
                f"by column {times!r} it lies among values {step // MINUTE} minutes apart, and another within its step"
            )
            rows.reject(key, start.isoformat(), f"{values[start][0]:g}", Reason.BAD_TIME, why)
        else:
            kept[start] = values[start]
    return Series(step, kept, column) if kept else f"{lie}, none of them at a whole step"


def _coarser(starts: Sequence[datetime], step: timedelta) -> tuple[datetime, timedelta] | None:
    """Where another, longer step begins that is kept up; None if the rest are gaps."""
    distances = [(after - before, before) for before, after in pairwise(starts)]
    for distance, group in groupby(distances, lambda pair: pair[0]):
        run = list(group)
        if distance > step and len(run) >= _REGULAR:
            return run[0][1], distance
    return None


def _read_rows(rows: Iterator[list[str]], into: _Rows) -> None:
    header = [name.strip().lower() for name in next(rows, [])]
    if "gco2_per_kwh" in header:
        read = _long_row(header)
    elif any("intensity" in name for name in header):
        read = _portal_row(header)
    else:
        raise TraceError(
            "the first line must name datetime_utc, zone, gco2_per_kwh and signal, "
            "or the columns of the Electricity Maps portal"
        )
    for row in rows:
        if len(row) < len(header):
            raise TraceError(f"a line has {len(row)} of {len(header)} columns: {','.join(row)[:80]}")
        for columns, key, at, text, settled in read(row):
            into.add(columns, key, at, text, settled)


Cells = tuple[tuple[str, str], ZoneKind, str, str, bool]
"""Columns of time and value, zone and kind, time, value, whether it is settled."""


def _column(header: Sequence[str], *starts: str) -> int:
    """The column whose name begins with one of `starts`, rather one in UTC. Raises TraceError."""
    found = [i for i, name in enumerate(header) if name.startswith(starts)]
    if not found:
        raise TraceError(f"no column {' or '.join(starts)}")
    return next((i for i in found if "utc" in header[i]), found[0])


def _long_row(header: Sequence[str]) -> Callable[[Sequence[str]], Iterable[Cells]]:
    at, zone = _column(header, "datetime"), _column(header, "zone")
    value, signal = _column(header, "gco2_per_kwh"), _column(header, "signal")
    estimated = header.index("is_estimated") if "is_estimated" in header else None

    def read(row: Sequence[str]) -> Iterable[Cells]:
        kind = _LONG_SIGNALS.get(row[signal].strip())
        if kind is None:
            raise TraceError(f"signal {row[signal][:40]!r} is none of {', '.join(_LONG_SIGNALS)}")
        settled = estimated is None or row[estimated].strip().lower() != "true"
        return (((header[at], header[value]), (row[zone].strip(), kind), row[at], row[value], settled),)

    return read


def _portal_row(header: Sequence[str]) -> Callable[[Sequence[str]], Iterable[Cells]]:
    at, zone = _column(header, "datetime"), _column(header, "zone id")
    estimated = _column(header, "data estimated")
    columns = [(i, kind) for i, name in enumerate(header) if (kind := _portal_kind(name))]

    def read(row: Sequence[str]) -> Iterable[Cells]:
        settled = row[estimated].strip().lower() != "true"
        for column, kind in columns:
            yield (header[at], header[column]), (row[zone].strip(), kind), row[at], row[column], settled

    return read


def _portal_kind(name: str) -> SignalKind | None:
    """`Carbon intensity gCO2eq/kWh (Life cycle)`; older files say LCA."""
    if not name.startswith("carbon intensity"):
        return None
    lifecycle = any(word in name for word in ("life cycle", "lifecycle", "lca"))
    return SignalKind.AVERAGE_LIFECYCLE if lifecycle else SignalKind.AVERAGE_DIRECT
