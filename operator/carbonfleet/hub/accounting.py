"""From a terminal report to a line of the ledger: energy, the grid as it was, and what would have been."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.cluster import ClusterFacts, GpuPool
from carbonfleet.api.job_status import DecisionRecord, Figures
from carbonfleet.api.report import EnergyMethod, ReportSpec
from carbonfleet.api.signal import SignalKind
from carbonfleet.ledger import (
    EnergyUse,
    Entry,
    EntryKind,
    Grid,
    Intensities,
    curve_of,
    emitted_grams,
    mean_grams_per_kwh,
    metered_use,
)
from carbonfleet.placement.assumptions import Assumptions
from carbonfleet.placement.hardware import energy_kwh, pool_profile, power_kw

_METER_UNCERTAINTY: Final = 0.05
"""Of NVML's readings: ±5 % (NVIDIA, NVML API reference; Yang et al. 2023, arXiv:2312.02741)."""
_ABSURD: Final = 10.0
"""A count beyond so many times the profile's peak is a wrong unit, or a meter of somebody else's work."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Everything an account is made of."""

    job: CarbonTrainingJob
    report: ReportSpec
    record: DecisionRecord | None
    clusters: Mapping[str, ClusterFacts]
    baseline_region: str


def account(attempt: Attempt, grid: Grid, assumptions: Assumptions, now: datetime) -> Entry | None:
    """The ledger's line for an attempt that ended; None when it never ran or its spoke is not declared."""
    report, job = attempt.report, attempt.job
    facts = attempt.clusters.get(report.spoke)
    pool = _pool(facts, report.pool)
    if facts is None or pool is None or report.start_time is None:
        return None
    end = max(report.end_time or report.observed_at, report.start_time)
    use, method, uncertainty = energy_of(report, pool, end, assumptions)
    signal = job.spec.signal
    held = grid(facts.zone, signal, report.start_time, end) or _expected(attempt, facts, report.start_time)
    if held is None:
        return None
    hours = (end - report.start_time).total_seconds() / 3600
    operational = emitted_grams(use, held, facts.pue)
    transfer, embodied = _transfer(attempt.record), _embodied(pool, report.gpus, hours, assumptions)
    submitted = job.metadata.creation_timestamp or report.start_time
    would = _Would(use, report.start_time, submitted, embodied, signal, grid)
    baseline = would.have_emitted(_in_region(attempt.clusters, attempt.baseline_region))
    same_spoke = would.have_emitted(facts)
    best = _best_static(attempt.clusters, would)
    return Entry(
        id=f"attempt:{report.placement_id}",
        kind=EntryKind.ATTEMPT,
        placement_id=report.placement_id,
        job_uid=report.job.uid,
        namespace=report.job.namespace,
        job=report.job.name,
        sweep=job.metadata.labels.get("carbonfleet.dev/sweep", ""),
        tier=job.spec.schedule.tier,
        attempt=report.attempt,
        phase=report.phase.value,
        cluster=facts.name,
        region=facts.region,
        zone=facts.zone,
        pool=pool.name,
        gpu_type=pool.gpu_type,
        gpus=report.gpus,
        submitted_at=submitted,
        start=report.start_time,
        end=end,
        signal=signal.value,
        source=held.source,
        settled=held.settled and all(other.settled for other in (baseline, same_spoke, best) if other),
        energy_kwh=use.total_kwh,
        energy_method=method,
        energy_uncertainty=uncertainty,
        pue=facts.pue,
        operational_grams=operational,
        transfer_grams=transfer,
        embodied_grams=embodied,
        grams=operational + transfer + embodied,
        grams_per_kwh=mean_grams_per_kwh(use, held),
        baseline_region=attempt.baseline_region,
        baseline_grams=baseline.grams if baseline else None,
        same_spoke_grams=same_spoke.grams if same_spoke else None,
        best_static_region=best.facts.region if best else "",
        best_static_grams=best.grams if best else None,
        cost_usd=pool.usd_per_gpu_hour * report.gpus * hours if pool.usd_per_gpu_hour is not None else None,
        recorded_at=now,
        energy_curve=curve_of(use),
        baseline_zone=baseline.facts.zone if baseline else "",
        baseline_pue=baseline.facts.pue if baseline else 1.0,
        best_static_zone=best.facts.zone if best else "",
        best_static_pue=best.facts.pue if best else 1.0,
    )


