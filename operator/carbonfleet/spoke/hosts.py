"""Wakes and puts to sleep the hosts of pools that may sleep: by what runs, what Git wants and what the hub plans.

The admin's two hooks do it, each told the pool and how many of its hosts are to be awake. Which ones sleep is theirs to
choose, among those without work. An agent that can't see Git, the runtime or the plan puts nothing to sleep.
"""

import json
import logging
import math
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from carbonfleet.api.cluster import ClusterFacts, GpuPool
from carbonfleet.api.spoke import PlannedStart
from carbonfleet.clock import Clock
from carbonfleet.faults import only
from carbonfleet.placement.hardware import pool_profile
from carbonfleet.private_files import replace_file
from carbonfleet.spoke.settings import AgentSettings

logger = logging.getLogger(__name__)
_TRY_AGAIN_SECONDS: Final = 60.0
_LEAST_HOOK_SECONDS: Final = 60.0
_MOST_HOOK_SECONDS: Final = 3600.0
_LONGEST_STEP: Final = timedelta(minutes=10)
"""What lies between two looks that are further apart was seen by nobody, and is not counted."""
_VARIABLES: Final = ("PATH", "HOME", "LANG")
"""What a hook has of the agent's environment: no secrets are in it."""


@dataclass(slots=True)
class _Hook:
    """One that runs."""

    process: subprocess.Popen[bytes]
    awake: int
    """So many hosts are awake once it has succeeded."""
    until: float
    """Monotonic: after that it is ended."""


@dataclass(slots=True)
class PoolHosts:
    """What is known of one pool's hosts."""

    awake: int
    hosts: int
    idle_kwh: float = 0.0
    """Drawn by GPUs without work, of hosts that are awake."""
    saved_kwh: float = 0.0
    """What those of sleeping hosts would have drawn."""
    surplus_since: datetime | None = None
    problem: str = ""
    idle_until: datetime | None = None
    """The next planned start there."""
    hook: _Hook | None = field(default=None, repr=False)
    again_at: float = 0.0
    """Monotonic: no hook is called before."""

    @property
    def is_asleep(self) -> bool:
        """Whether any sleeps, or is on its way."""
        return self.awake < self.hosts or self.hook is not None


