"""Time in whole minutes, and the grid's carbon over it as exact running totals."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import Forecast
from carbonfleet.placement.assumptions import Assumptions
from carbonfleet.placement.snapshot import FloatArray, Snapshot

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
MINUTE: Final = timedelta(minutes=1)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
Segments = tuple[tuple[int, int], ...]
"""Half-open, in minutes of a timeline."""
RESOLUTION: Final = 1e-6
"""Intensities are whole multiples of this (g/kWh), so that sums are exact and equal windows are equal."""
MOST: Final = 2**30 - 1
"""The largest weighed total, in its unit: half of 32 bits, for what a delay must gain comes on top."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The starts that are weighed, and the minutes that their windows cover.

    Minute 0 is `origin`, the begin of the slot that holds `now`. Start 0 is `now` itself; start i is
    minute i * slot_minutes.
    """

    origin: datetime
    now: datetime
    slot_minutes: int
    starts: int
    minutes: int
    """How far windows may reach; a multiple of slot_minutes."""
    now_minute: int
    """The minute that has begun."""
    next_minute: int
    """The minute that begins now or next: what starts at once is reckoned from here to its end."""

    @property
    def slots(self) -> int:
        """How many slots of capacity there are."""
        return self.minutes // self.slot_minutes

    @property
    def start_minutes(self) -> IntArray:
        """The minute of each start, shape (starts,)."""
        minutes = np.arange(self.starts, dtype=np.int64) * self.slot_minutes
        minutes[0] = self.now_minute
        return minutes

    def minute(self, moment: datetime) -> int:
        """Whole minutes from the origin, rounded down."""
        return (moment - self.origin) // MINUTE

    def minute_after(self, moment: datetime) -> int:
        """Whole minutes from the origin, rounded up."""
        return -((self.origin - moment) // MINUTE)

    def begin(self, start: int) -> int:
        """The minute of a start."""
        return self.now_minute if start == 0 else start * self.slot_minutes

    def moment(self, minute: int) -> datetime:
        """The time at a minute."""
        return self.origin + minute * MINUTE

    def start_at_or_after(self, minute: int) -> int:
        """The first start that is not before a minute."""
        return 0 if minute <= self.now_minute else -(-minute // self.slot_minutes)

    def start_at_or_before(self, minute: int) -> int:
        """The last start that is not after a minute; -1 where even `now` is too late."""
        return -1 if minute < self.now_minute else minute // self.slot_minutes


def timeline(now: datetime, latest: timedelta, longest: timedelta, assumptions: Assumptions) -> Timeline:
    """A timeline with starts up to `now + latest` (within the horizon) and room for the longest run."""
    slot = max(1, assumptions.slot // MINUTE)
    origin = now - (now - EPOCH) % (slot * MINUTE)
    start_span = min(max(latest, timedelta()), assumptions.horizon)
    starts = (now + start_span - origin) // (slot * MINUTE) + 1
    run_slots = -(-(longest // MINUTE + 1) // slot) + 1
    present = (now - origin) // MINUTE, -((origin - now) // MINUTE)
    return Timeline(origin, now, slot, starts, (starts + run_slots) * slot, *present)


class WindowTotals:
    """What running totals grow by over windows, for all starts at once.

    Totals are laid out by the minute within a slot, so that the ends of windows of one length lie side by side.
    """

    def __init__(self, total: FloatArray, line: Timeline) -> None:
        """`total` has shape (rows, minutes + 1)."""
        self._slot = slot = line.slot_minutes
        self._stride = (total.shape[1] - 1) // slot + 1
        flat = np.zeros(len(total) * slot * self._stride + line.starts)
        phased = flat[: flat.size - line.starts].reshape(len(total), slot, self._stride)
        phased[:, :, -1] = total[:, -1:]
        for part in range(slot):
            column = total[:, part::slot]
            phased[:, part, : column.shape[1]] = column
        self._at = sliding_window_view(flat, line.starts)

    def over(self, rows: IntArray, minutes: IntArray) -> FloatArray:
        """For windows of so many minutes, shape (options,) as `rows`, from each slot's begin; (options, starts)."""
        whole, part = np.divmod(minutes, self._slot)
        totals: FloatArray = self._at[(rows * self._slot + part) * self._stride + whole]
        totals -= self._at[rows * self._slot * self._stride]
        return totals

    def mean_over(self, rows: IntArray, lengths: IntArray) -> FloatArray:
        """The mean over the likely lengths of runs, in minutes, shape (lengths, options); (options, starts)."""
        totals = self.over(rows, lengths[0])
        for minutes in lengths[1:]:
            totals += self.over(rows, minutes)
        if len(lengths) > 1:
            totals /= len(lengths)
        return totals


