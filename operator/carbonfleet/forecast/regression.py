"""Hourly intensity forecast by ridge regression on how past hours left their hour-of-day profile."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from carbonfleet.forecast.values import FloatArray, IntArray

DAY: Final = 24
WEEK: Final = 168
DIRECT_HOURS: Final = 72
"""Each of the first three days' hours has its own coefficients; later days repeat the third."""
LAGS: Final = np.array([1, 2, 3, 4, 6, 8, 12, 16, 18, 20, 24], dtype=np.int64)
"""Hours before the issue whose departure from the profile is looked at."""
HALF_LIFE_DAYS: Final = 45.0
"""How fast old days lose weight."""
RIDGE: Final = 0.01
"""Penalty on coefficients of standardised features."""
FAINT: Final = 1e-4
"""A feature that hardly ever stirred has nothing to teach, and its coefficient must not grow beyond bounds."""
FIRST_SAMPLE: Final = WEEK + 3 * DAY
"""Hours of history before the first issue that is learned from."""
FEWEST_SAMPLES: Final = 48.0
NEAR: Final = ((1, 0.607), (2, 0.135), (3, 0.011))
"""By distance, what an hour ahead takes of the samples of those next to it: a bell of one hour's deviation."""


@dataclass(frozen=True, slots=True, eq=False)
class Departures:
    """A zone's hours as departures from its profile. Arrays have shape (hours,), in the scale of `values`.

    Entry u of each array stands on hours up to u alone. `profile[u]` is the mean of the hour of the day of u
    over the last seven days, `spread[u]` what departures there are measured in.
    """

    values: FloatArray
    profile: FloatArray
    long_profile: FloatArray
    spread: FloatArray
    departure: FloatArray
    """In units of spread."""
    day_mean: FloatArray
    """Mean departure of the last 24 hours."""

    @classmethod
    def of(cls, values: FloatArray, *, by_hour: bool) -> "Departures":
        """`by_hour`: departures are measured by how far each hour of the day usually strays from its profile."""
        profile = same_hour_mean(values, 7)
        spread = _spread(values, profile) if by_hour else np.ones_like(values)
        departure = (values - profile) / spread
        total = np.cumsum(np.concatenate([np.zeros(DAY), departure]))
        day_mean = (total[DAY:] - total[:-DAY]) / DAY
        return cls(values, profile, same_hour_mean(values, 28), spread, departure, day_mean)

    def base(self, issue: IntArray, ahead: IntArray) -> tuple[FloatArray, FloatArray]:
        """Profile and spread of the hours `issue + ahead`, as known at `issue`."""
        same_hour = issue - DAY + ahead % DAY
        return self.profile[same_hour], self.spread[same_hour]

    def features(self, issue: IntArray, ahead: IntArray) -> FloatArray:
        """What is known at `issue` of the hour `issue + ahead`; the shape of both broadcast, and features last.

        Only hours before `issue` are looked at.
        """
        issue, ahead = np.broadcast_arrays(issue, ahead)
        base, spread = self.base(issue, ahead)
        same_hour = issue - DAY + ahead % DAY
        newest, day = self.departure[issue - 1], self.day_mean[issue - 1]
        columns = [np.ones(issue.shape), *(self.departure[issue - lag] for lag in LAGS), day]
        columns += [(self.values[same_hour] - base) / spread, (self.long_profile[same_hour] - base) / spread]
        columns.append((self.values[issue - WEEK + ahead % WEEK] - base) / spread)
        phase = 2 * np.pi * ((issue + ahead) % DAY) / DAY
        for wave in (np.sin(phase), np.cos(phase), np.sin(2 * phase), np.cos(2 * phase)):
            columns += [wave * newest, wave * day]
        return np.stack(columns, axis=-1)


def columns_of(hours: int) -> IntArray:
    """Hours beyond those that have their own forecast repeat the last day."""
    ahead = np.arange(hours)
    columns: IntArray = np.where(ahead < DIRECT_HOURS, ahead, DIRECT_HOURS - DAY + ahead % DAY)
    return columns


