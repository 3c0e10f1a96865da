"""What a checkout of the fleet repository says of jobs: what would block them, and what in them it does not know."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import numpy as np
from pydantic import ValidationError

from carbonfleet.api import CarbonTrainingJob, ClusterFacts
from carbonfleet.api.job_status import CandidateStatus, DecisionRecord
from carbonfleet.api.policy import Store
from carbonfleet.api.problems import Location, told
from carbonfleet.api.signal import SignalKind
from carbonfleet.api.wire import Metadata
from carbonfleet.cli.files.findings import FileFinding, Severity
from carbonfleet.cli.files.manifests import JobManifest, Manifests
from carbonfleet.fleet.check import Checkout, read_checkout, read_files
from carbonfleet.fleet.manifests import CLUSTERS, FILES_UNREADABLE, POLICIES, Held, cluster_path, why_held
from carbonfleet.forecast import Forecast
from carbonfleet.hub.settings import HORIZON
from carbonfleet.kube import APPLY_PATCH, Kube, KubeError, name_of, ours
from carbonfleet.placement import explain, plan
from carbonfleet.placement.assumptions import DEFAULTS
from carbonfleet.placement.decision import Outcome
from carbonfleet.placement.hardware import PROFILES, UNKNOWN, canonical, profile
from carbonfleet.placement.snapshot import HOUR, PolicySet, QueuedJob, Snapshot, Spoke
from carbonfleet.signals import floor_hour, zone_doubt, zones_without_spoke
from carbonfleet.signals.regions import regions
from carbonfleet.yaml_reader import FileProblem, YamlDocument

_GRID: Final = frozenset({"CarbonBudget", "AboveThreshold", "NoSignal"})
"""Reasons that depend on the grid, which is not asked here."""
_AT: Final[Mapping[str, Location]] = {
    "UnknownTier": ("spec", "schedule", "tier"),
    "TierNotAllowed": ("spec", "schedule", "tier"),
    "PolicyMissing": ("spec", "residency", "dataClass"),
    "ResidencyPolicy": ("spec", "residency", "dataClass"),
    "ResidencyRequest": ("spec", "residency"),
    "GpuType": ("spec", "resources", "gpuTypes"),
    "GpuMemory": ("spec", "resources", "gpuMemoryGib"),
    "GpuCount": ("spec", "resources", "gpus"),
    "DeadlineUnreachable": ("spec", "schedule", "deadline"),
    "CostLimit": ("spec", "objective", "maxCostUsd"),
}
"""Where in a job that stands which keeps it out, by the reason."""


_DRY_RUN: Final = urlencode({"dryRun": "All", "fieldManager": "carbonfleet-validate", "force": "true"})


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a checkout declares, as far as it can be read, and what is wrong with it."""

    policies: PolicySet
    clusters: Mapping[str, ClusterFacts]
    findings: tuple[FileFinding, ...]
    broken: Mapping[str, str]
    """By cluster: what is wrong with its file, so that nothing is placed there."""
    held: Held = field(default_factory=dict)

    def snapshot(self, jobs: Sequence[JobManifest], now: datetime) -> Snapshot:
        """What the planner needs but for the grid: jobs submitted now or when they are made; all spokes up and free."""
        queue = tuple(
            QueuedJob(f"{row:06}", job.metadata.namespace, job.metadata.name, job.spec, found.made_at or now)
            for row, found in enumerate(jobs)
            for job in [found.job]
        )
        spokes = tuple(self._spoke(facts) for _, facts in sorted(self.clusters.items()))
        zones = zones_without_spoke((job.spec for job in queue), self.clusters.values())
        return Snapshot(jobs=queue, spokes=spokes, policies=self.policies, region_zones=zones)

    def _spoke(self, facts: ClusterFacts) -> Spoke:
        why = why_held(self.held, CLUSTERS, facts.name)
        return Spoke(facts, False, FILES_UNREADABLE, why) if why else Spoke(facts)

    def with_broken(self, record: DecisionRecord) -> DecisionRecord:
        """A decision that shows the clusters whose files are broken beside those that were weighed."""
        rows = [
            CandidateStatus.model_construct(cluster=name, verdict="Filtered", reason="Invalid", message=why)
            for name, why in sorted(self.broken.items())
        ]
        total = record.candidates_total + len(rows)
        return record.model_copy(update={"candidates": (*record.candidates, *rows), "candidates_total": total})