@dataclass(frozen=True, eq=False)
class Carbon:
    """The intensity of the zones of one signal kind, as running totals over minutes.

    Totals have shape (zones, minutes + 1), in g/kWh x minutes / RESOLUTION: whole numbers, kept as floats.
    """

    zones: Mapping[str, int]
    """The row of each zone."""
    total: FloatArray
    """What is expected."""
    weighed: FloatArray
    """What is made small: the expected value and a share of its doubt, in whole multiples of `lengths * unit`."""
    by_slot: FloatArray
    """What the weighed total grows by in each slot, shape (zones, slots)."""
    unit: FloatArray
    """Of each zone, a power of two: with it as the unit, its weighed totals, and their means over the likely lengths of
    a run, are whole and fit into 32 bits. Shape (zones,).
    """
    lengths: int
    """Over how many likely lengths of a run means are taken: a power of two."""
    is_steady: bool
    """Whether no zone's weighed intensity changes within a slot."""
    doubt: FloatArray
    forecasts: tuple[Forecast | None, ...]
    """By row; None where the grid is not known and the stand-in of the assumptions holds."""
    line: Timeline

    @cached_property
    def now(self) -> list[float]:
        """The intensity of each zone in the present minute, in g/kWh."""
        minute = self.line.now_minute
        grams: list[float] = ((self.total[:, minute + 1] - self.total[:, minute]) * RESOLUTION).tolist()
        return grams

    @cached_property
    def windows(self) -> WindowTotals:
        """Of what is expected."""
        return WindowTotals(self.total, self.line)

    @cached_property
    def weighed_windows(self) -> WindowTotals:
        """Of what is made small."""
        return WindowTotals(self.weighed, self.line)


def carbon(snapshot: Snapshot, signal: SignalKind, zones: tuple[str, ...], line: Timeline, lengths: int = 1) -> Carbon:
    """Running totals for the zones of the spokes and baselines, each from its forecast or the stand-in."""
    forecasts = tuple(usable(snapshot.forecasts.get((zone, signal)), line, snapshot.assumptions) for zone in zones)
    shape = len(zones), line.minutes + 1
    total, weighed, doubt = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    unit, is_steady = np.ones(shape[0]), True
    for row, forecast in enumerate(forecasts):  # one by one, since weeks of minutes of many zones are large
        values, doubts = _by_minute(forecast, line, snapshot.assumptions)
        np.cumsum(values, out=total[row, 1:])
        np.cumsum(doubts, out=doubt[row, 1:])
        values += np.rint(weighed_doubt(doubts, forecast, snapshot.assumptions))
        grain = _unit(values * lengths)
        unit[row] = grain / lengths
        values = np.rint(values / grain) * grain
        np.cumsum(values, out=weighed[row, 1:])
        slots = values.reshape(line.slots, line.slot_minutes)
        is_steady = is_steady and bool((slots == slots[:, :1]).all())
    by_slot = np.diff(weighed[:, :: line.slot_minutes], axis=1)
    rows = {zone: row for row, zone in enumerate(zones)}
    return Carbon(rows, total, weighed, by_slot, unit, lengths, is_steady, doubt, forecasts, line)


def _unit(rates: FloatArray) -> float:
    """The least power of two, one or more, in which the total of the rates fits into 32 bits."""
    room = MOST - rates.size  # each minute is rounded
    return float(2.0 ** np.ceil(np.log2(max(rates.sum() / room, 1.0))))


def weighed_doubt(doubts: FloatArray, forecast: Forecast | None, assumptions: Assumptions) -> FloatArray:
    """What doubt adds to an intensity when places and times are compared, shape as `doubts`.

    Only that of issued forecasts counts, which are means. Those from history are means of logarithms, which lie
    lower the greater the doubt: as much as a wait is worth, since it can still be thought over.
    """
    return (assumptions.doubt_weight if forecast and forecast.is_issued else 0.0) * doubts


def usable(forecast: Forecast | None, line: Timeline, assumptions: Assumptions) -> Forecast | None:
    """A forecast that covers now and stands on data that is not too old; None otherwise."""
    if forecast is None:
        return None
    fresh = forecast.link in {"static", "annual"} or line.now - forecast.observed_at <= assumptions.maximum_signal_age
    return forecast if fresh and forecast.start <= line.now + MINUTE < forecast.end + MINUTE else None


def _by_minute(forecast: Forecast | None, line: Timeline, assumptions: Assumptions) -> tuple[FloatArray, FloatArray]:
    """Intensity and doubt of each minute, in RESOLUTION. Past the end, the last day repeats itself."""
    if forecast is None:
        missing = assumptions.signal_loss_grams_per_kwh / RESOLUTION
        return np.full(line.minutes, np.rint(missing)), np.full(line.minutes, missing)
    seconds = forecast.step.total_seconds()
    offset = (line.origin - forecast.start).total_seconds()
    slot = ((np.arange(line.minutes) * 60.0 + offset) // seconds).astype(np.int64)
    values = np.rint(forecast.grams_per_kwh / RESOLUTION)
    doubts = np.rint(forecast.doubt_grams_per_kwh / RESOLUTION)
    count, day = values.size, int(min(values.size, max(1, 86_400 // seconds)))
    beyond = slot >= count
    slot = np.clip(np.where(beyond, count - day + (slot - count) % day, slot), 0, count - 1)
    spread = np.rint(np.maximum(doubts[-1], values[-day:].std()))
    return values[slot], np.where(beyond, spread, doubts[slot])