class Hosts:
    """The hosts of a spoke's pools. What it remembers is kept in the state folder; lost, all count as awake."""

    def __init__(self, settings: AgentSettings, clock: Clock) -> None:
        self._hooks = (settings.wake_hook, settings.sleep_hook)
        self._file = settings.state / "hosts.json"
        self._clock = clock
        self._pools: dict[str, PoolHosts] = self._loaded()
        self._looked_at: datetime | None = None

    @property
    def may_sleep(self) -> bool:
        """Whether there are hooks."""
        return None not in self._hooks

    @property
    def problems(self) -> tuple[str, ...]:
        """What a person should look at."""
        return tuple(f"pool {name}: {each.problem}" for name, each in sorted(self._pools.items()) if each.problem)

    def of(self, pool: str) -> PoolHosts | None:
        """What is known of a pool's hosts; None where they never sleep."""
        return self._pools.get(pool)

    def step(self, facts: ClusterFacts, held: Mapping[str, int], starts: Sequence[PlannedStart] | None) -> None:
        """Account since the last step, and wake or put to sleep what is due.

        `held` are the GPUs by pool that work holds or waits for here; `starts` is the hub's plan, None while the
        hub does not answer: then nothing more is put to sleep.
        """
        now = self._clock.now()
        sleepers = {pool.name: pool for pool in facts.pools if pool.wake_time is not None and self.may_sleep}
        self._pools = {
            name: self._pools.get(name) or PoolHosts(pool.hosts, pool.hosts) for name, pool in sleepers.items()
        }
        span = min(now - self._looked_at, _LONGEST_STEP) if self._looked_at is not None else timedelta()
        self._looked_at = now
        for name, pool in sleepers.items():
            with only(f"the hosts of pool {name}", partial(self._blame, name)):
                known = self._pools[name]
                known.hosts, known.awake = pool.hosts, min(known.awake, pool.hosts)
                _account(known, pool, held.get(name, 0), span)
                self._follow(name, known)
                planned = None if starts is None else [(each.at, each.gpus) for each in starts if each.pool == name]
                self._decide(pool, known, held.get(name, 0), planned, now)
        if sleepers:
            self._save()

    def close(self) -> None:
        """Remember how the hosts are; a hook that runs goes on."""
        if self._pools:
            self._save()

    def _decide(
        self,
        pool: GpuPool,
        known: PoolHosts,
        held: int,
        planned: Sequence[tuple[datetime, int]] | None,
        now: datetime,
    ) -> None:
        known.idle_until = None if held else min((start for start, _ in planned or ()), default=None)
        needed, most = pool.awake_hosts(known.awake, held, planned or (), now)
        if known.hook is not None or time.monotonic() < known.again_at:
            return
        if needed > known.awake:
            known.surplus_since = None
            self._call(pool, known, 0, needed)
        elif planned is None or most >= known.awake:
            known.surplus_since = None
        elif known.surplus_since is None:
            known.surplus_since = now
        elif pool.wake_time is not None and now - known.surplus_since >= pool.wake_time:
            self._call(pool, known, 1, most)

    def _call(self, pool: GpuPool, known: PoolHosts, which: int, awake: int) -> None:
        hook = self._hooks[which]
        logger.info("Pool %s: %s of %s hosts are to be awake, after %s", pool.name, awake, pool.hosts, known.awake)
        wake_seconds = self._clock.real_seconds(pool.wake_time or timedelta())
        seconds = min(_MOST_HOOK_SECONDS, max(_LEAST_HOOK_SECONDS, 2 * wake_seconds))
        quiet = subprocess.DEVNULL
        try:
            process = subprocess.Popen(
                [str(hook), pool.name, str(awake)],
                stdin=quiet,
                stdout=quiet,
                stderr=quiet,
                env={name: os.environ[name] for name in _VARIABLES if name in os.environ},
                start_new_session=True,
            )
        except OSError as error:
            self._failed(known, which, f"can't be run: {error.strerror or error}")
            return
        known.hook = _Hook(process, awake, time.monotonic() + seconds)

    def _follow(self, name: str, known: PoolHosts) -> None:
        """See whether the pool's hook has ended."""
        hook = known.hook
        if hook is None:
            return
        which, status = int(hook.awake < known.awake), hook.process.poll()
        if status is None and time.monotonic() < hook.until:
            return
        known.hook = None
        if status is None:
            with suppress(ProcessLookupError):
                os.killpg(hook.process.pid, signal.SIGKILL)
            hook.process.wait()
            self._failed(known, which, "did not end in time, and was ended")
        elif status:
            self._failed(known, which, f"ended with {status}")
        else:
            logger.info("Pool %s: %s hosts are awake", name, hook.awake)
            known.awake, known.surplus_since, known.problem = hook.awake, None, ""

    def _failed(self, known: PoolHosts, which: int, how: str) -> None:
        """It is tried again; hosts whose sleep failed count as awake, and those whose waking failed as asleep."""
        known.problem = f"{('--wake-hook', '--sleep-hook')[which]} {self._hooks[which]} {how}"
        known.again_at = time.monotonic() + _TRY_AGAIN_SECONDS
        logger.warning("%s", known.problem)

    def _blame(self, name: str, fault: str) -> None:
        self._pools[name].problem = fault

    def _save(self) -> None:
        kept = {
            name: {"awake": each.awake, "idleKwh": each.idle_kwh, "savedKwh": each.saved_kwh}
            for name, each in self._pools.items()
        }
        replace_file(self._file, json.dumps(kept))

    def _loaded(self) -> dict[str, PoolHosts]:
        found = {}
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            for name, kept in json.loads(self._file.read_text()).items():
                idle, saved = float(kept["idleKwh"]), float(kept["savedKwh"])
                if isinstance(kept["awake"], int) and kept["awake"] >= 0 and math.isfinite(idle + saved):
                    found[str(name)] = PoolHosts(kept["awake"], kept["awake"], max(0.0, idle), max(0.0, saved))
        return found


def _account(known: PoolHosts, pool: GpuPool, held: int, span: timedelta) -> None:
    """GPUs without work draw what the hardware profile or the cluster file says; hosts are left out."""
    kwh = pool_profile(pool).idle_watts / 1000 * (span / timedelta(hours=1))
    awake = min(pool.gpus, known.awake * pool.gpus_per_node)
    known.idle_kwh += kwh * max(0, awake - held)
    known.saved_kwh += kwh * (pool.gpus - awake)