def read_fleet(folder: Path) -> Fleet:
    """A checkout; what is wrong with it is a warning. Raises ValueError where there is none."""
    try:
        checkout = read_checkout(read_files(folder))
    except (OSError, ValueError) as error:
        raise ValueError(f"{error} with --fleet") from error
    doubts = tuple(FileFinding(Severity.WARNING, problem).under(folder) for problem in checkout.problems)
    broken: dict[str, str] = {}
    for problem in checkout.problems:
        root, *names = problem.path.split("/")
        if root == CLUSTERS and names and names[0] not in checkout.clusters:
            broken.setdefault(names[0], str(problem))
    return Fleet(checkout.policies, checkout.clusters, doubts, broken, checkout.held)


def read_hub(kube: Kube) -> Fleet:
    """The spokes that a hub knows; it keeps no policies. Raises KubeError."""
    clusters, findings = {}, []
    for body in kube.list(ours("spokeclusters"))[0]:
        name = name_of(body)
        try:
            clusters[name] = ClusterFacts.model_validate(body.get("spec"))
        except ValidationError as error:
            why = f"can't be read: {told(error, ClusterFacts)}"
            findings.append(FileFinding(Severity.WARNING, FileProblem(f"spokecluster/{name}", 1, why)))
    return Fleet(PolicySet(), clusters, tuple(findings), {})


def asked_of_hub(found: Manifests, jobs: Sequence[JobManifest], kube: Kube) -> Iterator[FileFinding]:
    """What a hub's API, and whoever it asks, says of applying each object, which is not done; what it does not know.

    `jobs` are those of the manifests and of their schedules. Raises KubeError where the hub does not answer.
    """
    fleet = read_hub(kube)
    yield from fleet.findings
    for job in jobs:
        for at, why in doubts_of(job.job, fleet):
            yield FileFinding(Severity.WARNING, job.document.problem(why, *at))
    for each in found.jobs:
        yield from _applied(kube, "carbontrainingjobs", each.job.metadata, each.document)
    for one in found.schedules:
        yield from _applied(kube, "carbontrainingschedules", one.schedule.metadata, one.document)


def _applied(kube: Kube, plural: str, metadata: Metadata, document: YamlDocument) -> Iterator[FileFinding]:
    body = {**document.data, "metadata": {"name": metadata.name, "namespace": metadata.namespace}}
    where = ours(plural, metadata.namespace, metadata.name)
    try:
        kube.patch(f"{where}?{_DRY_RUN}", body, APPLY_PATCH)
    except KubeError as error:
        if error.is_away:
            raise
        yield FileFinding(Severity.ERROR, document.problem(error.for_people))


def judged(jobs: Sequence[JobManifest], fleet: Fleet, now: datetime) -> list[FileFinding]:
    """What the fleet does not know of jobs, and why they would be Blocked whatever the grid is like."""
    blocked = dict(_blocked(jobs, fleet, now))
    findings = []
    for row, found in enumerate(jobs):
        doubts = (found.document.problem(why, *at) for at, why in doubts_of(found.job, fleet))
        findings += [FileFinding(Severity.WARNING, problem) for problem in doubts]
        findings += [blocked[row]] if row in blocked else []
    return findings


def _blocked(jobs: Sequence[JobManifest], fleet: Fleet, now: datetime) -> Iterator[tuple[int, FileFinding]]:
    """The jobs, by their place, that the planner blocks on a grid that is the same everywhere and always."""
    snapshot = fleet.snapshot(jobs, now)
    keys = {(spoke.facts.zone, job.spec.signal) for spoke in snapshot.spokes for job in snapshot.jobs}
    planned = plan(replace(snapshot, forecasts={key: _flat(*key, now) for key in keys}), now)
    row_of = {job.uid: row for row, job in enumerate(snapshot.jobs)}
    for decision in planned:
        if decision.outcome is Outcome.BLOCKED:
            explanation = explain(planned, decision)
            reasons = [decision.reason, *explanation.reasons]
            if _GRID.isdisjoint(reasons):
                row = row_of[decision.uid]
                at = next((_AT[reason] for reason in reasons if reason in _AT), ("spec",))
                yield row, FileFinding(Severity.BLOCKED, jobs[row].document.problem(explanation.message, *at))


def _flat(zone: str, signal: SignalKind, now: datetime) -> Forecast:
    hours = HORIZON // HOUR + 1
    grams_per_kwh = np.full(hours, DEFAULTS.signal_loss_grams_per_kwh)
    return Forecast(zone, signal, floor_hour(now), HOUR, grams_per_kwh, np.zeros(hours), "flat", "static", now)


