"""What the hub tells Prometheus: the ledger's figures by namespace, and how its cycles go."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, MetricsHandler
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from carbonfleet.hub.cycle import CycleResult
from carbonfleet.hub.status import FleetFigures
from carbonfleet.ledger import LedgerError
from carbonfleet.ledger.report import Line
from carbonfleet.ledger.store import By, Ledger, Sums
from carbonfleet.probes import BoundedServer
from carbonfleet.signals import Finding

_log = logging.getLogger(__name__)
_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_FIGURES: Final[tuple[tuple[str, str, Callable[[Line], float | None]], ...]] = (
    ("emissions_grams", "Emitted, CO2e, with building, transfer and embodied share", lambda line: line.sums.grams),
    ("operational_grams", "The part of the electricity", lambda line: line.sums.operational_grams),
    ("transfer_grams", "The part of moving data", lambda line: line.sums.transfer_grams),
    ("embodied_grams", "The hardware's share; M of the SCI", lambda line: line.sums.embodied_grams),
    ("baseline_grams", "The same work in the baseline region, CO2e", lambda line: line.baseline_grams),
    ("saved_grams", "Baseline less emitted, CO2e; below zero when we did worse", lambda line: line.saved_grams),
    ("same_spoke_grams", "The same work here at submission, CO2e", lambda line: line.sums.same_spoke_grams),
    ("best_static_grams", "The same work in the region cleanest then, CO2e", lambda line: line.sums.best_static_grams),
    ("energy_kwh", "Energy of the machines, without the building", lambda line: line.sums.energy_kwh),
    ("host_energy_kwh", "The part that hosts drew beside their GPUs", lambda line: line.sums.host_kwh),
    ("estimated_energy_kwh", "The part that no meter saw", lambda line: line.sums.estimated_kwh),
    ("energy_doubt_kwh", "Standard error of that energy", lambda line: line.sums.doubt_kwh),
    ("facility_kwh", "Energy with the building; E of the SCI", lambda line: line.sums.facility_kwh),
    ("sci_grams_per_job", "Software Carbon Intensity for each training job", lambda line: line.sci.grams_per_job),
    ("scope2_location_based_kg", "GHG Protocol, Scope 2, location-based", lambda line: line.location_based_kg),
    ("gpu_hours", "GPUs times hours", lambda line: line.sums.gpu_hours),
    ("cost_usd", "Price of the GPUs and of moving data", lambda line: line.sums.cost_usd if line.sums.priced else None),
    ("jobs", "Training jobs; R of the SCI", lambda line: line.sums.jobs),
    ("attempts", "Attempts in the ledger", lambda line: line.sums.attempts),
    ("attempts_settled", "Attempts whose figures are final", lambda line: line.sums.settled),
)


class Metrics:
    """A hub's metrics, in a registry of their own."""

    def __init__(self, ledger: Ledger) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_LedgerFigures(ledger))
        self._seconds = Histogram(
            "carbonfleet_cycle_seconds", "Length of planning cycles", buckets=_BUCKETS, registry=self.registry
        )
        self._cycles = Counter("carbonfleet_cycles", "Planning cycles by result", ["result"], registry=self.registry)
        self._decided = Counter("carbonfleet_decisions", "Decisions made", registry=self.registry)
        self._published = Counter("carbonfleet_intents", "Changes that cycles wanted in Git", registry=self.registry)
        self._written = Counter("carbonfleet_status_writes", "Statuses written", registry=self.registry)
        self._carbon = Counter(
            "carbonfleet_carbon_answers",
            "Answers about a zone's carbon, by status",
            ["status"],
            registry=self.registry,
        )
        self._ready = Gauge(
            "carbonfleet_signal_ready", "1 where a source can serve a zone", ["source", "zone"], registry=self.registry
        )

        self._leading = Gauge("carbonfleet_hub_leading", "1 in the hub that holds the Lease", registry=self.registry)
        self._fleet = _FleetFigures()
        self.registry.register(self._fleet)

    def leads(self, leads: bool) -> None:
        """Whether this hub holds the Lease."""
        self._leading.set(leads)

    def carbon_answered(self, status: int) -> None:
        """Somebody asked for a zone's carbon figures and was answered so."""
        self._carbon.labels(str(int(status))).inc()

    def cycle_ended(self, seconds: float, result: CycleResult | None) -> None:
        """A cycle took so long; without a result it failed."""
        label = "failed" if result is None else "troubled" if result.blocker else "done"
        self._seconds.observe(seconds)
        self._cycles.labels(label).inc()
        if result is not None:
            self._decided.inc(result.decided)
            self._published.inc(result.published)
            self._written.inc(result.written)
            self._fleet.figures = result.figures

    def signals_checked(self, findings: Iterable[Finding]) -> None:
        """What each source said of its key (no zone) and of each zone."""
        self._ready.clear()
        for finding in findings:
            self._ready.labels(finding.source, finding.zone).set(finding.ok)

    def serve(self, address: str) -> BoundedServer:
        """Answer scrapes at `host:port`, any free port for 0. Raises ValueError, OSError."""
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"metrics are served at host:port, such as 127.0.0.1:9090, not {address!r}")
        return BoundedServer((host.strip("[]"), int(port)), MetricsHandler.factory(self.registry), "metrics")


