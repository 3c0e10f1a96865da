"""The hub's process: Kopf watches, one thread plans, a Lease elects."""

import asyncio
import contextlib
import logging
import os
import random
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import kopf

from carbonfleet.api.wire import GROUP, VERSION
from carbonfleet.clock import Clock
from carbonfleet.faults import said
from carbonfleet.hub import admission
from carbonfleet.hub.accounting import Settling
from carbonfleet.hub.checking import Checking
from carbonfleet.hub.connections import Connections
from carbonfleet.hub.cycle import Cycle, CycleResult
from carbonfleet.hub.election import Election
from carbonfleet.hub.listeners import ZoneFigures, listen, serve_carbon
from carbonfleet.hub.metrics import Metrics
from carbonfleet.hub.observe import KINDS, NoDiffs, on_watch_event
from carbonfleet.hub.settings import HubSettings
from carbonfleet.kube import Kube, KubeError
from carbonfleet.probes import BoundedServer, ProbeResult, answer_probes
from carbonfleet.signals import Market, Signals
from carbonfleet.text import without

_log = logging.getLogger(__name__)
LONGEST_REST: Final = 30.0
"""Real seconds between two cycles when nothing happens."""
REVIEW_REST: Final = 3.0
"""The same while a proposal is open: what people do on its branch, or to the base, wakes nobody."""
SHORTEST_REST: Final = 0.02
STUCK_AFTER: Final = 300.0
"""Real seconds without a finished cycle after which the liveness probe fails."""
LOOP_ANSWERS_WITHIN: Final = 3.0
"""Real seconds; the kubelet waits for 5."""


def run(settings: HubSettings, clock: Clock, signals: Signals, market: Market | None = None) -> None:
    """Be a hub until stopped by a signal, or until the Lease is lost.

    Raises KubeError when there is no usable kubeconfig, RepositoryInvalid for an unfit fleet address,
    LedgerError without a ledger, OSError when an address is taken, ValueError for webhooks without a secret and for
    carbon figures without a token.
    """
    connections = Connections.open(settings, clock, signals, market)
    cycle, mirror = Cycle(connections), connections.mirror
    stop = threading.Event()
    length, claim = timedelta(seconds=settings.lease_seconds), settings.job_namespaces or "*"
    election = Election(connections.kube, settings.namespace, settings.identity, length, claim)
    liveness = Liveness(election)
    metrics = Metrics(connections.ledger)
    served = metrics.serve(settings.metrics) if settings.metrics else None
    probes = answer_probes(settings.liveness, liveness.probe) if settings.liveness else None
    listeners = [each for each in (_listen(connections, cycle), _carbon(connections, cycle, metrics)) if each]
    _watch(connections, cycle)
    leading = Leading(connections, cycle, election, stop, liveness, metrics)
    leader = threading.Thread(target=leading.run, name="cycle", daemon=True)
    leader.start()
    _hide(connections.kube)
    try:
        asyncio.run(_operate(stop, liveness))
    except Exception as error:  # noqa: BLE001 - whatever Kopf raises; its chain of causes may quote the token
        why = without(f"watching the Kubernetes API failed for good: {error}", connections.kube.token)
        raise KubeError(0, "WatchFailed", why) from None
    stop.set()
    mirror.changed.set()
    leader.join(timeout=10)
    if served is not None:
        served.close()
    if probes is not None:
        probes.close()
    for listener in listeners:
        listener.close()
    cycle.close()
    connections.close()


def _hide(kube: Kube) -> None:
    """Kopf logs what the API answers, which may quote the token that it was sent."""

    def hide(record: logging.LogRecord) -> bool:
        record.msg, record.args = without(record.getMessage(), kube.token), ()
        if record.exc_info:
            record.exc_text = without("".join(traceback.format_exception(*record.exc_info)).rstrip(), kube.token)
        return True

    for handler in logging.getLogger().handlers:
        handler.addFilter(hide)


