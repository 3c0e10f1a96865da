"""Hourly intensity forecast from the same hours of the last weeks, and how fast departures from them fade."""

from typing import Final

import numpy as np

from carbonfleet.forecast.regression import DAY, DIRECT_HOURS, WEEK, same_hour_mean
from carbonfleet.forecast.values import FloatArray, IntArray

WEEKS: Final = 3
"""Whose same hour is looked at, as far as there are as many."""
FADE_HOURS: Final = 24.0
"""How fast a departure fades before anything is learned, as an e-folding time."""
FIRST_SAMPLE: Final = WEEKS * WEEK
"""Before it departures are of another kind: from fewer weeks."""
PRIOR_DAYS: Final = 10.0
"""How many days of evidence that first guess weighs."""
HALF_LIFE_DAYS: Final = 30.0
"""How fast old days lose weight."""


class Seasonal:
    """For each hour ahead, how much is left of the newest departure and of the last day's; learned day by day."""

    def __init__(self, values: FloatArray) -> None:
        self._values = values
        self._hours = np.arange(DIRECT_HOURS)[:, None]
        self._same_hour = same_hour_mean(values, WEEKS, period=WEEK)
        departure = np.zeros_like(values)
        departure[WEEK:] = values[WEEK:] - self._same_hour[:-WEEK]
        total = np.cumsum(np.concatenate([np.zeros(DAY + 1), departure]))
        newest = np.concatenate([[0.0], departure])
        self._known = np.stack([newest, (total[DAY:] - total[:-DAY]) / DAY], axis=-1)
        """At each issue: the newest departure and the last day's mean; shape (hours + 1, 2)."""
        self._gram = np.zeros((DIRECT_HOURS, 2, 2))
        self._moment = np.zeros((DIRECT_HOURS, 2))
        self._samples = 1e-9
        self._weights = np.zeros((DIRECT_HOURS, 2))

    def learn_day(self, end: int) -> None:
        """Take in the issues whose outcome became known in the day before hour `end` (exclusive)."""
        fade = 0.5 ** (1 / HALF_LIFE_DAYS)
        hour = end - DAY + np.arange(DAY)[None, :]
        issue = hour - self._hours
        known = self._known[np.maximum(issue, 0)] * (issue >= FIRST_SAMPLE)[..., None]
        departure = self._values[hour] - self._base(issue, self._hours)
        transposed = known.transpose(0, 2, 1)
        self._gram = fade * self._gram + transposed @ known
        self._moment = fade * self._moment + (transposed @ departure[..., None])[..., 0]
        self._samples = fade * self._samples + int((issue[0] >= FIRST_SAMPLE).sum())

    def fit(self) -> bool:
        """Solve for what is left; True, since the first guess stands in for what is not learned yet."""
        evidence = PRIOR_DAYS * DAY * max(float(self._gram[0, 0, 0]) / self._samples, 1e-9)
        guess = np.exp(-(self._hours + 1) / FADE_HOURS) * np.array([1.0, 0.0])
        normal, moment = self._gram + evidence * np.eye(2), self._moment + evidence * guess
        self._weights = np.linalg.solve(normal, moment[..., None])[..., 0]
        return True

    def forecast(self, issue: IntArray) -> FloatArray:
        """Values of the hours from each issue on, shape (issues, DIRECT_HOURS)."""
        left: FloatArray = np.einsum("tk,hk->th", self._known[issue], self._weights)
        return left + self._base(issue[:, None], self._hours.T)

    def _base(self, issue: IntArray, ahead: IntArray) -> FloatArray:
        """The mean of the same hour of the last weeks, of which `ahead` reaches less than one."""
        base: FloatArray = self._same_hour[np.maximum(issue + ahead - WEEK, 0)]
        return base