def energy_of(
    report: ReportSpec, pool: GpuPool, end: datetime, assumptions: Assumptions
) -> tuple[EnergyUse, str, float]:
    """Energy over the attempt, how it was found, and its relative uncertainty.

    What a meter counted where the spoke reports it and it is believable, with the profile's estimate for
    what the meter did not see; otherwise the profile's estimate alone.
    """
    start, profile = report.start_time or end, pool_profile(pool)
    hours = (end - start).total_seconds() / 3600
    kw = power_kw(profile, report.gpus, assumptions.utilisation)
    said = report.energy
    if said is not None and said.method is not EnergyMethod.ESTIMATE:
        samples = [(sample.time, sample.energy_kwh) for sample in said.samples]
        metered = metered_use(start, end, samples, said.kwh, kw)
        most = _ABSURD * power_kw(profile, report.gpus, 1.0) * hours
        if metered is not None and metered.use.total_kwh <= most:
            total, filled = metered.use.total_kwh, metered.filled_kwh
            doubt = (total - filled) * _METER_UNCERTAINTY + filled * profile.uncertainty
            method = f"{said.method.value}+estimate" if filled else said.method.value
            return metered.use, method, doubt / total if total else _METER_UNCERTAINTY
    kwh = energy_kwh(profile, report.gpus, hours, assumptions.utilisation)
    return EnergyUse.constant(start, end, kwh), "estimate", profile.uncertainty


def figures_of(entries: Sequence[Entry]) -> Figures:
    """What the status says of a job, from the lines of all its attempts, one or more."""
    energy, grams = sum(e.energy_kwh for e in entries), sum(e.grams for e in entries)
    base = _sum(e.baseline_grams for e in entries)
    cost = _sum(e.cost_usd for e in entries)
    saved = None if base is None else base - grams
    mean = sum(e.grams_per_kwh * e.energy_kwh for e in entries) / energy if energy else entries[-1].grams_per_kwh
    methods = dict.fromkeys(_METHODS.get(e.energy_method, e.energy_method) for e in entries)
    return Figures(
        energy_kwh=round(energy, 4),
        grams_co2e=round(grams, 1),
        grams_per_kwh=round(mean, 1),
        baseline_grams_co2e=None if base is None else round(base, 1),
        saved_grams_co2e=None if saved is None else round(saved, 1),
        saved_percent=round(100 * saved / base, 1) if saved is not None and base else None,
        cost_usd=None if cost is None else round(cost, 4),
        method=" and ".join(methods)[:64],
    )


_METHODS: Final = {"estimate": "profile estimate"}


def _sum(values: Iterable[float | None]) -> float | None:
    """None where a part is not known: a sum without it would be too small."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


@dataclass(frozen=True, slots=True)
class _Would:
    """The same work at submission, elsewhere or here."""

    use: EnergyUse
    start: datetime
    submitted: datetime
    embodied_grams: float
    signal: SignalKind
    grid: Grid

    def have_emitted(self, facts: ClusterFacts | None) -> "_Elsewhere | None":
        """None where there is no such place, or nothing is known of its grid."""
        if facts is None:
            return None
        moved = self.use.shifted(self.submitted - self.start)
        length = timedelta(seconds=float(moved.times[-1] - moved.times[0]))
        held = self.grid(facts.zone, self.signal, self.submitted, self.submitted + length)
        if held is None:
            return None
        return _Elsewhere(facts, emitted_grams(moved, held, facts.pue) + self.embodied_grams, held.settled)


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """What the work would have emitted in a place."""

    facts: ClusterFacts
    grams: float
    settled: bool


def _best_static(clusters: Mapping[str, ClusterFacts], would: _Would) -> _Elsewhere | None:
    emitted = filter(None, (would.have_emitted(facts) for _, facts in sorted(clusters.items())))
    return min(emitted, key=lambda there: (there.grams, there.facts.region), default=None)


def _pool(facts: ClusterFacts | None, name: str) -> GpuPool | None:
    return next((pool for pool in facts.pools if pool.name == name), None) if facts else None


def _in_region(clusters: Mapping[str, ClusterFacts], region: str) -> ClusterFacts | None:
    return next((facts for _, facts in sorted(clusters.items()) if facts.region == region), None)


def _expected(attempt: Attempt, facts: ClusterFacts, start: datetime) -> Intensities | None:
    """When the grid's past is not known, the decision's own figure, marked as such; never nothing."""
    value = attempt.record.grams_per_kwh if attempt.record else None
    if value is None:
        return None
    return Intensities(facts.zone, start, timedelta(hours=1), np.array([value]), source="expected")


def _transfer(record: DecisionRecord | None) -> float:
    """Moving the data happened once, as it was expected to."""
    return (record.expected.transfer_grams_co2e or 0.0) if record and record.expected else 0.0


def _embodied(pool: GpuPool, gpus: int, hours: float, assumptions: Assumptions) -> float:
    profile = pool_profile(pool)
    life_hours = assumptions.hardware_life.total_seconds() / 3600
    return assumptions.embodied_share * gpus * profile.embodied_kg * 1000 * hours / life_hours