async def _operate(stop: threading.Event, liveness: "Liveness") -> None:
    """Kopf, until a signal, a failure of its own, or `stop`."""
    loop, flag = asyncio.get_running_loop(), asyncio.Event()
    liveness.loop = loop

    def pass_on() -> None:
        stop.wait()
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(flag.set)

    threading.Thread(target=pass_on, name="stop", daemon=True).start()
    await kopf.operator(clusterwide=True, standalone=True, stop_flag=flag)


def _listen(connections: Connections, cycle: Cycle) -> BoundedServer | None:
    """Await the forge's webhooks, where that is set."""
    settings, mirror = connections.settings, connections.mirror
    if settings.forge is None or not settings.webhook_address or settings.webhook_secret_file is None:
        return None

    def hint() -> None:
        cycle.hint()
        mirror.changed.set()

    return listen(settings.webhook_address, settings.forge, settings.webhook_secret_file, connections.clock.now, hint)


def _carbon(connections: Connections, cycle: Cycle, metrics: Metrics) -> BoundedServer | None:
    """Answer who asks for zones' carbon figures, where that is set."""
    settings, repository = connections.settings, connections.repository
    if not settings.carbon_address or settings.carbon_token_file is None:
        return None

    def zones() -> set[str]:
        # A hub that stands by has no cycle.
        return {facts.zone for facts in (cycle.tip or repository.fetch()).clusters.values()}

    figures = ZoneFigures(connections.signals, zones, connections.clock.now, settings.horizon)
    return serve_carbon(settings.carbon_address, settings.carbon_token_file, figures, metrics.carbon_answered)


class Liveness:
    """What the liveness probe reports: whether cycles end and watches are served, and the state of the election."""

    def __init__(self, election: Election) -> None:
        self._election = election
        self._last = time.monotonic()
        self._trouble = ""
        self.loop: asyncio.AbstractEventLoop | None = None
        """Kopf's, once it runs."""

    def note_progress(self, trouble: str = "") -> None:
        """A cycle has ended, or a try to be elected; `trouble` is what kept the cycle from all that it should do."""
        self._last = time.monotonic()
        if trouble != self._trouble:
            _log.warning("%s", trouble or "cycles do all that they should again")
        self._trouble = trouble

    def probe(self) -> ProbeResult:
        """Unhealthy when the planning thread or Kopf is stuck or gone, or when the Lease can't be had.

        What another hub would suffer as well (a full disk, a repository that is away) is named, and no reason to
        begin anew.
        """
        silent_seconds = time.monotonic() - self._last
        if silent_seconds > STUCK_AFTER:
            return ProbeResult(False, f"Stuck: no cycle has ended for {silent_seconds:.0f} s")
        if not self._loop_answers():
            return ProbeResult(False, f"Stuck: watches have not been served for {LOOP_ANSWERS_WITHIN:.0f} s")
        state = self._election.state
        told = (f"{state.reason}: {state.message}", self._trouble)
        return ProbeResult(state.is_healthy, "; ".join(filter(None, told)))

    def _loop_answers(self) -> bool:
        """Whether Kopf's event loop takes a call, where it has begun."""
        if self.loop is None:
            return True
        answered = threading.Event()
        with contextlib.suppress(RuntimeError):  # the loop has ended, and the process ends
            self.loop.call_soon_threadsafe(answered.set)
        return answered.wait(LOOP_ANSWERS_WITHIN)


def _watch(connections: Connections, cycle: Cycle) -> None:
    """Kopf's part: keep the mirror. Handlers never plan."""
    admission_address = connections.settings.admission_address
    for kind in KINDS:
        kopf.on.event(GROUP, VERSION, kind, id=kind)(on_watch_event(connections.mirror, kind))

    if admission_address:
        # Of the last cycle; a hub that stands by has none, and fetches for itself.
        admission.register(lambda: cycle.tip or connections.repository.fetch())

    @kopf.on.login()
    def login(**_: object) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(**connections.kube.credentials())

    @kopf.on.startup()
    def configure(settings: kopf.OperatorSettings, **_: object) -> None:
        if admission_address:
            settings.admission.server = admission.server_of(admission_address, connections.settings.admission_tls)
        settings.posting.enabled = False
        settings.persistence.diffbase_storage = NoDiffs()
        settings.watching.server_timeout = 600
        settings.watching.connect_timeout = 10
        settings.networking.error_backoffs = [1, 2, 5, 10]


