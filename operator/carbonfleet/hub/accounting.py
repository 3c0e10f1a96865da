"""From a terminal report to a line of the ledger: energy, the grid as it was, and what would have been."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.cluster import ClusterFacts, GpuPool
from carbonfleet.api.job_status import DecisionRecord, Figures
from carbonfleet.api.report import ReportSpec
from carbonfleet.api.signal import SignalKind
from carbonfleet.ledger import EnergyUse, Entry, EntryKind, Intensities, emitted_grams, mean_grams_per_kwh
from carbonfleet.placement.assumptions import Assumptions
from carbonfleet.placement.hardware import energy_kwh, pool_profile

Grid = Callable[[str, SignalKind, datetime, datetime], Intensities | None]
"""What a zone's grid emitted over a time, as far as it is known."""


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
    baseline = _in_region(attempt.clusters, attempt.baseline_region)
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
        settled=held.settled,
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
        baseline_grams=would.have_emitted(baseline) if baseline else None,
        same_spoke_grams=would.have_emitted(facts),
        best_static_region=best[1] if best else "",
        best_static_grams=best[0] if best else None,
        cost_usd=pool.usd_per_gpu_hour * report.gpus * hours if pool.usd_per_gpu_hour is not None else None,
        recorded_at=now,
    )


def energy_of(
    report: ReportSpec, pool: GpuPool, end: datetime, assumptions: Assumptions
) -> tuple[EnergyUse, str, float]:
    """Energy over the attempt, how it was found, and its relative uncertainty.

    Measured energy where the spoke reports it; otherwise the hardware profile's estimate.
    """
    start = report.start_time or end
    measured = report.energy
    if measured is not None and measured.kwh is not None:
        times = [start, *(sample.time for sample in measured.samples if start < sample.time < end), end]
        kwh = [
            0.0,
            *(sample.energy_kwh for sample in measured.samples if start < sample.time < end),
            measured.kwh,
        ]
        use = EnergyUse(np.array([t.timestamp() for t in times]), np.maximum.accumulate(np.array(kwh)))
        return use, measured.method.value, 0.05
    profile = pool_profile(pool)
    hours = (end - start).total_seconds() / 3600
    kwh_estimated = energy_kwh(profile, report.gpus, hours, assumptions.utilisation)
    return EnergyUse.constant(start, end, kwh_estimated), "estimate", profile.uncertainty


def figures_of(entry: Entry) -> Figures:
    """What the status says of an entry."""
    saved, base = entry.saved_grams, entry.baseline_grams
    simulated = "profile estimate" if entry.energy_method == "estimate" else entry.energy_method
    return Figures(
        energy_kwh=round(entry.energy_kwh, 4),
        grams_co2e=round(entry.grams, 1),
        grams_per_kwh=round(entry.grams_per_kwh, 1),
        baseline_grams_co2e=None if base is None else round(base, 1),
        saved_grams_co2e=None if saved is None else round(saved, 1),
        saved_percent=round(100 * saved / base, 1) if saved is not None and base else None,
        cost_usd=None if entry.cost_usd is None else round(entry.cost_usd, 4),
        method=simulated,
    )


@dataclass(frozen=True, slots=True)
class _Would:
    """The same work at submission, elsewhere or here."""

    use: EnergyUse
    start: datetime
    submitted: datetime
    embodied_grams: float
    signal: SignalKind
    grid: Grid

    def have_emitted(self, facts: ClusterFacts) -> float | None:
        moved = self.use.shifted(self.submitted - self.start)
        length = timedelta(seconds=float(moved.times[-1] - moved.times[0]))
        held = self.grid(facts.zone, self.signal, self.submitted, self.submitted + length)
        return None if held is None else emitted_grams(moved, held, facts.pue) + self.embodied_grams


def _best_static(clusters: Mapping[str, ClusterFacts], would: _Would) -> tuple[float, str] | None:
    emitted = [(would.have_emitted(facts), facts.region) for _, facts in sorted(clusters.items())]
    known = [(grams, region) for grams, region in emitted if grams is not None]
    return min(known) if known else None


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
