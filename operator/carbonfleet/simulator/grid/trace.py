"""A recorded grid to replay: hourly intensities of some zones, whole, or refused with what is wrong."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.placement.snapshot import FloatArray
from carbonfleet.signals import Reason, Trace, read_trace

HOUR: Final = timedelta(hours=1)
MINUTE: Final = timedelta(minutes=1)


class ReplayError(ValueError):
    """A replay can't be done; the message says why and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Intensities of some zones over consecutive hours; `grams_per_kwh` has shape (zones, hours)."""

    zones: tuple[str, ...]
    signal: SignalKind
    start: datetime
    grams_per_kwh: FloatArray
    filled: Mapping[str, int]
    """By zone: how many hours were missing and took the value of the hour before."""

    @property
    def hours(self) -> int:
        """How many hours there are."""
        return int(self.grams_per_kwh.shape[1])

    @property
    def end(self) -> datetime:
        """The end of the last hour."""
        return self.start + HOUR * self.hours

    def row(self, zone: str) -> int:
        """The row of a zone. Raises ReplayError."""
        if zone not in self.zones:
            raise ReplayError(f"zone {zone} is not among those replayed: {', '.join(self.zones)}")
        return self.zones.index(zone)

    def hour(self, moment: datetime) -> int:
        """The index of the hour that holds a moment."""
        return (moment - self.start) // HOUR

    def moment(self, hour: int) -> datetime:
        """When an hour begins."""
        return self.start + HOUR * hour

    def mean(self, row: int, begin: datetime, minutes: int) -> float:
        """Mean g/kWh of a zone over a window. Raises ReplayError when it reaches beyond the trace."""
        first, last = (begin - self.start) // MINUTE, (begin - self.start) // MINUTE + minutes
        if first < 0 or last > self.hours * 60:
            raise ReplayError(f"a run of {minutes} min from {begin} reaches beyond the trace, which ends {self.end}")
        hours = np.arange(first // 60, -(-last // 60))
        weights = np.minimum((hours + 1) * 60, last) - np.maximum(hours * 60, first)
        return float(self.grams_per_kwh[row, hours] @ weights) / minutes


def open_grid(
    paths: Sequence[Path],
    zones: Sequence[str],
    signal: SignalKind = SignalKind.AVERAGE_LIFECYCLE,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    fill: bool = False,
) -> Grid:
    """Read the zones' common span, cut to [start, end) where given.

    Raises ReplayError for unknown zones and signals, rows that can't be believed, and missing hours; with
    `fill` a missing or refused hour takes the value of the hour before it, and is counted. Which of two values
    of an hour is right nobody knows: that is refused in any case.
    """
    if not zones:
        raise ReplayError("name at least one zone")
    if len(set(zones)) < len(zones):
        raise ReplayError(f"a zone is named twice: {', '.join(zones)}")
    trace = read_trace(*paths)
    series = [_series(trace, zone, signal) for zone in zones]
    _refuse_bad_rows(trace, zones, fill)
    first = max([min(hours) for hours in series] + ([start] if start else []))
    last = min([max(hours) + HOUR for hours in series] + ([end] if end else []))
    if last <= first:
        raise ReplayError(
            f"the zones {', '.join(zones)} have no hour in common: together they begin at {first} and end at {last} "
            "(--start and --end, less 90 days of history, cut them too)"
        )
    rows, filled = [], {}
    for zone, hours in zip(zones, series, strict=True):
        values, missing = _values(hours, first, (last - first) // HOUR)
        if missing and not fill:
            raise ReplayError(_gap_words(zone, hours, first, last, missing))
        rows.append(values)
        filled[zone] = missing
    return Grid(tuple(zones), signal, first, np.array(rows), filled)


def _series(trace: Trace, zone: str, signal: SignalKind) -> Mapping[datetime, tuple[float, bool]]:
    found = trace.values.get((zone, signal))
    if found:
        return found
    kinds = sorted(kind.value for name, kind in trace.values if name == zone)
    if signal.value in kinds:
        rows = (row for row in trace.rejected if row.zone == zone)
        why = next((f"; the first, at {row.at}: {row.message} ({row.value!r})" for row in rows), "")
        raise ReplayError(f"no {signal.value} value of zone {zone} can be believed{why}")
    if kinds:
        raise ReplayError(f"zone {zone} has no {signal.value} values, only {', '.join(kinds)}; kinds never mix")
    names = sorted({name for name, _ in trace.values})
    near = difflib.get_close_matches(zone, names, 3) or names[:10]
    raise ReplayError(f"there is no zone {zone} in the trace; there is {', '.join(near)}")


def _refuse_bad_rows(trace: Trace, zones: Sequence[str], fill: bool) -> None:
    bad = [row for row in trace.rejected if row.zone in zones and not (fill and row.reason is not Reason.DUPLICATE)]
    if not bad:
        return
    row = bad[0]
    way = "" if row.reason is Reason.DUPLICATE else ", or fill such hours from the hour before (--fill-gaps)"
    count = "one value" if len(bad) == 1 else f"{len(bad)} values"
    raise ReplayError(
        f"{count} can't be believed, the first of {row.zone} at {row.at}: {row.message} ({row.value!r}). "
        f"Mend the trace{way}"
    )


def _values(hours: Mapping[datetime, tuple[float, bool]], first: datetime, count: int) -> tuple[FloatArray, int]:
    """Values from `first` on, a missing one as the one before it; and how many were missing."""
    values, missing = np.empty(count), 0
    before = next(hours[moment][0] for moment in sorted(hours) if moment >= first)
    for index in range(count):
        entry = hours.get(first + HOUR * index)
        missing += entry is None
        before = before if entry is None else entry[0]
        values[index] = before
    return values, missing


def _gap_words(zone: str, hours: Mapping[datetime, object], first: datetime, last: datetime, missing: int) -> str:
    gap = next(first + HOUR * i for i in range((last - first) // HOUR) if first + HOUR * i not in hours)
    return (
        f"zone {zone} has no value in {missing} hour{'s' * (missing > 1)}, the first at {gap}. "
        "Cut the span (--start, --end), or fill such hours from the hour before (--fill-gaps)"
    )
