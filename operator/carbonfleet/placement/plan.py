"""The door: decide for the whole queue at once, as a function of values."""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import compress
from operator import attrgetter

import numpy as np

from carbonfleet.placement.amend import Amendment, Standing, amend
from carbonfleet.placement.assign import assign
from carbonfleet.placement.deciding import decisions_on, denied, refusals
from carbonfleet.placement.decision import Plan
from carbonfleet.placement.grid import IntArray
from carbonfleet.placement.held import Shares, held_by
from carbonfleet.placement.look import forms_of
from carbonfleet.placement.policy import tiers
from carbonfleet.placement.problem import Problem, problem_of
from carbonfleet.placement.snapshot import Snapshot

_key = attrgetter("namespace", "name", "uid")


def plan(snapshot: Snapshot, now: datetime, last: Plan | None = None) -> Plan:
    """Decide for every queued job: start, wait, or blocked and why. Nothing but the arguments is looked at.

    `now` is aware UTC. Only jobs whose outcome is START are to be committed; the others are decided again
    next time. Decisions come in the order of `namespace/name`.

    Given the `last` plan, its word holds until its slot ends, where only a few jobs came, went or changed since:
    these take the best that the others leave. That costs a fraction of a whole plan, which is made everywhere else.
    """
    if last is not None and last.standing is not None:
        amendment = amend(last.standing, snapshot, now)
        if amendment is not None:
            return _amended(last.standing, amendment, snapshot, now)
    return _whole(snapshot, now)


def _whole(snapshot: Snapshot, now: datetime) -> Plan:
    refused = refusals(snapshot, snapshot.jobs)
    jobs = [job for job in snapshot.jobs if job.uid not in refused]
    problem = problem_of(snapshot, jobs, tiers(snapshot.policies), now)
    base, forms = problem.capacity.free.copy(), forms_of(problem)
    choices = assign(problem, forms)
    out = [job for job in snapshot.jobs if job.uid in refused]
    decided = (*decisions_on(problem, choices), *(denied(job, refused[job.uid], snapshot, now) for job in out))
    queue = (*problem.jobs, *out)
    shares = Shares(base, held_by(problem, choices), _priorities(problem, len(out)))
    standing = Standing(
        snapshot=snapshot,
        now=now,
        ground=problem,
        forms=forms,
        base=base,
        jobs=queue,
        decisions=decided,
        priority=shares.priority,
        held=shares.held,
        whole=shares,
    )
    keys = list(map(_key, decided))
    return _in_order(standing, sorted(range(len(keys)), key=keys.__getitem__))


def _amended(last: Standing, amendment: Amendment, snapshot: Snapshot, now: datetime) -> Plan:
    problem, choices, kept, refused = amendment.problem, amendment.choices, amendment.rows, amendment.refused
    out = [job for job in snapshot.jobs if job.uid in refused]
    decided = (*decisions_on(problem, choices), *(denied(job, refused[job.uid], snapshot, now) for job in out))
    queue = (*problem.jobs, *out)
    new_rows = np.full(len(last.jobs), -1)
    new_rows[kept] = np.arange(kept.size)
    added = held_by(problem, choices).renumbered(kept.size + np.arange(len(problem.jobs)))
    standing = replace(
        last,
        snapshot=snapshot,
        now=now,
        base=amendment.base,
        jobs=(*amendment.jobs, *queue),
        decisions=(*compress(last.decisions, new_rows >= 0), *decided),
        priority=np.concatenate([last.priority[kept], _priorities(problem, len(out))]),
        held=amendment.held.renumbered(new_rows).beside(added),
        amended=last.amended + max(1, len(queue)),
        times=last.times + 1,
    )
    # Who keeps the decision is in order already.
    added_rows = sorted(range(kept.size, kept.size + len(decided)), key=lambda row: _key(standing.decisions[row]))
    places = [bisect(standing.decisions, _key(standing.decisions[row]), 0, kept.size, key=_key) for row in added_rows]
    return _in_order(standing, np.insert(np.arange(kept.size), places, added_rows))


def _priorities(problem: Problem, others: int) -> IntArray:
    """Of a problem's jobs, and of others that hold nothing."""
    return np.array([*(limits.priority for limits in problem.limits), *[0] * others], dtype=np.int64)


def _in_order(standing: Standing, order: Sequence[int] | IntArray) -> Plan:
    """The plan, with all rows by `namespace/name`, which is the order that is given."""
    ordered = standing.rearranged(np.array(order, dtype=np.int64))
    return Plan(ordered.decisions, standing.now, ordered)
