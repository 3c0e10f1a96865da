"""The replay: time goes by, jobs come, a policy starts them on free GPUs."""

import heapq
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Protocol

from carbonfleet.simulator.grid import MINUTE, Grid, ReplayError
from carbonfleet.simulator.replay.fleet import Pool, ReplayedRun
from carbonfleet.simulator.replay.jobs import ReplayJob

MOST_TICKS: Final = 10_000_000


@dataclass(slots=True)
class Moment:
    """What a policy sees when it is asked: the time, who waits, and which GPUs are free."""

    now: datetime
    slot: int
    """Of the trace; values of this slot and later are not known to it."""
    waiting: tuple[ReplayJob, ...]
    """In the order in which they came."""
    running: tuple[ReplayedRun, ...]
    free: dict[str, int]
    """GPUs by pool; a policy that starts a job takes its GPUs here."""
    pools: tuple[Pool, ...]
    wake: datetime | None = None
    """When the policy wants to be asked again, if that is before the next cycle."""

    def wake_at(self, moment: datetime) -> None:
        """Ask again at that time at the latest."""
        if moment > self.now and (self.wake is None or moment < self.wake):
            self.wake = moment

    def start(self, job: ReplayJob, pool: Pool, piece_minutes: int | None = None) -> ReplayedRun | None:
        """Start a job now if its GPUs are free, to pause after `piece_minutes` where they are given."""
        if self.free[pool.name] < job.gpus:
            return None
        if not pool.is_endless:
            self.free[pool.name] -= job.gpus
        forced = job.delay > 0 * MINUTE and self.now >= job.latest
        return ReplayedRun(job, pool, self.now, forced, piece_minutes)


class Policy(Protocol):
    """Who decides."""

    name: str

    def starts(self, moment: Moment) -> Sequence[ReplayedRun]:
        """The jobs to start now."""
        ...


@dataclass(slots=True)
class _State:
    pending: list[ReplayJob]
    """The next one last."""
    count: int = 0
    waiting: dict[str, ReplayJob] = field(default_factory=dict)
    running: list[tuple[datetime, int, ReplayedRun]] = field(default_factory=list)
    runs: list[ReplayedRun] = field(default_factory=list)
    begun: dict[str, list[ReplayedRun]] = field(default_factory=dict)
    """The pieces so far of jobs that were cut."""

    def admit(self, now: datetime) -> None:
        while self.pending and self.pending[-1].submitted <= now:
            job = self.pending.pop()
            self.waiting[job.name] = job

    @property
    def next_arrival(self) -> datetime | None:
        return self.pending[-1].submitted if self.pending else None

    def release(self, now: datetime, free: dict[str, int]) -> None:
        while self.running and self.running[0][0] <= now:
            run = heapq.heappop(self.running)[2]
            free[run.pool.name] += run.job.gpus

    def may_start(self, free: dict[str, int]) -> bool:
        """Whether a waiting job fits the free GPUs; if none does, nothing can start before some come free."""
        most = max(free.values())
        return any(job.gpus <= most for job in self.waiting.values())

    def record(self, run: ReplayedRun) -> None:
        del self.waiting[run.job.name]
        self.count += 1
        if not run.pool.is_endless:
            heapq.heappush(self.running, (run.end, self.count, run))
        rest = run.rest()
        if rest is not None:
            self.begun.setdefault(run.job.name, []).append(run)
            insort(self.pending, rest, key=_latest_first)
        else:
            self.runs.append(_whole(run, self.begun.pop(run.job.name, [])))


def replay(
    grid: Grid, jobs: Sequence[ReplayJob], policy: Policy, pools: tuple[Pool, ...], *, cycle_minutes: int = 60
) -> tuple[ReplayedRun, ...]:
    """Let a policy run the jobs on the pools. It is asked at every multiple of the cycle, when jobs come and when GPUs
    come free, unless no waiting job fits the GPUs that are free then.

    Raises ReplayError when a job fits no pool or the trace ends before all have started.
    """
    _check(jobs, pools)
    state = _State(sorted(jobs, key=_latest_first))
    free = {pool.name: pool.gpus for pool in pools}
    now = state.pending[-1].submitted
    for _ in range(MOST_TICKS):
        wake = None
        state.release(now, free)
        state.admit(now)
        if state.may_start(free):
            moment = Moment(
                now, grid.slot(now), tuple(state.waiting.values()), tuple(r for *_, r in state.running), free, pools
            )
            for run in policy.starts(moment):
                state.record(run)
            wake = moment.wake
        if not state.waiting and not state.pending:
            return tuple(sorted(state.runs, key=lambda run: run.job.name))
        now = _next_tick(grid, state, now, cycle_minutes, wake)
    raise ReplayError(f"the replay did not end within {MOST_TICKS} steps")


def _latest_first(job: ReplayJob) -> tuple[float, tuple[int, ...]]:
    """So that the next to come is the last of a list; of those of one time the first by name."""
    return -job.submitted.timestamp(), tuple(-ord(letter) for letter in job.name)


def _whole(run: ReplayedRun, earlier: Sequence[ReplayedRun]) -> ReplayedRun:
    """The run of a job with all its pieces."""
    if not earlier:
        return run
    forced = any(piece.forced for piece in (*earlier, run))
    return replace(run, job=earlier[0].job, forced=forced, piece_minutes=run.minutes, earlier=tuple(earlier))


def _check(jobs: Sequence[ReplayJob], pools: Sequence[Pool]) -> None:
    most = max(pool.gpus for pool in pools)
    for job in jobs:
        if job.gpus > most:
            raise ReplayError(f"{job.name} wants {job.gpus} GPUs; the largest pool has {most}: give more (--gpus)")
    if len({job.name for job in jobs}) < len(jobs):
        raise ReplayError("two jobs have the same name")
    if not jobs:
        raise ReplayError("there are no jobs to replay")


def _next_tick(grid: Grid, state: _State, now: datetime, cycle_minutes: int, wake: datetime | None) -> datetime:
    """When the next job comes; while any waits, also each cycle, when GPUs come free, and when it was asked for."""
    ticks = [] if state.next_arrival is None else [state.next_arrival]
    if state.waiting:
        cycle = cycle_minutes * MINUTE
        ticks.append(grid.start + ((now - grid.start) // cycle + 1) * cycle)
        if state.running:
            ticks.append(max(state.running[0][0], now + MINUTE))
        if wake is not None:
            ticks.append(wake)
    tick = min(ticks)
    if tick >= grid.end:
        waiting = len(state.waiting) + len(state.pending)
        raise ReplayError(
            f"the trace ends at {grid.end}, and {waiting} jobs have not started: the GPUs are too few for the "
            "jobs (--gpus), or the jobs come too late in the trace"
        )
    return tick
