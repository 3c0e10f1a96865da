"""Jobs to replay: lists from files, and series made by rule."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from carbonfleet.api.job import Interruptible
from carbonfleet.api.wire import parse_duration
from carbonfleet.simulator.grid import HOUR, MINUTE, ReplayError
from carbonfleet.simulator.replay.slack import Slack, fixed, parse_slack

SWEEP: Final = ((8, 84, 24.0, "tier-1"), (4, 96, 48.0, "tier-2"), (9, 96, 96.0, "tier-3"))
"""Jobs, minutes, hours of slack and tier of the sweep on two GPUs."""
LONGEST_MINUTES: Final = 30 * 24 * 60
LATEST_ARRIVAL: Final = 1e9
"""Seconds: thirty years."""
CUT: Final = Interruptible()
"""How a job is cut that says no more: as in the custom resource."""
COLUMNS: Final = frozenset({"arrival_time", "length", "duration", "cpus", "slack", "interruptible"})
"""Of a job list."""


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """One job: when it comes, how long it runs on a GPU of speed 1, and how long it may wait."""

    name: str
    submitted: datetime
    minutes: int
    delay: timedelta
    gpus: int = 1
    tier: str = "standard"
    interruptible: Interruptible | None = None
    """How it may be cut; None: it runs in one piece."""
    begun_in: str = ""
    """The zone that the rest of a cut job goes on in; empty: any."""
    length_ratio: float = 1.0
    """How long it really runs, beside `minutes`, which every policy is told. Of a job in one piece."""

    @property
    def latest(self) -> datetime:
        """The last start of its own will."""
        return self.submitted + self.delay

    @property
    def actual_minutes(self) -> int:
        """How long it runs on a GPU of speed 1."""
        return max(1, round(self.minutes * self.length_ratio))


def every_hour(
    first: datetime, count: int, hours: float, slack: float | Slack, interruptible: Interruptible | None = None
) -> tuple[ReplayJob, ...]:
    """`count` jobs, one at each hour from `first` on; `slack` in hours, or by rule."""
    rule, minutes = fixed(slack) if isinstance(slack, int | float) else slack, round(hours * 60)
    moments = (first + HOUR * i for i in range(count))
    return tuple(
        ReplayJob(f"job-{i:05d}", moment, minutes, rule(moment, minutes), interruptible=interruptible)
        for i, moment in enumerate(moments)
    )


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


@dataclass(frozen=True, slots=True)
class JobDefaults:
    """What holds for jobs of a list whose row says nothing else."""

    slack: Slack
    time_zone: str = "UTC"
    interruptible: Interruptible | None = None
    cut: Interruptible = CUT
    """How a job is cut that says `interruptible`."""


def read_jobs(path: Path, start: datetime, defaults: JobDefaults) -> tuple[ReplayJob, ...]:
    """A list with `arrival_time` in seconds from `start` on and `length` in seconds, or `duration` such as 4h.

    `cpus` stand for GPUs; `slack` (hours, or a rule) and `interruptible` (true or false) may be left out or empty.
    Raises ReplayError naming the line that can't be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            names, rows = reader.fieldnames or (), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReplayError(f"job list {path}: {error}") from error
    if "arrival_time" not in names or not {"length", "duration"} & set(names):
        raise ReplayError(
            f"job list {path}: the first line must name arrival_time and length or duration; "
            "cpus, slack and interruptible may follow"
        )
    unknown = sorted(set(names) - COLUMNS)
    if unknown:
        raise ReplayError(f"job list {path}: column {unknown[0]} is none of {', '.join(sorted(COLUMNS))}")
    if not rows:
        raise ReplayError(f"job list {path}: there is no job below the first line")
    found = []
    for number, row in enumerate(rows, 2):
        try:
            found.append(_read_job(f"job-{number - 1:06d}", row, start, defaults))
        except ValueError as error:
            raise ReplayError(f"job list {path}, line {number}: {error}") from None
    return tuple(found)


def _read_job(name: str, row: dict[str, str], start: datetime, defaults: JobDefaults) -> ReplayJob:
    arrival, gpus = _number(row, "arrival_time"), _number(row, "cpus", 1.0)
    length = parse_duration(row["duration"]).total_seconds() if row.get("duration") else _number(row, "length")
    minutes = -(-length // 60)
    if not (0 <= arrival <= LATEST_ARRIVAL and 0 < minutes <= LONGEST_MINUTES and 1 <= gpus <= 4096):
        raise ReplayError(
            f"the arrival must lie between 0 and {LATEST_ARRIVAL:g} s, the length within 30 days and cpus "
            "between 1 and 4096"
        )
    submitted = start + timedelta(seconds=arrival)
    submitted = submitted.replace(second=0, microsecond=0) + (MINUTE if submitted.second else timedelta())
    slack = parse_slack(row["slack"], defaults.time_zone) if row.get("slack") else defaults.slack
    delay = slack(submitted, int(minutes))
    return ReplayJob(name, submitted, int(minutes), delay, int(np.ceil(gpus)), interruptible=_cut(row, defaults))


def _number(row: dict[str, str], column: str, default: float | None = None) -> float:
    text = row.get(column) or default
    try:
        number = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number):
        raise ReplayError(f"{column} must be a number, not {text!r}")
    return number


def _cut(row: dict[str, str], defaults: JobDefaults) -> Interruptible | None:
    text = (row.get("interruptible") or "").strip().lower()
    if text not in ("", "true", "false"):
        raise ReplayError(f"interruptible must be true or false, not {text!r}")
    return {"true": defaults.cut, "false": None, "": defaults.interruptible}[text]


def span(jobs: Iterable[ReplayJob]) -> tuple[datetime, datetime]:
    """When the first job comes, and when the last must have started and ended on a GPU of speed 1."""
    listed = list(jobs)
    if not listed:
        raise ReplayError("there are no jobs to replay")
    return min(job.submitted for job in listed), max(job.latest + MINUTE * job.actual_minutes for job in listed)
