"""A recorded grid to replay: intensities of some zones by the hour or finer, whole, or refused with what is wrong."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.placement.snapshot import FloatArray
from carbonfleet.signals import Reason, Series, Trace, read_trace

HOUR: Final = timedelta(hours=1)
MINUTE: Final = timedelta(minutes=1)
STEPS: Final = (15 * MINUTE, 30 * MINUTE, HOUR)
"""How long slots may be; of values that lie closer the means over the shortest of these are taken."""
MOST_FILLED: Final = 0.05
"""The share of a zone's values that may be filled: beyond it the replay would be of a grid that nobody measured."""


class ReplayError(ValueError):
    """A replay can't be done; the message says why and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Intensities of some zones over consecutive slots of `step`; `grams_per_kwh` has shape (zones, slots)."""

    zones: tuple[str, ...]
    signal: SignalKind
    start: datetime
    grams_per_kwh: FloatArray
    filled: Mapping[str, int]
    """By zone: how many values were missing and taken from the one before."""
    step: timedelta = HOUR

    @property
    def slots(self) -> int:
        """How many slots there are."""
        return int(self.grams_per_kwh.shape[1])

    @property
    def per_hour(self) -> int:
        """How many slots an hour has."""
        return HOUR // self.step

    @property
    def end(self) -> datetime:
        """The end of the last slot."""
        return self.start + self.step * self.slots

    def row(self, zone: str) -> int:
        """The row of a zone. Raises ReplayError."""
        if zone not in self.zones:
            raise ReplayError(f"zone {zone} is not among those replayed: {', '.join(self.zones)}")
        return self.zones.index(zone)

    def slot(self, moment: datetime) -> int:
        """The index of the slot that holds a moment."""
        return (moment - self.start) // self.step

    def moment(self, slot: int) -> datetime:
        """When a slot begins."""
        return self.start + self.step * slot

    def mean(self, row: int, begin: datetime, minutes: int) -> float:
        """Mean g/kWh of a zone over a window. Raises ReplayError when it reaches beyond the trace."""
        first, last = (begin - self.start) // MINUTE, (begin - self.start) // MINUTE + minutes
        slot = self.step // MINUTE
        if first < 0 or last > self.slots * slot:
            raise ReplayError(f"a run of {minutes} min from {begin} reaches beyond the trace, which ends {self.end}")
        slots = np.arange(first // slot, -(-last // slot))
        weights = np.minimum((slots + 1) * slot, last) - np.maximum(slots * slot, first)
        return float(self.grams_per_kwh[row, slots] @ weights) / minutes

    def means(self, row: int, first_minutes: FloatArray, minutes: int) -> FloatArray:
        """The same for starts in minutes from the trace's begin on, shape (starts,); all must lie within it."""
        return window_means(self.grams_per_kwh[row], self.step // MINUTE, first_minutes, minutes)


def window_means(values: FloatArray, slot_minutes: int, first_minutes: FloatArray, minutes: int) -> FloatArray:
    """Mean of `values`, each of which holds for a slot, over runs of `minutes` from each start on, shape (starts,)."""
    edges = np.arange(values.size + 1) * float(slot_minutes)
    total = np.concatenate([[0.0], np.cumsum(values)]) * slot_minutes
    found: FloatArray = np.interp(first_minutes + minutes, edges, total) - np.interp(first_minutes, edges, total)
    return found / minutes


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

    Slots are as long as the finest zone's; a coarser zone's value holds for several, and values closer than a quarter
    of an hour are averaged. Raises ReplayError for unknown zones and signals, rows that can't be believed, and missing
    values; with `fill` a missing or refused one takes the value before it, and is counted, up to a twentieth of them.
    Which of two values of a time is right nobody knows: that is refused in any case.
    """
    if not zones:
        raise ReplayError("name at least one zone")
    if len(set(zones)) < len(zones):
        raise ReplayError(f"a zone is named twice: {', '.join(zones)}")
    trace = read_trace(*paths)
    series = [_series(trace, zone, signal) for zone in zones]
    _refuse_bad_rows(trace, zones, fill)
    steps = [next(step for step in STEPS if not step % each.step) for each in series]
    longest, step = max(steps), min(steps)
    held = [each.averaged(slot, 1.0) for each, slot in zip(series, steps, strict=True)]
    if not all(held):
        raise ReplayError(f"zone {zones[held.index({})]} has no slot of which all values can be believed")
    first = _whole(max([min(known) for known in held] + ([start] if start else [])), longest, up=True)
    ends = [max(known) + each for known, each in zip(held, steps, strict=True)]
    last = _whole(min(ends + ([end] if end else [])), longest, up=False)
    if last <= first:
        raise ReplayError(
            f"the zones {', '.join(zones)} have no hour in common: together they begin at {first} and end at {last} "
            "(--start and --end, less 90 days of history, cut them too)"
        )
    rows, filled = [], {}
    for zone, known, apart, each in zip(zones, held, steps, series, strict=True):
        values, gaps = _values(known, first, last, apart)
        if gaps and not fill:
            raise ReplayError(_gap_words(zone, gaps))
        if len(gaps) > MOST_FILLED * values.size:
            raise ReplayError(_filled_words(trace, zone, each.column, len(gaps), values.size))
        rows.append(np.repeat(values, apart // step))
        filled[zone] = len(gaps)
    return Grid(tuple(zones), signal, first, np.array(rows), filled, step)


def _whole(moment: datetime, step: timedelta, *, up: bool) -> datetime:
    """The next begin of a step, or the one before."""
    beyond = timedelta(seconds=moment.timestamp() % step.total_seconds())
    return moment - beyond + (step if up and beyond else timedelta())


def _series(trace: Trace, zone: str, signal: SignalKind) -> Series:
    key = (zone, signal)
    if key in trace.series:
        return trace.series[key]
    kinds = sorted(kind.value for name, kind in trace.series if name == zone)
    if key in trace.faults:
        rows = (row for row in trace.rejected if row.zone == zone)
        why = next((f"; the first refused row, at {row.at}: {row.message} ({row.value!r})" for row in rows), "")
        raise ReplayError(f"{trace.faults[key]}{why}")
    if kinds:
        raise ReplayError(f"zone {zone} has no {signal.value} values, only {', '.join(kinds)}; kinds never mix")
    names = sorted({name for name, _ in trace.series})
    near = difflib.get_close_matches(zone, names, 3) or names[:10]
    raise ReplayError(f"there is no zone {zone} in the trace; there is {', '.join(near)}")


def _refuse_bad_rows(trace: Trace, zones: Sequence[str], fill: bool) -> None:
    bad = [row for row in trace.rejected if row.zone in zones and not (fill and row.reason is not Reason.DUPLICATE)]
    if not bad:
        return
    row = bad[0]
    way = "" if row.reason is Reason.DUPLICATE else ", or fill such gaps from the value before (--fill-gaps)"
    total = sum(trace.refused[zone] for zone in {row.zone for row in bad})
    count = "one value" if total == 1 else f"{total} values"
    raise ReplayError(
        f"{count} can't be believed, the first of {row.zone} at {row.at}: {row.message} ({row.value!r}). "
        f"Mend the trace{way}"
    )


def _values(
    known: Mapping[datetime, tuple[float, bool]], first: datetime, last: datetime, step: timedelta
) -> tuple[FloatArray, list[datetime]]:
    """Values in [first, last), a missing one as the one before it; and when they were missing."""
    moments = [first + step * index for index in range((last - first) // step)]
    values, gaps = np.empty(len(moments)), []
    before = next(known[moment][0] for moment in sorted(known) if moment >= first)
    for index, moment in enumerate(moments):
        if moment in known:
            before = known[moment][0]
        else:
            gaps.append(moment)
        values[index] = before
    return values, gaps


def _gap_words(zone: str, gaps: Sequence[datetime]) -> str:
    return (
        f"zone {zone} lacks {len(gaps)} value{'s' * (len(gaps) > 1)}, the first at {gaps[0]}. "
        "Cut the span (--start, --end), or fill such gaps from the value before (--fill-gaps)"
    )


def _filled_words(trace: Trace, zone: str, column: str, gaps: int, slots: int) -> str:
    row = next((row for row in trace.rejected if row.zone == zone), None)
    why = f"; the first refused row, at {row.at}: {row.message}" if row else ""
    return (
        f"{gaps:,} of {slots:,} values of zone {zone} are missing from column {column!r}, and at most "
        f"{MOST_FILLED:.0%} are filled{why}. Mend the trace, or cut the span to what was measured (--start, --end)"
    )
