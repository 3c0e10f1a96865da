"""The hub's process: Kopf watches, one thread plans, a Lease elects."""

import asyncio
import contextlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import kopf

from carbonfleet.api.wire import GROUP, VERSION
from carbonfleet.clock import Clock
from carbonfleet.fleet import Repository, Reviews
from carbonfleet.hub import admission, cycle
from carbonfleet.hub.accounting.settling import Settling
from carbonfleet.hub.checking import Checking
from carbonfleet.hub.election import Election
from carbonfleet.hub.metrics import Metrics
from carbonfleet.hub.observe.mirror import KINDS, Mirror, NoDiffs, on_watch_event
from carbonfleet.hub.settings import HubSettings
from carbonfleet.hub.webhook_listener import Listener, listen
from carbonfleet.hub.world import World
from carbonfleet.kube import Kube, KubeError, path
from carbonfleet.ledger import Ledger
from carbonfleet.probes import ProbeResult, answer_probes
from carbonfleet.signals import Market, Signals

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
    LedgerError without a ledger, OSError when an address is taken, ValueError for webhooks without a secret.
    """
    world = open_world(settings, clock, signals, market)
    stop = threading.Event()
    election = Election(world.kube, settings.namespace, settings.identity, timedelta(seconds=settings.lease_seconds))
    pulse = Pulse(election)
    metrics = Metrics(world.ledger)
    served = metrics.serve(settings.metrics) if settings.metrics else None
    probes = answer_probes(settings.liveness, pulse.probe) if settings.liveness else None
    listener = _listen(world)
    _watch(world)
    leader = threading.Thread(target=_lead, args=(world, election, stop, pulse, metrics), name="cycle", daemon=True)
    leader.start()
    asyncio.run(_operate(stop, pulse))
    stop.set()
    world.mirror.changed.set()
    leader.join(timeout=10)
    if served is not None:
        served.stop()
    if probes is not None:
        probes.shutdown()
    if listener is not None:
        listener.close()
    world.teller.close()
    world.ledger.close()
    signals.close()
    if market is not None:
        market.close()


async def _operate(stop: threading.Event, pulse: "Pulse") -> None:
    """Kopf, until a signal, a failure of its own, or `stop`."""
    loop, flag = asyncio.get_running_loop(), asyncio.Event()
    pulse.loop = loop

    def pass_on() -> None:
        stop.wait()
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(flag.set)

    threading.Thread(target=pass_on, name="stop", daemon=True).start()
    await kopf.operator(clusterwide=True, standalone=True, stop_flag=flag)


def open_world(settings: HubSettings, clock: Clock, signals: Signals, market: Market | None = None) -> World:
    """Everything that a cycle needs, from settings."""
    settings.state.mkdir(parents=True, exist_ok=True)
    repository = Repository(settings.repository, clock)
    return World(
        settings=settings,
        clock=clock,
        kube=Kube.connect(settings.kubeconfig),
        mirror=Mirror(),
        repository=repository,
        reviews=Reviews(repository, settings.open_forge()),
        signals=signals,
        market=market,
        ledger=Ledger(settings.ledger_url) if settings.ledger_url else Ledger.at(settings.state / "ledger.sqlite"),
    )


def _listen(world: World) -> Listener | None:
    """Await the forge's webhooks, where that is set."""
    settings = world.settings
    if settings.forge is None or not settings.webhook_address or settings.webhook_secret_file is None:
        return None

    def hint() -> None:
        world.hinted.set()
        world.mirror.changed.set()

    return listen(settings.webhook_address, settings.forge, settings.webhook_secret_file, world.clock.now, hint)


class Pulse:
    """What probes are told: that cycles end, that watches are served, and where this hub stands in the election."""

    def __init__(self, election: Election) -> None:
        self._election = election
        self._last = time.monotonic()
        self.loop: asyncio.AbstractEventLoop | None = None
        """Kopf's, once it runs."""

    def beat(self) -> None:
        """A cycle has ended, or a try to be elected."""
        self._last = time.monotonic()

    def probe(self) -> ProbeResult:
        """Unhealthy when the planning thread or Kopf is stuck or gone, or when the Lease can't be had."""
        silent_seconds = time.monotonic() - self._last
        if silent_seconds > STUCK_AFTER:
            return ProbeResult(False, f"Stuck: no cycle has ended for {silent_seconds:.0f} s")
        if not self._loop_answers():
            return ProbeResult(False, f"Stuck: watches have not been served for {LOOP_ANSWERS_WITHIN:.0f} s")
        state = self._election.state
        return ProbeResult(state.is_healthy, f"{state.reason}: {state.message}")

    def _loop_answers(self) -> bool:
        """Whether Kopf's event loop takes a call, where it has begun."""
        if self.loop is None:
            return True
        answered = threading.Event()
        with contextlib.suppress(RuntimeError):  # the loop has ended, and the process ends
            self.loop.call_soon_threadsafe(answered.set)
        return answered.wait(LOOP_ANSWERS_WITHIN)