class Ridge:
    """Coefficients for each hour ahead, learned day by day; old days fade."""

    def __init__(self, departures: Departures) -> None:
        self._departures = departures
        self._hours = np.arange(DIRECT_HOURS)[:, None]
        count = LAGS.size + 13
        self._gram = np.zeros((DIRECT_HOURS, count, count))
        self._moment = np.zeros((DIRECT_HOURS, count))
        self._samples = np.zeros(DIRECT_HOURS)
        self._weights: FloatArray | None = None

    def learn_day(self, end: int) -> None:
        """Take in the issues whose outcome became known in the day before hour `end` (exclusive)."""
        fade = 0.5 ** (1 / HALF_LIFE_DAYS)
        issue = end - DAY + np.arange(DAY)[None, :] - self._hours
        valid = issue >= FIRST_SAMPLE
        issue = np.maximum(issue, FIRST_SAMPLE)
        x = self._departures.features(issue, self._hours) * valid[..., None]
        base, spread = self._departures.base(issue, np.broadcast_to(self._hours, issue.shape))
        y = (self._departures.values[np.minimum(issue + self._hours, end - 1)] - base) / spread * valid
        transposed = x.transpose(0, 2, 1)
        self._gram = fade * self._gram + transposed @ x
        self._moment = fade * self._moment + (transposed @ y[..., None])[..., 0]
        self._samples = fade * self._samples + valid.sum(axis=1)

    def fit(self) -> bool:
        """Solve for the coefficients; False while there is too little to learn from."""
        if self._samples.min() < FEWEST_SAMPLES:
            return False
        gram, moment, count = _shared(self._gram), _shared(self._moment), _shared(self._samples)[:, None]
        scale = np.sqrt(np.einsum("hii->hi", gram) / count) + FAINT
        normal = gram / (scale[:, :, None] * scale[:, None, :]) / count[..., None]
        normal = normal + RIDGE * np.eye(normal.shape[1])
        solved = np.linalg.solve(normal, (moment / scale / count)[..., None])[..., 0]
        self._weights = solved / scale
        return True

    def forecast(self, issue: IntArray) -> FloatArray:
        """Values of the hours from each issue on, shape (issues, DIRECT_HOURS); `fit` must have been True."""
        if self._weights is None:
            raise ValueError("nothing has been fitted yet")
        rows, hours = issue[:, None], np.arange(DIRECT_HOURS)[None, :]
        base, spread = self._departures.base(rows, hours)
        departure: FloatArray = np.einsum("thf,hf->th", self._departures.features(rows, hours), self._weights)
        return base + spread * departure


def _shared(sums: FloatArray) -> FloatArray:
    """Sums over samples by hours ahead, with those of the hours next to each; shape as `sums`."""
    shared = sums.copy()
    for apart, weight in NEAR:
        shared[apart:] += weight * sums[:-apart]
        shared[:-apart] += weight * sums[apart:]
    return shared


def same_hour_mean(values: FloatArray, periods: int, *, period: int = DAY) -> FloatArray:
    """Mean over the last `periods` days, as many as there are, of each hour's hour of the day; shape as values.

    With another `period`, of its hour of the week.
    """
    grid = _by_period(values, period)
    total = np.cumsum(grid, axis=0)
    total[periods:] -= np.cumsum(grid, axis=0)[:-periods]
    count = np.minimum(np.arange(1, grid.shape[0] + 1), periods)[:, None]
    return (total / count).reshape(-1)[: values.size]


def faded_mean(values: FloatArray, half_life_days: float) -> FloatArray:
    """The same with weights that fade with age."""
    grid, fade = _by_period(values, DAY), 0.5 ** (1 / half_life_days)
    total, weight = np.zeros_like(grid), 0.0
    running = np.zeros(DAY)
    for day in range(grid.shape[0]):
        running, weight = fade * running + grid[day], fade * weight + 1
        total[day] = running / weight
    return total.reshape(-1)[: values.size]


def _by_period(values: FloatArray, period: int) -> FloatArray:
    """Rows of a day or a week from the first hour on; the last row is filled up with zeros."""
    return np.pad(values, (0, -values.size % period)).reshape(-1, period)


def _spread(values: FloatArray, profile: FloatArray) -> FloatArray:
    """Between the spread of all hours and that of the hour of the day (geometric mean), over 28 days."""
    error = np.zeros_like(values)
    error[DAY:] = (values[DAY:] - profile[:-DAY]) ** 2
    hour = same_hour_mean(error, 28)
    total = np.cumsum(np.concatenate([[0.0], error]))
    begin = np.maximum(np.arange(values.size) + 1 - 28 * DAY, 0)
    overall = (total[1:] - total[begin]) / (np.arange(values.size) + 1 - begin)
    days = np.minimum(np.arange(values.size) // DAY + 1, 28)
    shrunk = (days * hour + 5 * overall) / (days + 5)
    spread: FloatArray = np.sqrt(np.sqrt(shrunk * overall)) + 1e-6
    return spread