@dataclass(frozen=True, slots=True)
class Leading:
    """The thread that waits for the Lease and then runs cycles while it is held."""

    connections: Connections
    cycle: Cycle
    election: Election
    stop: threading.Event
    liveness: Liveness
    metrics: Metrics

    def run(self) -> None:
        """Lead until stopped, or until the Lease is lost: then the process ends."""
        if self.election.wait(self.stop, self.liveness.note_progress):
            _log.info("leading as %s", self.election.identity)
            self.metrics.leads(True)
            lost, over = threading.Event(), threading.Event()
            threading.Thread(target=self._keep, args=(lost, over), name="lease", daemon=True).start()
            self._cycles(lambda: self.stop.is_set() or lost.is_set())
            over.set()
            self.metrics.leads(False)
            self.election.release()
            if not self.stop.is_set():
                _log.error("the Lease was lost: stopping, so that two hubs never lead")
        self.stop.set()

    def _keep(self, lost: threading.Event, over: threading.Event) -> None:
        """Renew the Lease until the cycles are over. Once it is lost, end a cycle that does not end in time."""
        self.election.keep(over)
        if over.is_set():
            return
        lost.set()
        self.connections.mirror.asked.set()
        self.connections.mirror.changed.set()
        if not over.wait(self.election.seconds_to_end):
            _log.critical("the Lease was lost, and a cycle goes on: ending at once, so that two hubs never lead")
            os._exit(1)  # a hub may be killed at any moment, and nothing else ends what another thread waits for

    def _cycles(self, stopped: Callable[[], bool]) -> None:
        mirror, signals, clock = self.connections.mirror, self.connections.signals, self.connections.clock
        failures, read_at = 0, 0.0
        settling = Settling(self.connections.ledger, signals, clock)
        checking = Checking(signals, clock, self.metrics.signals_checked)
        while not stopped():
            mirror.changed.clear()
            mirror.asked.clear()
            began = time.monotonic()
            result, trouble = None, ""
            try:
                if began - read_at > self.connections.settings.resync.total_seconds() or not read_at:
                    mirror.resync(self.connections.kube)
                    read_at = began
                result = self.cycle.run()
                failures = failures + 1 if result.blocker else 0
                trouble = f"{result.blocker.reason}: {result.blocker.message}" if result.blocker else ""
            except KubeError as error:
                failures, read_at, trouble = failures + 1, 0.0, f"the Kubernetes API failed, trying again: {error}"
            except Exception as error:  # noqa: BLE001 - a fault in one cycle must not end the hub
                failures, trouble = failures + 1, f"a planning cycle failed, trying again: {said(error)}"
                _log.exception("a planning cycle failed, trying again")
            self.liveness.note_progress(without(trouble, self.connections.kube.token))
            self.metrics.cycle_ended(time.monotonic() - began, result)
            settling.begin()
            checking.begin(self.cycle.tip.clusters.values() if self.cycle.tip else ())
            if failures or result is None:
                _pause(stopped, _backoff(failures))
            elif mirror.changed.is_set():
                # A busy fleet's reports gather meanwhile; new jobs have gathered during the cycle.
                mirror.asked.wait(min(0.5, time.monotonic() - began))
            else:
                mirror.changed.wait(self._rest_seconds(result))
        settling.close()
        checking.close()

    def _rest_seconds(self, result: CycleResult) -> float:
        """Real seconds until the next cycle is due though nothing changes."""
        if result.go_on:
            return SHORTEST_REST
        due = REVIEW_REST if self.cycle.has_open_proposals else LONGEST_REST
        if result.recheck_at is not None:
            ahead = result.recheck_at - self.connections.clock.now()
            due = min(due, self.connections.clock.real_seconds(max(ahead, timedelta(0))))
        return max(SHORTEST_REST, due)


def _backoff(failures: int) -> float:
    """1 s x 1.5 for each failure, at most 30 s, half of it by chance."""
    return min(30.0, 1.5 ** min(failures, 12)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


def _pause(stopped: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not stopped() and time.monotonic() < until:
        time.sleep(min(0.25, seconds))
