"""Jobs to replay: lists from files, and series made by rule."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from carbonfleet.simulator.grid import HOUR, MINUTE, ReplayError

SWEEP: Final = ((8, 84, 24.0, "tier-1"), (4, 96, 48.0, "tier-2"), (9, 96, 96.0, "tier-3"))
"""Jobs, minutes, hours of slack and tier of the sweep on two GPUs."""
LONGEST_MINUTES: Final = 30 * 24 * 60
LATEST_ARRIVAL: Final = 1e9
"""Seconds: thirty years."""


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """One job: when it comes, how long it runs on a GPU of speed 1, and how long it may wait."""

    name: str
    submitted: datetime
    minutes: int
    delay: timedelta
    gpus: int = 1
    tier: str = "standard"

    @property
    def latest(self) -> datetime:
        """The last start of its own will."""
        return self.submitted + self.delay


def every_hour(first: datetime, count: int, hours: float, slack_hours: float) -> tuple[ReplayJob, ...]:
    """`count` jobs, one at each hour from `first` on."""
    delay, minutes = timedelta(hours=slack_hours), round(hours * 60)
    return tuple(ReplayJob(f"job-{i:05d}", first + HOUR * i, minutes, delay) for i in range(count))


def sweep(start: datetime) -> tuple[ReplayJob, ...]:
    """The 21 jobs of a hyperparameter sweep, all submitted at once."""
    jobs: list[ReplayJob] = []
    for count, minutes, slack_hours, tier in SWEEP:
        delay = timedelta(hours=slack_hours)
        jobs += [ReplayJob(f"{tier}-{i:02d}", start, minutes, delay, tier=tier) for i in range(count)]
    return tuple(jobs)


def sweep_starts(first: datetime, last: datetime) -> tuple[datetime, ...]:
    """01, 09 and 17 UTC on the 3rd, 10th, 17th and 24th of each month in [first, last]."""
    day, found = first.replace(hour=0, minute=0, second=0, microsecond=0), []
    while day <= last:
        if day.day in (3, 10, 17, 24):
            found += [day + HOUR * hour for hour in (1, 9, 17)]
        day += timedelta(days=1)
    return tuple(start for start in found if first <= start <= last)


def read_jobs(path: Path, start: datetime, slack_hours: float) -> tuple[ReplayJob, ...]:
    """A list with `arrival_time` and `length` in seconds and `cpus`, which stand for GPUs; from `start` on.

    Raises ReplayError naming the line that can't be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            names, rows = reader.fieldnames or (), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReplayError(f"job list {path}: {error}") from error
    if not {"arrival_time", "length"} <= set(names):
        raise ReplayError(f"job list {path}: the first line must name arrival_time, length and cpus")
    if not rows:
        raise ReplayError(f"job list {path}: there is no job below the first line")
    return tuple(_read_job(path, number, row, start, slack_hours) for number, row in enumerate(rows, 2))


def _read_job(path: Path, number: int, row: dict[str, str], start: datetime, slack_hours: float) -> ReplayJob:
    try:
        arrival, length = float(row["arrival_time"]), float(row["length"])
        gpus = float(row.get("cpus") or 1)
    except (TypeError, ValueError):
        raise ReplayError(f"job list {path}, line {number}: arrival_time, length and cpus must be numbers") from None
    minutes = -(-length // 60)
    sound = 0 <= arrival <= LATEST_ARRIVAL and 0 < minutes <= LONGEST_MINUTES and 1 <= gpus <= 4096
    if not (np.isfinite([arrival, length, gpus]).all() and sound):
        raise ReplayError(
            f"job list {path}, line {number}: the arrival must lie between 0 and {LATEST_ARRIVAL:g} s, "
            "the length within 30 days and cpus between 1 and 4096"
        )
    submitted = start + timedelta(seconds=arrival)
    submitted = submitted.replace(second=0, microsecond=0) + (MINUTE if submitted.second else timedelta())
    delay = timedelta(hours=slack_hours)
    return ReplayJob(f"job-{number - 1:06d}", submitted, int(minutes), delay, int(np.ceil(gpus)))


def span(jobs: Iterable[ReplayJob]) -> tuple[datetime, datetime]:
    """When the first job comes, and when the last must have started and ended on a GPU of speed 1."""
    listed = list(jobs)
    if not listed:
        raise ReplayError("there are no jobs to replay")
    return min(job.submitted for job in listed), max(job.latest + MINUTE * job.minutes for job in listed)
