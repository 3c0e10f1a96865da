"""The spoke's agent: reads its folder, compares with what runs, acts on the difference, reports."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Final

from carbonfleet.api.report import AttemptPhase, RunLog
from carbonfleet.api.spoke import PoolStatus, SpokeStatus
from carbonfleet.clock import Clock
from carbonfleet.faults import only
from carbonfleet.fleet.manifests import newest_form
from carbonfleet.probes import ProbeResult
from carbonfleet.spoke.admission import AdmissionRefusal
from carbonfleet.spoke.attempt_state import AttemptState, AttemptStatus, KnownAttempt, status_of
from carbonfleet.spoke.errors import RuntimeAwayError, SyncError
from carbonfleet.spoke.executor import Executor
from carbonfleet.spoke.hosts import Hosts
from carbonfleet.spoke.memory import Memory
from carbonfleet.spoke.observation import SpokeObservation
from carbonfleet.spoke.report import (
    MOST_PROBLEMS,
    Connection,
    Context,
    HubLink,
    ReportQueue,
    is_urgent,
    report_of,
    with_status,
)
from carbonfleet.spoke.runtimes import Runtime
from carbonfleet.spoke.settings import AgentSettings
from carbonfleet.spoke.wanted import FleetSource, WantedSet, read_folder

logger = logging.getLogger(__name__)

_MOST_SILENT_SECONDS: Final = 180.0
_RUNTIME_AWAY: Final = AttemptStatus(
    AttemptPhase.UNKNOWN,
    "RuntimeUnreachable",
    "the runtime does not answer, and the attempt may well go on: see that Ray, or the spoke's API, runs",
)


class Agent:
    """One spoke's agent. `cycle` is one pass over its steps; `run` repeats it until told to end."""

    def __init__(
        self, settings: AgentSettings, source: FleetSource, runtime: Runtime, hub: HubLink, clock: Clock
    ) -> None:
        """Raises MemoryInUseError when another agent of this spoke runs here."""
        self._settings, self._source, self._runtime, self._clock = settings, source, runtime, clock
        self._memory = Memory(settings.state)
        self._queue = ReportQueue(settings, hub, clock, self._memory)
        self._executor = Executor(settings, runtime, self._memory, self._queue.why_do_nothing)
        self._hosts = Hosts(settings, clock)
        self._git, self._runtime_link = Connection("git"), Connection("runtime")
        self._wanted: WantedSet | None = None
        self._refused: Mapping[str, AdmissionRefusal] = {}
        self._version = ""
        self._faults: list[str] = []
        """What nobody foresaw in this pass, a sentence for each step that it ended."""
        self._passed_at = time.monotonic()
        self._observation = self._fresh_observation()
        self._steps = (
            self._sync,
            self._listen,
            self._observe,
            self._act,
            self._switch_hosts,
            self._report,
            self._queue.deliver,
            self._beat,
        )

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set. What runs on the spoke goes on without us."""
        logger.info("Spoke %s: the agent starts (boot %s)", self._settings.spoke, self._queue.boot_id[:8])
        while not stop.is_set():
            try:
                self.cycle()
            except Exception:  # one bad pass must not end the spoke: the next one looks at everything anew
                logger.exception("Spoke %s: a pass failed", self._settings.spoke)
            self._passed_at = time.monotonic()
            stop.wait(self._settings.poll_seconds)
        self.close()

    def probe(self) -> ProbeResult:
        """Healthy as long as passes end; Git, hub or runtime may be away."""
        silent_seconds = time.monotonic() - self._passed_at
        lease = self._queue.lease
        told = lease.problem if lease.is_refused else f"last pass {silent_seconds:.0f} s ago"
        told = "; ".join(filter(None, (told, self._memory.problem)))
        return ProbeResult(silent_seconds < _MOST_SILENT_SECONDS, told)

    def cycle(self) -> None:
        """One pass: each step does what it can, whatever the steps before it could not.

        An agent whose spoke's name another one holds takes no step.
        """
        self._faults.clear()
        self._queue.claim()
        for step in () if self._queue.lease.is_refused else self._steps:
            with only(f"spoke {self._settings.spoke}: {step.__name__.strip('_')}", self._faults.append):
                step()

    def close(self) -> None:
        """Let another agent take over."""
        self._hosts.close()
        self._memory.save()
        self._memory.close()

    def _sync(self) -> None:
        if not self._git.is_due():
            return
        try:
            folder = self._source.fetch()
        except SyncError as error:
            self._failed(self._git, error)
            return
        self._git.worked(self._settings.sync_seconds)
        if self._wanted is None or self._wanted.commit != folder.commit:
            self._wanted = read_folder(self._settings.spoke, folder)

    def _listen(self) -> None:
        self._queue.resync(self._wanted.placements.keys() if self._wanted else ())

    def _observe(self) -> None:
        self._observation = self._fresh_observation()
        if not self._runtime_link.is_due():
            return
        try:
            if not self._version or not self._runtime_link.is_up:
                self._version = self._runtime.version()
            self._observation.observed = self._runtime.observe(self._observation.scope())
        except RuntimeAwayError as error:
            self._failed(self._runtime_link, error)
            return
        self._runtime_link.worked()

    def _act(self) -> None:
        """Ask the runtime for what is missing; without a look at Git, runtime and past nothing is done."""
        if self._memory.is_new and not self._queue.has_listened:
            return
        try:
            self._refused = self._executor.act(self._observation, self._context())
        except RuntimeAwayError as error:
            self._observation.observed = None
            self._failed(self._runtime_link, error)

    def _switch_hosts(self) -> None:
        """Wake and put to sleep the hosts of pools that may sleep; without a look at Git and runtime as they are."""
        wanted, facts = self._wanted, self._wanted.facts if self._wanted else None
        if not self._hosts.may_sleep or wanted is None or facts is None or self._observation.observed is None:
            return
        held = self._observation.held()
        for name, state in self._observation.states().items():
            with self._observation.only(name, "whether it needs hosts can't be told"):
                if state.wanted is not None and not (state.run and state.run.is_live) and not state.is_at_rest:
                    held[state.wanted.placement.pool] += state.wanted.placement.gpus
        self._hosts.step(facts, held, self._queue.planned_starts())

    def _report(self) -> None:
        """Bring what is remembered of each attempt up to what is seen of it."""
        if self._observation.observed is None:
            self._report_silence()
        else:
            context = self._context()
            for name, state in self._observation.states().items():
                with self._observation.only(name, "it can't be reported"):
                    self._keep(name, state, context)
        self._memory.save(self._wanted.placements if self._wanted else ())

    def _keep(self, name: str, state: AttemptState, context: Context) -> None:
        if state.known is not None and state.known.is_over:
            if state.run is None:  # or its namespace is ours no more, and what is left there is its owner's
                self._memory.keep(name, replace(state.known, cleared=True))
            return
        refusal = self._refused.get(name)
        status = status_of(state, refusal.status if refusal else None)
        found = self._observation.findings(name)
        if self._settings.hide_logs and found.log is not None:
            found = replace(found, log=RunLog(uri=found.log.uri))
        report = report_of(state, status, found, context)
        known = state.known or KnownAttempt(report)
        if state.wanted is not None:
            known = replace(known, path=state.wanted.placement.path, place=self._runtime.place(state.wanted))
        session = state.run.session if state.run else known.session
        heard = known.delivered and not is_urgent(report, known.report)
        self._memory.keep(name, replace(known, report=report, session=session, delivered=heard))

    def _report_silence(self) -> None:
        """Nothing is known of what ran, after a while: that is not to have failed."""
        if self._runtime_link.down_seconds() < self._settings.unknown_after_seconds:
            return
        quiet = {AttemptPhase.SUSPENDED, AttemptPhase.UNKNOWN}
        for name, known in list(self._memory.items()):
            if known.session and not known.is_over and known.report.phase not in quiet:
                with self._observation.only(name, "its silence can't be reported"):
                    report = with_status(known.report, _RUNTIME_AWAY, self._clock.now())
                    self._memory.keep(name, replace(known, report=report, delivered=False))

    def _beat(self) -> None:
        wanted, pools = self._wanted, self._pools()
        listed = [""]
        with only("the allow list can't be read", self._faults.append):
            listed = [self._executor.allow_list_problem()]
        self._queue.beat(
            SpokeStatus(
                synced_commit=wanted.commit if wanted else "",
                pools=pools,
                free=self._free(pools),
                agent_version=version("carbonfleet"),
                placement_form=newest_form(),
                runtime_version=self._version,
                runtime_problem=self._runtime_link.problem,
                problems=self._problems(*listed),
            )
        )

    def _problems(self, allow_list_problem: str = "") -> tuple[str, ...]:
        """What a person should look at, the worst first."""
        problems = (
            *(link.problem for link in (self._git, self._runtime_link)),
            self._queue.lease.rival_problem,
            *(self._wanted.problems if self._wanted else ()),
            *(self._observation.observed.blind.values() if self._observation.observed else ()),
            *self._faults,
            *self._observation.faults.values(),
            self._memory.problem,
            *self._hosts.problems,
            allow_list_problem,
            *self._queue.rejected.values(),
        )
        return tuple(problem[:1024] for problem in problems if problem)[:MOST_PROBLEMS]

    def _pools(self) -> tuple[PoolStatus, ...]:
        """GPUs free in each pool; none while the runtime is away, since nothing could be started on them."""
        facts = self._wanted.facts if self._wanted else None
        declared = {pool.name: pool.gpus for pool in facts.pools} if facts else {}
        free: Mapping[str, int] = dict.fromkeys(declared, 0)
        if self._observation.observed is not None:
            with only(f"spoke {self._settings.spoke}: its free GPUs can't be told", self._faults.append):
                free = self._runtime.free_gpus(declared, self._observation.held())
        return tuple(self._pool(name, gpus, declared.get(name, 0)) for name, gpus in free.items())

    def _pool(self, name: str, free_gpus: int, declared: int) -> PoolStatus:
        """GPUs of hosts that sleep are free: they are woken for whoever is placed on them."""
        hosts = self._hosts.of(name)
        if hosts is None:
            return PoolStatus(name=name, free_gpus=free_gpus)
        if self._observation.observed is not None and hosts.is_asleep:
            free_gpus = max(free_gpus, declared - self._observation.held()[name])
        return PoolStatus(
            name=name,
            free_gpus=free_gpus,
            awake_hosts=hosts.awake,
            idle_until=hosts.idle_until,
            idle_kwh=round(hosts.idle_kwh, 3),
            idle_saved_kwh=round(hosts.saved_kwh, 3),
        )

    def _free(self, pools: Sequence[PoolStatus]) -> str:
        facts = self._wanted.facts if self._wanted else None
        declared = {pool.name: pool.gpus for pool in facts.pools} if facts else {}
        told = (f"{pool.free_gpus}/{declared.get(pool.name, '?')} {pool.name}" for pool in pools)
        return ", ".join(told)[:256]

    def _context(self) -> Context:
        commit = self._wanted.commit if self._wanted else ""
        return Context(self._settings.spoke, self._clock.now(), commit)

    def _fresh_observation(self) -> SpokeObservation:
        return SpokeObservation(self._runtime, self._memory, self._wanted)

    def _failed(self, link: Connection, error: Exception) -> None:
        if link.failed(str(error)):
            logger.warning("Spoke %s: %s", self._settings.spoke, error)