def _watch(world: World) -> None:
    """Kopf's part: keep the mirror. Handlers never plan."""
    for kind in KINDS:
        kopf.on.event(GROUP, VERSION, kind, id=kind)(on_watch_event(world.mirror, kind))

    if world.settings.admission_address:
        admission.register(world)

    @kopf.on.login()
    def login(**_: object) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(**world.kube.credentials())

    @kopf.on.startup()
    def configure(settings: kopf.OperatorSettings, **_: object) -> None:
        if world.settings.admission_address:
            settings.admission.server = admission.server_of(
                world.settings.admission_address, world.settings.admission_tls
            )
        settings.posting.enabled = False
        settings.persistence.diffbase_storage = NoDiffs()
        settings.watching.server_timeout = 600
        settings.watching.connect_timeout = 10
        settings.networking.error_backoffs = [1, 2, 5, 10]


def _lead(world: World, election: Election, stop: threading.Event, pulse: Pulse, metrics: Metrics) -> None:
    """Wait for the Lease, then run cycles while it is held; without it, end the process."""
    if election.wait(stop, pulse.beat):
        _log.info("leading as %s", election.identity)
        lost, over = threading.Event(), threading.Event()
        keeper = threading.Thread(target=_keep, args=(world, election, lost, over), name="lease", daemon=True)
        keeper.start()
        _cycles(world, lambda: stop.is_set() or lost.is_set(), pulse, metrics)
        over.set()
        election.release()
        if not stop.is_set():
            _log.error("the Lease was lost: stopping, so that two hubs never lead")
    stop.set()


def _keep(world: World, election: Election, lost: threading.Event, over: threading.Event) -> None:
    """Renew the Lease until the cycles are over. Once it is lost, end a cycle that does not end by itself in time."""
    election.keep(over)
    if over.is_set():
        return
    lost.set()
    world.mirror.asked.set()
    world.mirror.changed.set()
    if not over.wait(election.seconds_to_end):
        _log.critical("the Lease was lost, and a cycle goes on: ending at once, so that two hubs never lead")
        os._exit(1)  # a hub may be killed at any moment, and nothing else ends what another thread waits for


def _cycles(world: World, stopped: Callable[[], bool], pulse: Pulse, metrics: Metrics) -> None:
    failures = 0
    read_at = 0.0
    settling = Settling(world.ledger, world.signals, world.clock)
    checking = Checking(world.signals, world.clock, metrics.signals_checked)
    while not stopped():
        world.mirror.changed.clear()
        world.mirror.asked.clear()
        began = time.monotonic()
        outcome = None
        try:
            if began - read_at > world.settings.resync.total_seconds() or not read_at:
                world.hub_id = world.hub_id or _hub_id(world.kube)
                world.mirror.resync(world.kube)
                read_at = began
            outcome = cycle.run(world)
            failures = failures + 1 if outcome.trouble else 0
            rest = _rest(world, outcome, failures)
        except KubeError as error:
            failures, read_at = failures + 1, 0.0
            _log.warning("the Kubernetes API failed, trying again: %s", error)
            rest = _backoff(failures)
        except Exception:  # noqa: BLE001 - a fault in one cycle must not end the hub
            failures += 1
            _log.exception("a planning cycle failed, trying again")
            rest = _backoff(failures)
        pulse.beat()
        metrics.cycle_ended(time.monotonic() - began, outcome)
        settling.nudge()
        checking.nudge(world.tip.clusters.values() if world.tip else ())
        if failures:
            _pause(stopped, rest)
        elif world.mirror.changed.is_set():
            # A busy fleet's reports gather meanwhile; new jobs have gathered during the cycle.
            world.mirror.asked.wait(min(0.5, time.monotonic() - began))
        else:
            world.mirror.changed.wait(rest)
    settling.close()
    checking.close()


def _hub_id(kube: Kube) -> str:
    """The UID of the namespace kube-system, which tells one cluster from another; empty where it can't be read.

    Raises KubeError when the API is away.
    """
    try:
        return str(kube.get(path("api/v1", "namespaces", name="kube-system"))["metadata"]["uid"])
    except KubeError as error:
        if not error.is_about_one_object:
            raise
        _log.warning(
            "placements whose jobs are gone are not removed from Git, since we can't tell them ours: %s", error
        )
        return ""


def _rest(world: World, outcome: cycle.Outcome, failures: int) -> float:
    """Real seconds until the next cycle is due though nothing changes."""
    if failures:
        return _backoff(failures)
    if outcome.go_on:
        return SHORTEST_REST
    due = REVIEW_REST if world.reviews.has_open else LONGEST_REST
    if outcome.recheck_at is not None:
        ahead = outcome.recheck_at - world.clock.now()
        due = min(due, world.clock.real_seconds(max(ahead, timedelta(0))))
    return max(SHORTEST_REST, due)


def _backoff(failures: int) -> float:
    """1 s x 1.5 for each failure, at most 30 s, half of it by chance."""
    return min(30.0, 1.5 ** min(failures, 12)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


def _pause(stopped: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not stopped() and time.monotonic() < until:
        time.sleep(min(0.25, seconds))
