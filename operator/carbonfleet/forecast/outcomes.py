"""What became of plans: how jobs like one of now would have fared on the forecasts of the last weeks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

import numpy as np

from carbonfleet.forecast.regression import DAY, columns_of
from carbonfleet.forecast.values import HOUR, FloatArray, IntArray, PastForecasts

FEWEST_JOBS: Final = 7 * DAY
"""One comes in each hour; from fewer than a week's nothing is learned."""
OUTCOME_HALF_LIFE_DAYS: Final = 20.0
LIKE_WAIT_HOURS: Final = 6.0
"""Jobs whose first planned wait was so much longer or shorter count 1/e of those with the same."""
LEAST_DOUBT: Final = 1e-9
KEPT_JOBS: Final = 100
"""So many stand for all; more would say little else."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a job decides when and where it is planned."""

    run_hours: int
    slack_hours: int
    """How long its start may wait."""
    gain: float
    """The share of a start at once that each hour of delay must save."""
    equal_share: float
    """Windows within this share of the least count as equal when a job is first planned: the earliest is taken."""

    @property
    def fewest_hours(self) -> int:
        """How long a zone must be known for."""
        return FEWEST_JOBS + self.slack_hours + self.run_hours - 1


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """By job, in the order in which they came: what it was promised, and what came. Arrays of shape (jobs,)."""

    wait_hours: FloatArray
    """Until the start that was planned first."""
    shift_hours: FloatArray
    """How much later it really started, as it was planned again each hour."""
    error: FloatArray
    """Actual mean intensity less that of the first plan, over the mean doubt of the hours of that plan."""
    home_error: FloatArray
    """The same of a start at once at home; 0 without a home."""
    weight: FloatArray
    """Recent jobs count more."""

    def like(self, wait_hours: float) -> Self:
        """KEPT_JOBS of those that are most like a job that is planned to wait so long, each of the same weight.

        Taken by their error in even steps of weight (systematic sampling), so that its quantiles stay. One that starts
        now does start now.
        """
        weight = self.weight * np.exp(-np.abs(self.wait_hours - wait_hours) / LIKE_WAIT_HOURS)
        waits = self.wait_hours > 0
        if wait_hours > 0 and waits.any():
            weight = weight * waits
        order = np.argsort(self.error, kind="stable")
        total = np.cumsum(weight[order])
        at = (np.arange(KEPT_JOBS) + 0.5) / KEPT_JOBS * total[-1]
        rows = order[np.minimum(np.searchsorted(total, at), order.size - 1)]
        shift = self.shift_hours[rows] if wait_hours > 0 else np.zeros(KEPT_JOBS)
        return type(self)(self.wait_hours[rows], shift, self.error[rows], self.home_error[rows], np.ones(KEPT_JOBS))


def outcomes(zones: Sequence[PastForecasts], home: PastForecasts | None, shape: Shape) -> Outcomes | None:
    """How jobs of a shape would have fared, one submitted in each hour, planned in the zones and again each hour.

    Split conformal prediction (Vovk, Gammerman and Shafer 2005) with weights for what drifts (Barber et al. 2023):
    what plans got wrong so far is what this one may get wrong. Each outcome is that of a choice, so that it holds
    what the least of many forecasts is too low by, and what planning again gains. Only jobs count whose run would
    have ended by now. None where there are fewer than FEWEST_JOBS. 30 ms for nine zones and two months.
    """
    every = (*zones, *((home,) if home is not None else ()))
    start = max(past.start for past in every)
    hours = (min(past.end for past in every) - start) // HOUR
    if hours < shape.fewest_hours:
        return None
    jobs = hours - shape.slack_hours - shape.run_hours + 1
    means = [_window_means(past, start, shape, hours) for past in zones]
    plans, doubts = np.stack([each[0] for each in means], 1), np.stack([each[1] for each in means], 1)
    actual = np.stack([each[2] for each in means])
    (zone, wait), (ran, began) = _planned(plans, jobs, shape)
    rows = np.arange(jobs)
    promised, doubt = plans[rows, zone, wait], doubts[rows, zone, wait]
    error = (actual[ran, rows + began] - promised) / np.maximum(doubt, LEAST_DOUBT)
    home_error = np.zeros(jobs)
    if home is not None:
        plan, home_doubt, came = _window_means(home, start, shape, hours)
        home_error = (came[:jobs] - plan[:jobs, 0]) / np.maximum(home_doubt[:jobs, 0], LEAST_DOUBT)
    age_days = (jobs - 1 - rows) / DAY
    return Outcomes(
        wait.astype(np.float64), (began - wait).astype(np.float64), error, home_error,
        0.5 ** (age_days / OUTCOME_HALF_LIFE_DAYS),
    )  # fmt: skip


def _window_means(
    past: PastForecasts, start: datetime, shape: Shape, hours: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of runs from each issue and wait on, shape (issues, waits): forecast and doubt; and what came, (issues,)."""
    first = (start - past.start) // HOUR
    run, waits = shape.run_hours, shape.slack_hours + 1
    issues = hours - run + 1
    columns = columns_of(run + shape.slack_hours)
    casts = past.grams_per_kwh[first : first + issues, columns].astype(np.float64)
    days = (first + np.arange(issues)) // DAY
    doubts = past.doubt_grams_per_kwh[:, columns].astype(np.float64)
    came = past.measured[first : first + hours]
    return _means(casts, run, waits), _means(doubts, run, waits)[days], _means(came[None], run, issues)[0]


def _means(values: FloatArray, run: int, windows: int) -> FloatArray:
    total = np.cumsum(np.pad(values, ((0, 0), (1, 0))), axis=1)
    means: FloatArray = (total[:, run : run + windows] - total[:, :windows]) / run
    return means


def _planned(plans: FloatArray, jobs: int, shape: Shape) -> tuple[tuple[IntArray, IntArray], tuple[IntArray, IntArray]]:
    """Zone and wait of each job as first planned, and as they came to be; each of shape (jobs,).

    `plans` has shape (issues, zones, waits). A job starts in the first hour in which no later start is better.
    Only when it is planned first, windows within a share of the least count as equal.
    """
    scores = plans + shape.gain * plans[:, :, :1] * np.arange(plans.shape[2])
    zone, wait = np.zeros(jobs, dtype=np.int64), np.zeros(jobs, dtype=np.int64)
    ran, began = zone.copy(), np.full(jobs, -1)
    for hour in range(shape.slack_hours + 1):
        left = scores[hour : hour + jobs, :, : shape.slack_hours - hour + 1]
        most = left.min(axis=(1, 2)) * (1 if hour else 1 + shape.equal_share)
        now = left[:, :, 0]
        starts = (began < 0) & (now.min(axis=1) <= most)
        ran, began = np.where(starts, now.argmin(axis=1), ran), np.where(starts, hour, began)
        if hour == 0:
            wait = (left.min(axis=1) <= most[:, None]).argmax(axis=1)
            zone = left[np.arange(jobs), :, wait].argmin(axis=1)
    return (zone, wait), (ran, began)
