"""How much planning jobs ask for, counted before any of it is done; what is beyond a bound is refused.

Counted, not timed, so that equal queues give equal plans on any machine. Two things grow with what a job asks for: the
grid by minutes, which is kept as far ahead as the longest wait and run reach, and the search of jobs that are searched
for one by one, since they may be cut or have a threshold.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from carbonfleet.placement.assumptions import Assumptions
from carbonfleet.placement.inputs import MINUTE, Demand, IntArray, Limits, Options
from carbonfleet.placement.rules import Refusal
from carbonfleet.placement.snapshot import QueuedJob

MOST_NUMBERS: Final = 62_000_000
"""Kept in memory for one job, at 8 bytes each: less than 512 MiB."""
_OF_MINUTE, _OF_SLOT = 5, 8
"""Numbers kept for each zone and minute, and for each option and slot; measured."""
MOST_WORK: Final = 50_000_000
"""Of one job, in units of 40 ns on a core of 2024: two seconds, its explanation included."""
MOST_WORK_OF_NAMESPACE: Final = 400_000_000
"""Of the jobs of one namespace in one plan."""
_CUT: Final = 40_000, 14
"""What a run that may be cut takes at least, and for each option and slot; measured."""
_GATED: Final = 8_000, 1
"""The same of one with a threshold."""


def too_large(
    jobs: Sequence[QueuedJob],
    limits: Sequence[Limits],
    demand: Demand,
    options: Options,
    now: datetime,
    assumptions: Assumptions,
) -> dict[int, Refusal]:
    """By row, the jobs that ask for too much, and why; `jobs` are in the order in which they choose.

    What is under way is decided on whatever it takes. Costs a look at each job.
    """
    minutes, slot = _minutes_ahead(limits, demand, now, assumptions), max(1, assumptions.slot // MINUTE)
    most_minutes = MOST_NUMBERS * slot // max(1, _OF_MINUTE * len(options.zones) * slot + _OF_SLOT * len(options))
    spent, refused = Counter[str](), dict[int, Refusal]()
    for row, (job, ahead) in enumerate(zip(jobs, minutes.tolist(), strict=True)):
        least, each = _search(job, limits[row])
        work = least + each * len(options) * (ahead // slot)
        if job.incumbent is not None and job.incumbent.is_under_way:
            spent[job.namespace] += work
        elif ahead > most_minutes or work > MOST_WORK:
            most = min(most_minutes, MOST_WORK // max(1, each * len(options)) * slot)
            refused[row] = _one_too_large(ahead, most, len(options))
        elif work and spent[job.namespace] + work > MOST_WORK_OF_NAMESPACE:
            refused[row] = _too_many(job.namespace)
        else:
            spent[job.namespace] += work
    return refused


def _minutes_ahead(limits: Sequence[Limits], demand: Demand, now: datetime, assumptions: Assumptions) -> IntArray:
    """How far ahead each job looks, shape (jobs,): its wait within the horizon, and the longest run that may be."""
    longest, horizon = assumptions.longest_run // MINUTE, assumptions.horizon // MINUTE
    waits = np.array([(each.latest - now) // MINUTE for each in limits], dtype=np.int64)
    run = demand.minutes_by_kind
    ahead: IntArray = np.clip(waits, 0, horizon) + np.where(run <= longest, run, 0).max(axis=1, initial=0)
    return ahead


def _search(job: QueuedJob, limits: Limits) -> tuple[int, int]:
    if job.spec.schedule.interruptible is not None:
        return _CUT
    return _GATED if limits.is_gated else (0, 0)


def _one_too_large(ahead: int, most: int, options: int) -> Refusal:
    return Refusal(
        "PlanTooLarge",
        f"The job looks {_days(ahead)} ahead, its wait and its run together; on the {options} places of this fleet one "
        f"job may look {_days(most)} ahead. Shorten its maxDelay or its duration.",
    )


def _too_many(namespace: str) -> Refusal:
    return Refusal(
        "NamespacePlanTooLarge",
        f"The jobs of namespace {namespace} that may be interrupted or have a threshold take more planning than one "
        "namespace may ask for at once. This one is planned once some of those before it are placed; without "
        "interruptible and threshold, or with a shorter maxDelay, it is planned at once.",
    )


def _days(minutes: int) -> str:
    return f"{timedelta(minutes=minutes) / timedelta(days=1):.1f} days"
