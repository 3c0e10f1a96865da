"""What sleeping hosts save: a replay's runs on one pool, host by host and minute by minute, with the agent's rule.

Each run begins once all its GPUs are on hosts that are awake, in the order of planned starts: like pods, one that waits
takes what comes free. Runs are packed onto the busiest hosts that have room, and spread where none has. The agent knows
what the plan told at that moment.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from carbonfleet.api.cluster import GpuPool
from carbonfleet.placement import Outcome, Plan
from carbonfleet.simulator.grid import MINUTE, ForecastFeed, Grid
from carbonfleet.simulator.replay import Moment, Planner, ReplayedRun, ReplayFleet

Starts = tuple[tuple[datetime, int], ...]


class PlanRecorder(Planner):
    """The planner, whose plans are written down: when, and the starts that were told then."""

    def __init__(self, name: str, fleet: ReplayFleet, grid: Grid, feed: ForecastFeed) -> None:
        super().__init__(name, fleet, grid, feed)
        self.told: list[tuple[datetime, Starts]] = []

    def plan(self, moment: Moment) -> Plan:
        """The same as the planner's."""
        made = super().plan(moment)
        waits = [each for each in made if each.outcome is Outcome.WAIT and each.window is not None]
        self.told.append((moment.now, tuple((each.window.start, each.window.gpus) for each in waits if each.window)))
        return made


@dataclass(frozen=True, slots=True)
class IdleEnergy:
    """Of GPUs without work on hosts that are awake or wake, over the replay."""

    always_awake_kwh: float
    sleeping_kwh: float
    wakes: int
    """How often a host was woken."""
    latest_begin: timedelta
    """The longest that a run waited for hosts to wake."""
    use: float
    """Share of the pool's GPU hours in which work ran."""

    @property
    def saved_share(self) -> float:
        """Of the idle energy without sleep."""
        return 1 - self.sleeping_kwh / self.always_awake_kwh


@dataclass(slots=True)
class _Host:
    size: int
    used: int = 0
    awake_at: datetime | None = None
    """From when on it can take work; None while it sleeps."""
    idle_since: datetime | None = None

    def free(self, now: datetime) -> int:
        return self.size - self.used if self.awake_at is not None and self.awake_at <= now else 0


@dataclass(slots=True)
class _Pool:
    facts: GpuPool
    hosts: list[_Host]
    running: list[tuple[datetime, list[tuple[_Host, int]]]] = field(default_factory=list)
    wakes: int = 0

    def release(self, now: datetime) -> None:
        for end, parts in [each for each in self.running if each[0] <= now]:
            self.running.remove((end, parts))
            for host, gpus in parts:
                host.used -= gpus
                host.idle_since = now if not host.used else None

    def begin(self, gpus: int, minutes: int, now: datetime) -> bool:
        """Take the GPUs if they are on hosts that are awake."""
        free = sorted((host for host in self.hosts if host.free(now)), key=lambda host: host.free(now))
        whole = next((host for host in free if host.free(now) >= gpus), None)
        chosen = [whole] if whole is not None else sorted(free, key=lambda host: -host.free(now))
        if sum(host.free(now) for host in chosen) < gpus:
            return False
        parts = []
        for host in chosen:
            part = min(gpus, host.free(now))
            if part:
                host.used, host.idle_since, gpus = host.used + part, None, gpus - part
                parts.append((host, part))
        self.running.append((now + MINUTE * minutes, parts))
        return True

    def switch(self, held: int, starts: Starts, now: datetime) -> None:
        """Wake and put to sleep as the agent does: a host that nobody needs rests for a wake time first."""
        wake_time = self.facts.wake_time or timedelta()
        awake = [host for host in self.hosts if host.awake_at is not None]
        needed, most = self.facts.awake_hosts(len(awake), held, starts, now)
        for host in [host for host in self.hosts if host.awake_at is None][: max(0, needed - len(awake))]:
            host.awake_at, host.idle_since = now + wake_time, now + wake_time
            self.wakes += 1
        rested = [host for host in awake if not host.used and host.idle_since and now - host.idle_since >= wake_time]
        for host in rested[: max(0, len(awake) - most)]:
            host.awake_at = host.idle_since = None


def idle_energy(
    runs: Sequence[ReplayedRun], told: Sequence[tuple[datetime, Starts]], facts: GpuPool, idle_watts_per_gpu: float
) -> IdleEnergy:
    """The idle energy of a pool that the runs had to themselves, from the first start to the last end.

    `runs` last as planned, with the wake time in front. 0.1 s of CPU for a day.
    """
    wake_minutes = round((facts.wake_time or timedelta()) / MINUTE)
    due = sorted(runs, key=lambda run: run.begin)
    moments = [moment for moment, _ in told]
    pool = _Pool(facts, [_Host(facts.gpus_per_node) for _ in range(facts.hosts)])
    now, end = due[0].begin, max(run.end for run in runs)
    waiting: list[ReplayedRun] = []
    latest, idle, busy, minutes = timedelta(), 0, 0, 0
    while now < end:
        pool.release(now)
        while due and due[0].begin <= now:
            waiting.append(due.pop(0))
        held = sum(host.used for host in pool.hosts) + sum(run.job.gpus for run in waiting)
        index = bisect_right(moments, now) - 1
        pool.switch(held, told[index][1] if index >= 0 else (), now)
        while waiting and pool.begin(waiting[0].job.gpus, waiting[0].minutes - wake_minutes, now):
            latest = max(latest, now - waiting.pop(0).begin)
        used = sum(host.used for host in pool.hosts)
        busy, minutes = busy + used, minutes + 1
        idle += sum(host.size for host in pool.hosts if host.awake_at is not None) - used
        now += MINUTE
    every = facts.hosts * facts.gpus_per_node * minutes
    to_kwh = idle_watts_per_gpu / 60 / 1000
    return IdleEnergy((every - busy) * to_kwh, idle * to_kwh, pool.wakes, latest, busy / every)