class _FleetFigures(Collector):
    """How the fleet stood at the end of the last cycle that did not fail."""

    figures = FleetFigures()

    def collect(self) -> Iterator[Metric]:
        """One family for each figure."""
        figures, spokes = self.figures, self.figures.spokes
        jobs = [((phase.value,), count) for phase, count in figures.jobs.items()]
        yield _gauge("jobs", "Jobs by phase", ["phase"], jobs)
        held = [((reason,), count) for reason, count in figures.held_jobs.items()]
        yield _gauge("jobs_held", "Jobs that something keeps from going on, by its reason", ["reason"], held)
        yield _gauge("jobs_late", "Jobs whose promised finish is after their deadline", [], [((), figures.late_jobs)])
        ready = [((name,), spoke.is_ready) for name, spoke in spokes.items()]
        yield _gauge("spoke_ready", "1 where a spoke may be given new work", ["spoke"], ready)
        silent = [((name,), spoke.silent_seconds) for name, spoke in spokes.items()]
        yield _gauge("spoke_silent_seconds", "Since a spoke's last heartbeat", ["spoke"], silent)
        free = [((name, pool), gpus) for name, spoke in spokes.items() for pool, gpus in spoke.free_gpus.items()]
        yield _gauge("spoke_free_gpus", "GPUs that a spoke reports as free", ["spoke", "pool"], free)
        idle = [((name, pool), kwh) for name, spoke in spokes.items() for pool, kwh in spoke.idle_kwh.items()]
        text = "Drawn without work by GPUs of hosts that were awake, where hosts may sleep"
        drawn = [(labels, kwh) for labels, (kwh, _) in idle]
        yield _gauge("spoke_idle_kwh", text, ["spoke", "pool"], drawn)
        text = "What GPUs of sleeping hosts would have drawn"
        saved = [(labels, kwh) for labels, (_, kwh) in idle]
        yield _gauge("spoke_idle_saved_kwh", text, ["spoke", "pool"], saved)
        links = [(zone_and_link, 1) for zone_and_link in figures.zone_links.items()]
        yield _gauge("zone_link", "1 for what a zone's carbon intensity was last taken from", ["zone", "link"], links)
        shares = figures.budget_shares
        yield _gauge(
            "budget_used_ratio", "Used of a month's budget, as last planned", ["policy", "unit"], shares.items()
        )
        text = "Runs of a schedule that never got a job"
        yield _gauge("schedule_missed_runs", text, ["namespace", "schedule"], figures.missed_runs.items())


def _gauge(
    name: str, text: str, labels: Sequence[str], values: Iterable[tuple[tuple[str, ...], float | None]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"carbonfleet_{name}", text, labels=labels)
    for label_values, value in values:
        if value is not None:
            family.add_metric(label_values, value)
    return family


class _LedgerFigures(Collector):
    """The report's sums, read when they are asked for, and again only when lines were added.

    Gauges, not counters: a settlement may lower a figure.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: tuple[int, list[Sums], int] | None = None

    def describe(self) -> Iterable[Metric]:
        """Nothing is read to register."""
        return _families([], 0)

    def collect(self) -> Iterator[Metric]:
        """One family for each figure; the last known figures while the ledger can't be read."""
        version = self._ledger.version
        if self._known is None or self._known[0] != version:
            try:
                broken = sum(1 for _ in self._ledger.broken())
                self._known = (version, self._ledger.sums(By.NAMESPACE), broken)
            except LedgerError as error:
                _log.warning("metrics are behind: %s", error)
        return _families(*self._known[1:]) if self._known else _families([], 0)


def _families(sums: Iterable[Sums], broken: int) -> Iterator[Metric]:
    text = "Lines that hold what none can, left out of all figures"
    yield _gauge("ledger_broken_lines", text, [], [((), broken)])
    lines = [Line(each) for each in sums]
    for name, text, figure in _FIGURES:
        values = [((line.sums.group, line.sums.signal), figure(line)) for line in lines]
        yield _gauge(f"ledger_{name}", text, ["namespace", "signal"], values)
