"""Decides for jobs that came since the last plan, while that plan stands for the others.

A whole plan of a long queue takes far longer than a person who has just applied a job cares to wait. A newcomer whose
best window is free whatever the others hold takes it, and nobody need give way: with a window that stands in no other's
way each job before it in the queue finds what it found, and each after it still has what it took, so the whole
plan would say the same (but for what repair might yet gain in a contended tier). In all other cases the
queue is planned anew, as it is when the first decision is due, at the next slot at the latest.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from carbonfleet.placement.decision import Decision
from carbonfleet.placement.plan import Plan, plan
from carbonfleet.placement.snapshot import QueuedJob, Reservation, Snapshot, is_same, without_queue

MOST_NEWCOMERS: Final = 1 / 4
"""Of the jobs whose decisions stand; of more the whole plan is made, which then costs little more."""


@dataclass(frozen=True, slots=True)
class Amendment:
    """A plan for the newcomers alone, and the decisions of the last plan that stand."""

    plan: Plan
    standing: Mapping[str, Decision]
    """By UID."""


def amended(before: Snapshot, decisions: Mapping[str, Decision], after: Snapshot, now: datetime) -> Amendment | None:
    """What changes of the `decisions` (by UID) that were planned on `before`; None where all is to be planned anew."""
    if before.run_lengths != after.run_lengths or not _only_grew(before, after):
        return None
    if not is_same(without_queue(before), without_queue(after)):
        return None
    known = {job.uid: _asked(job) for job in before.jobs if job.uid in decisions}
    newcomers = tuple(job for job in after.jobs if known.get(job.uid) != _asked(job))
    came = {job.uid for job in newcomers}
    standing = {job.uid: decisions[job.uid] for job in after.jobs if job.uid not in came}
    if any(decision.recheck_at <= now for decision in standing.values()):
        return None
    if not newcomers:
        return Amendment(Plan((), now), standing)
    if len(newcomers) > MOST_NEWCOMERS * len(standing):
        return None
    alone = replace(after, jobs=newcomers)
    beside = replace(alone, reservations=(*after.reservations, *_held(standing.values())))
    found = plan(beside, now)
    return Amendment(found, standing) if _windows(found) == _windows(plan(alone, now)) else None


def _only_grew(before: Snapshot, after: Snapshot) -> bool:
    """Whether nothing is there now that a job might have been waiting for, and nothing is under way to be decided on.

    What has left the queue stands in Git; no reservation is gone or ends earlier; no spoke reports more free GPUs.
    """
    if any(policy.spec.budget is not None for policy in after.policies.policies):
        return False
    held, queued = {(each.job_uid, each.cluster, each.pool): each for each in after.reservations}, set()
    for job in after.jobs:
        if job.incumbent is not None and job.incumbent.is_under_way:
            return False
        queued.add(job.uid)
    in_git = {uid for uid, _, _ in held}
    if any(job.uid not in queued and job.uid not in in_git for job in before.jobs):
        return False
    for old in before.reservations:
        new = held.get((old.job_uid, old.cluster, old.pool))
        if new is None or new.gpus < old.gpus or new.end < old.end:
            return False
    free = {spoke.name: spoke.free_gpus or {} for spoke in before.spokes}
    return all(
        gpus <= free[spoke.name].get(pool, gpus - 1)
        for spoke in after.spokes
        for pool, gpus in (spoke.free_gpus or {}).items()
    )


def _asked(job: QueuedJob) -> object:
    """All that bears on a decision of a job that waits, but for where the last one told it to wait."""
    agreed = job.incumbent.agreed if job.incumbent is not None else None
    so_far = job.generation, job.attempt, job.remaining_fraction
    return *so_far, job.excluded_clusters, job.stays_because, job.moves_from, agreed


def _held(standing: Iterable[Decision]) -> Iterator[Reservation]:
    for decision in standing:
        if (window := decision.window) is not None:
            place = decision.uid, decision.namespace, window.cluster, window.pool, window.gpus
            yield from (Reservation(*place, begin, end) for begin, end in window.segments)


def _windows(found: Plan) -> list[object]:
    """Where and when, and what for; without the last digits of figures."""
    return [
        (
            each.uid,
            each.outcome,
            each.reason,
            each.window and (each.window.cluster, each.window.pool, each.window.segments),
        )
        for each in found
    ]