def doubts_of(job: CarbonTrainingJob, fleet: Fleet) -> Iterator[tuple[Location, str]]:
    """What a job names that the fleet has nothing of: likely mistyped, and never an error to the API."""
    spec, clusters = job.spec, fleet.clusters.values()
    places = {facts.region for facts in clusters}
    stores = {store.region for policy in fleet.policies.policies for store in policy.spec.stores}
    pools = {pool.gpu_type for facts in clusters for pool in facts.pools}
    areas = {area for facts in clusters for area in facts.jurisdictions}
    classes = {name for policy in fleet.policies.policies for name in policy.spec.scope.data_classes}
    at: Location = ("spec", "residency")
    if fleet.policies.policies:
        yield from _unknown((*at, "dataClass"), [spec.residency.data_class], classes, "policy names data class")
    yield from _unknown((*at, "allowedRegions"), spec.residency.allowed_regions, places, "cluster is in region")
    yield from _unknown((*at, "allowedJurisdictions"), spec.residency.allowed_jurisdictions, areas, "cluster is in")
    at = ("spec", "resources")
    yield from _unknown((*at, "gpuTypes"), spec.resources.gpu_types, pools, "pool of the fleet has GPU type")
    options = [option.gpu_type for option in spec.resources.options]
    yield from _unknown((*at, "options"), options, pools, "pool of the fleet has GPU type")
    if profile(spec.resources.reference_gpu) is UNKNOWN:
        known = ", ".join(PROFILES)
        yield (*at, "referenceGpu"), f"nothing is known of {spec.resources.reference_gpu}; the profiles have {known}"
    known_regions = places | stores | set(regions())
    baseline, stored = spec.baseline_region, spec.workload.dataset.region
    yield from _unknown(
        ("spec", "baselineRegion"), [baseline] if baseline else [], known_regions, "grid is known of region"
    )
    at = ("spec", "workload", "dataset", "region")
    yield from _unknown(at, [stored] if stored else [], known_regions, "grid is known of region")


def doubts_of_fleet(checkout: Checkout) -> Iterator[FileProblem]:
    """What people's files name that nothing is known of: likely mistyped, and never an error."""
    for policy in checkout.policies.policies:
        residency = policy.spec.residency
        at: Location = ("spec", "residency", "clusters")
        for _, why in _unknown(
            at, residency.clusters if residency else (), set(checkout.clusters), "cluster is called"
        ):
            yield FileProblem(f"{POLICIES}/{policy.metadata.name}.yaml", 1, why)
        for store in policy.spec.stores:
            for why in _doubts_of_store(store, regions().keys() | {each.region for each in checkout.clusters.values()}):
                yield FileProblem(f"{POLICIES}/{policy.metadata.name}.yaml", 1, f"store {store.name}: {why}")
    for name, facts in checkout.clusters.items():
        for _, why in _unknown(("region",), [facts.region], set(regions()), "grid is known of region"):
            if "; did you mean " in why:  # other regions are of one's own, or of providers that the table lacks
                yield FileProblem(cluster_path(name), 1, why)
        types = {pool.gpu_type for pool in facts.pools if profile(pool.gpu_type) is UNKNOWN}
        unknown = (why for _, why in _unknown(("pools",), sorted(types), set(PROFILES), "hardware profile is of"))
        for why in filter(None, (zone_doubt(facts), *unknown)):
            yield FileProblem(cluster_path(name), 1, why)


def _doubts_of_store(store: Store, known: set[str]) -> Iterator[str]:
    yield from (why for _, why in _unknown(("region",), [store.region], known, "grid is known of region"))
    if store.uri is not None and "://" not in store.uri and not store.uri.startswith("/"):
        yield f"{store.uri} is no address and no path, so that it covers nothing; did you mean s3://{store.uri}?"


def _unknown(at: Location, named: Iterable[str], known: set[str], none: str) -> Iterator[tuple[Location, str]]:
    """A sentence for each name that is not among the known ones, as GPU models are compared."""
    folded = {canonical(name): name for name in known}
    for name in named:
        if canonical(name) not in folded:
            close = get_close_matches(canonical(name), folded, n=1)
            meant = f"did you mean {folded[close[0]]}?" if close else f"known are {_some(known)}"
            yield at, f"no {none} {name}; {meant}"


def _some(names: Iterable[str], most: int = 8) -> str:
    listed = sorted(names)
    return (", ".join(listed[:most]) or "none") + (f" and {len(listed) - most} more" if len(listed) > most else "")
