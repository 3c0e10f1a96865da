"""The door: decide for the whole queue at once, as a function of values."""

from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import compress
from operator import attrgetter

import numpy as np

from carbonfleet.placement.amend import Amendment, Standing, amend
from carbonfleet.placement.assign import assign
from carbonfleet.placement.choice import Choice
from carbonfleet.placement.deciding import decisions_on, denied, refusals
from carbonfleet.placement.decision import Decision, Plan
from carbonfleet.placement.grid import IntArray
from carbonfleet.placement.held import Shares, held_by
from carbonfleet.placement.look import forms_of
from carbonfleet.placement.policy import tiers
from carbonfleet.placement.problem import Problem, problem_of
from carbonfleet.placement.rules import Refusal
from carbonfleet.placement.snapshot import QueuedJob, Snapshot

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
    queue, decisions = _decided(problem, choices, snapshot, refused)
    shares = Shares(base, held_by(problem, choices), _priorities(problem, len(queue)))
    keys = list(map(_key, decisions))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return _in_order(Standing(snapshot, now, problem, forms, queue, decisions, shares, whole=shares), order)


def _amended(last: Standing, amendment: Amendment, snapshot: Snapshot, now: datetime) -> Plan:
    problem, kept = amendment.problem, amendment.rows
    queue, decided = _decided(problem, amendment.choices, snapshot, amendment.refused)
    rows = np.full(len(last.jobs), -1)
    rows[kept] = np.arange(kept.size)
    added = held_by(problem, amendment.choices).renumbered(kept.size + np.arange(len(queue)))
    priority = np.concatenate([last.shares.priority[kept], _priorities(problem, len(queue))])
    decisions = (*compress(last.decisions, rows >= 0), *decided)
    standing = replace(
        last,
        snapshot=snapshot,
        now=now,
        jobs=(*amendment.jobs, *queue),
        decisions=decisions,
        shares=Shares(amendment.base, amendment.held.renumbered(rows).beside(added), priority),
        amended=last.amended + max(1, len(queue)),
        times=last.times + 1,
    )
    # Who keeps the decision is in order already.
    new = sorted(range(kept.size, len(decisions)), key=lambda row: _key(decisions[row]))
    places = [bisect(decisions, _key(decisions[row]), 0, kept.size, key=_key) for row in new]
    return _in_order(standing, np.insert(np.arange(kept.size), places, new))


def _decided(
    problem: Problem, choices: list[Choice | None], snapshot: Snapshot, refused: Mapping[str, Refusal]
) -> tuple[tuple[QueuedJob, ...], tuple[Decision, ...]]:
    """Jobs and their decisions: first those of the problem, then those that can't be planned for."""
    out = [job for job in snapshot.jobs if job.uid in refused]
    denials = (denied(job, refused[job.uid], snapshot, problem.now) for job in out)
    return (*problem.jobs, *out), (*decisions_on(problem, choices), *denials)


def _priorities(problem: Problem, count: int) -> IntArray:
    """Of so many jobs, of which the problem's are the first and the others hold nothing."""
    priorities = np.zeros(count, dtype=np.int64)
    priorities[: len(problem.limits)] = [limits.priority for limits in problem.limits]
    return priorities


def _in_order(standing: Standing, order: Sequence[int] | IntArray) -> Plan:
    """The plan, with all rows by `namespace/name`, which is the order that is given."""
    ordered = standing.rearranged(np.array(order, dtype=np.int64))
    return Plan(ordered.decisions, standing.now, ordered)
