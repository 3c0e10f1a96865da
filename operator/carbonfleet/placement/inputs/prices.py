"""Prices that depend on the hour, as running totals, so that any window's price is one difference."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from carbonfleet.placement.inputs.options import Options
from carbonfleet.placement.inputs.timeline import BoolArray, IntArray, Timeline, WindowTotals
from carbonfleet.placement.snapshot import FloatArray

_UNIT_USD: Final = 1e-9
"""Per GPU and minute: prices are whole multiples of this, so that equal windows cost the same."""


@dataclass(frozen=True, eq=False)
class HourlyPrices:
    """What a GPU costs on the options whose price depends on the hour; nothing is said of the others."""

    has_hours: BoolArray
    """Shape (options,)."""
    row: IntArray
    """The table of each option's prices, shape (options,)."""
    total: FloatArray
    """Running total of each table, which many options may share; in `_UNIT_USD`, shape (tables, minutes + 1)."""
    line: Timeline

    @cached_property
    def any(self) -> bool:
        """Whether any option has such prices."""
        return bool(self.has_hours.any())

    @cached_property
    def _windows(self) -> WindowTotals:
        return WindowTotals(self.total, self.line)

    def over(self, options: IntArray, minutes: IntArray) -> FloatArray:
        """USD per GPU for windows of so many minutes, shape as `options`, from each slot's begin; (options, starts)."""
        return self._windows.over(self.row[options], minutes) * _UNIT_USD

    def between(self, option: IntArray | int, begin: IntArray | int, end: IntArray | int) -> FloatArray:
        """USD per GPU from one minute to another."""
        row = self.row[option]
        usd: FloatArray = (self.total[row, end] - self.total[row, begin]) * _UNIT_USD
        return usd

    def by_slot(self, slots: int) -> FloatArray:
        """USD per GPU in each of the first slots, shape (options, slots)."""
        edges = slice(0, slots * self.line.slot_minutes + 1, self.line.slot_minutes)
        return (np.diff(self.total[:, edges], axis=1) * _UNIT_USD)[self.row]


def hourly_prices_of(options: Options, line: Timeline) -> HourlyPrices:
    """The tables of all options."""
    hours = (np.arange(line.minutes) + line.origin.hour * 60 + line.origin.minute) // 60 % 24
    tables = {option.prices: 0 for option in options.entries if option.has_hours}
    total = np.zeros((len(tables), line.minutes + 1))
    for row, table in enumerate(tables):
        tables[table] = row
        per_minute = np.array([price or 0.0 for price in table]) / 60 / _UNIT_USD
        total[row, 1:] = np.cumsum(np.rint(per_minute[hours]))
    rows = [tables[option.prices] if option.has_hours else 0 for option in options.entries]
    has_hours = np.array([option.has_hours for option in options.entries], dtype=np.bool_)
    return HourlyPrices(has_hours, np.array(rows, dtype=np.int64), total, line)
