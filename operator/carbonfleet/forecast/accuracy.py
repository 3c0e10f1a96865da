"""How far a zone's forecasts were off, for each source and hour ahead: the error model of the planner."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import numpy as np

from carbonfleet.forecast.values import HOUR, FloatArray, Issue

HOURS_AHEAD: Final = 96
_FORGETTING: Final = 0.998
"""Per scored forecast: with two an hour, the weight of an error halves in about a week."""
_ENOUGH: Final = 20.0


@dataclass(slots=True)
class _Sums:
    """Decayed sums for each hour ahead, shape (96,)."""

    weight: FloatArray = field(default_factory=lambda: np.zeros(HOURS_AHEAD))
    squares: FloatArray = field(default_factory=lambda: np.zeros(HOURS_AHEAD))
    absolute: FloatArray = field(default_factory=lambda: np.zeros(HOURS_AHEAD))
    level: FloatArray = field(default_factory=lambda: np.zeros(HOURS_AHEAD))


@dataclass(slots=True)
class Accuracy:
    """Of one zone and kind. A forecast is scored once, when its last hour has been measured."""

    _waiting: list[Issue] = field(default_factory=list)
    _sums: dict[str, _Sums] = field(default_factory=dict)

    def add(self, issue: Issue) -> None:
        """Keep a forecast until it can be scored. A replayed trace has no error to measure."""
        if not issue.exact:
            self._waiting.append(issue)

    def score(self, held: FloatArray, start: datetime) -> None:
        """Score the forecasts that are over against `held`: shape (hours,) from `start` on, NaN in gaps."""
        end = start + HOUR * held.size
        ripe = [issue for issue in self._waiting if min(issue.end, issue.start + HOUR * HOURS_AHEAD) <= end]
        if ripe:
            self._waiting = [issue for issue in self._waiting if issue not in ripe]
        for issue in ripe:
            self._score(issue, held, start)

    def _score(self, issue: Issue, held: FloatArray, start: datetime) -> None:
        first = max(0, round((issue.start - issue.issued_at) / HOUR))
        hours = min(issue.grams_per_kwh.size, HOURS_AHEAD - first)
        shift = (issue.start - start) // HOUR
        if hours <= 0 or shift < 0:
            return
        truth, said = held[shift : shift + hours], issue.grams_per_kwh[:hours]
        known = np.isfinite(truth) & np.isfinite(said)
        error = np.where(known, said - truth, 0.0)
        sums = self._sums.setdefault(issue.source, _Sums())
        at = slice(first, first + hours)
        for total, part in (
            (sums.weight, known.astype(np.float64)),
            (sums.squares, error**2),
            (sums.absolute, np.abs(error)),
            (sums.level, np.where(known, truth, 0.0)),
        ):
            total *= _FORGETTING
            total[at] += part

    def errors(self) -> Mapping[str, FloatArray]:
        """By source: root mean square error in g/kWh for each hour ahead; NaN where too little is known."""
        return {source: _rooted(sums) for source, sums in self._sums.items()}

    def percent(self, source: str, hour_ahead: int) -> float | None:
        """Mean absolute error as a share of the mean level (weighted MAPE), in percent; None if unknown."""
        sums = self._sums.get(source)
        if sums is None or sums.weight[hour_ahead] < _ENOUGH or not sums.level[hour_ahead]:
            return None
        return float(100 * sums.absolute[hour_ahead] / sums.level[hour_ahead])


def _rooted(sums: _Sums) -> FloatArray:
    enough = sums.weight >= _ENOUGH
    mean: FloatArray = np.divide(sums.squares, sums.weight, out=np.full(HOURS_AHEAD, np.nan), where=enough)
    return np.sqrt(mean)
