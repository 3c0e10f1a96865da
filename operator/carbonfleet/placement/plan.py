"""Decide for the whole queue at once, as a function of values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter

from carbonfleet.placement.assign import assign, index_of
from carbonfleet.placement.decide import decisions_on, denied, refusals
from carbonfleet.placement.decision import Decision
from carbonfleet.placement.plan_inputs import plan_inputs
from carbonfleet.placement.rules import Refusal, tiers, with_objectives
from carbonfleet.placement.search import Choice, WindowIndex
from carbonfleet.placement.snapshot import Snapshot

_key = attrgetter("namespace", "name", "uid")


@dataclass(frozen=True, slots=True)
class Plan:
    """The decisions of one cycle, in the order of `namespace/name`, and what they can be explained by."""

    decisions: tuple[Decision, ...]
    now: datetime
    index: WindowIndex | None = field(default=None, compare=False, repr=False)
    """What was planned with; its capacity is what all jobs leave."""
    choices: Mapping[str, tuple[int, Choice | None]] = field(default_factory=dict, compare=False, repr=False)
    """By UID: the job's row in the inputs, and what was chosen for it."""
    refused: Mapping[str, Refusal] = field(default_factory=dict, compare=False, repr=False)
    """By UID: jobs that could not be planned for."""

    def __iter__(self) -> Iterator[Decision]:
        return iter(self.decisions)


def plan(snapshot: Snapshot, now: datetime) -> Plan:
    """Decide for every queued job: start, wait, or blocked and why. Nothing but the arguments is looked at.

    `now` is aware UTC. Only jobs whose outcome is START are to be committed; the others are decided again
    next time. Decisions come in the order of `namespace/name`.
    """
    # 1. Jobs that no policy covers, or whose tier does not exist, can't be planned for. The others aim at what they or
    # their policies say.
    refused = refusals(snapshot, snapshot.jobs)
    jobs = with_objectives(snapshot.policies, [job for job in snapshot.jobs if job.uid not in refused])
    # 2. Everything else as arrays, without jobs that ask for too much planning.
    inputs = plan_inputs(snapshot, jobs, tiers(snapshot.policies), now)
    refused |= inputs.refused
    # 3. A window for each job, tier after tier; a contended tier is bettered as a whole.
    index = index_of(inputs)
    choices = assign(inputs, index)
    # 4. What to do with each job now.
    decisions = [
        *decisions_on(inputs, choices),
        *(denied(job, refused[job.uid], snapshot, now) for job in snapshot.jobs if job.uid in refused),
    ]
    by_uid = {job.uid: (row, choice) for row, (job, choice) in enumerate(zip(inputs.jobs, choices, strict=True))}
    return Plan(tuple(sorted(decisions, key=_key)), now, index, by_uid, refused)
