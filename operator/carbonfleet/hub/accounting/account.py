"""From a terminal report to a line of the ledger: energy, the grid as it was, and what would have been."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.cluster import ClusterFacts, GpuPool
from carbonfleet.api.job_status import DecisionRecord, Figures
from carbonfleet.api.report import ReportSpec
from carbonfleet.hub.accounting.counterfactual import SameWork, counterfactuals
from carbonfleet.hub.energy import energy_of, stints_until
from carbonfleet.ledger import (
    Entry,
    EntryKind,
    Grid,
    Intensities,
    curve_of,
    emitted_grams,
    mean_grams_per_kwh,
)
from carbonfleet.placement.assumptions import Assumptions
from carbonfleet.placement.hardware import pool_profile
from carbonfleet.placement.record import maybe_rounded, rounded


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
    ran = _ran(attempt)
    if ran is None:
        return None
    signal = attempt.job.spec.signal
    use, method, uncertainty = energy_of(attempt.report, ran.pool, ran.end, assumptions)
    held = grid(ran.facts.zone, signal, ran.start, ran.end) or _expected(attempt, ran)
    if held is None:
        return None
    operational = emitted_grams(use, held, ran.facts.pue)
    transfer, embodied = _transfer(attempt.record), _embodied(ran, assumptions)
    same_work = SameWork(use, ran.start, ran.submitted, embodied, signal, grid)
    elsewhere = counterfactuals(same_work, ran.facts, attempt.clusters, attempt.baseline_region)
    return Entry(
        id=f"attempt:{attempt.report.placement_id}",
        kind=EntryKind.ATTEMPT,
        **_identity(attempt, ran),
        signal=signal.value,
        source=held.source,
        settled=held.settled and elsewhere.settled,
        energy_kwh=use.total_kwh,
        energy_method=method,
        energy_uncertainty=uncertainty,
        energy_curve=curve_of(use),
        pue=ran.facts.pue,
        operational_grams=operational,
        transfer_grams=transfer,
        embodied_grams=embodied,
        grams=operational + transfer + embodied,
        grams_per_kwh=mean_grams_per_kwh(use, held),
        **elsewhere.fields(),
        cost_usd=_cost(attempt.record, ran),
        recorded_at=now,
    )


@dataclass(frozen=True, slots=True)
class _Ran:
    """Where and when an attempt ran."""

    facts: ClusterFacts
    pool: GpuPool
    gpus: int
    submitted: datetime
    start: datetime
    end: datetime
    stints: tuple[tuple[datetime, datetime], ...]
    """When it held its GPUs."""

    @property
    def hours(self) -> float:
        """How long it held its GPUs."""
        return sum((end - start).total_seconds() for start, end in self.stints) / 3600


def _ran(attempt: Attempt) -> _Ran | None:
    report = attempt.report
    facts, start = attempt.clusters.get(report.spoke), report.start_time
    pool = next((pool for pool in facts.pools if pool.name == report.pool), None) if facts else None
    if facts is None or pool is None or start is None:
        return None
    submitted = attempt.job.metadata.creation_timestamp or start
    end = max(report.end_time or report.observed_at, start)
    return _Ran(facts, pool, min(report.gpus, pool.gpus), submitted, start, end, stints_until(report, end))


def _identity(attempt: Attempt, ran: _Ran) -> dict[str, Any]:
    report, job = attempt.report, attempt.job
    return {
        "placement_id": report.placement_id,
        "job_uid": report.job.uid,
        "namespace": report.job.namespace,
        "job": report.job.name,
        "sweep": job.metadata.labels.get("carbonfleet.dev/sweep", ""),
        "tier": job.spec.schedule.tier,
        "attempt": report.attempt,
        "phase": report.phase.value,
        "cluster": ran.facts.name,
        "region": ran.facts.region,
        "zone": ran.facts.zone,
        "pool": ran.pool.name,
        "gpu_type": ran.pool.gpu_type,
        "gpus": ran.gpus,
        "submitted_at": ran.submitted,
        "start": ran.start,
        "end": ran.end,
    }


def figures_of(entries: Sequence[Entry]) -> Figures:
    """What the status says of a job, from the lines of all its attempts, one or more."""
    energy, grams = sum(e.energy_kwh for e in entries), sum(e.grams for e in entries)
    base = _sum(e.baseline_grams for e in entries)
    cost = _sum(e.cost_usd for e in entries)
    saved = None if base is None else base - grams
    mean = sum(e.grams_per_kwh * e.energy_kwh for e in entries) / energy if energy else entries[-1].grams_per_kwh
    methods = dict.fromkeys(_METHODS.get(e.energy_method, e.energy_method) for e in entries)
    return Figures(
        energy_kwh=rounded(energy),
        grams_co2e=rounded(grams),
        grams_per_kwh=rounded(mean, 3),
        baseline_grams_co2e=maybe_rounded(base),
        saved_grams_co2e=maybe_rounded(saved),
        saved_percent=round(100 * saved / base, 1) if saved is not None and base else None,
        cost_usd=None if cost is None else round(cost, 2),
        method=" and ".join(methods)[:64],
        attempts=len(entries),
    )


_METHODS: Final = {"estimate": "profile estimate"}


def _sum(values: Iterable[float | None]) -> float | None:
    """None where a part is not known: a sum without it same_work be too small."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def _expected(attempt: Attempt, ran: _Ran) -> Intensities | None:
    """When the grid's past is not known, the decision's own figure, marked as such; never nothing."""
    value = attempt.record.grams_per_kwh if attempt.record else None
    if value is None:
        return None
    return Intensities(ran.facts.zone, ran.start, timedelta(hours=1), np.array([value]), source="expected")


def _transfer(record: DecisionRecord | None) -> float:
    """Moving the data happened once, as it was expected to."""
    return (record.expected.transfer_grams_co2e or 0.0) if record and record.expected else 0.0


def _embodied(ran: _Ran, assumptions: Assumptions) -> float:
    hardware = pool_profile(ran.pool)
    life_hours = assumptions.hardware_life.total_seconds() / 3600
    return assumptions.embodied_share * ran.gpus * hardware.embodied_kg * 1000 * ran.hours / life_hours


def _cost(record: DecisionRecord | None, ran: _Ran) -> float | None:
    """USD at the prices that the decision stood on, for as long as it really took; else at the declared price.

    The hour of the day, a spot GPU, a live price and the price of moving data are all in the decision's.
    """
    pool = ran.pool
    if record is not None and record.expected and record.expected.cost_usd and record.start and record.end:
        planned_hours = _planned_hours(record)
        return record.expected.cost_usd * ran.hours / planned_hours if planned_hours else None
    return None if pool.usd_per_gpu_hour is None else pool.usd_per_gpu_hour * ran.gpus * ran.hours


def _planned_hours(record: DecisionRecord) -> float:
    """How long a decision expected the run to hold its GPUs."""
    if record.segments:
        return sum((part.end - part.start).total_seconds() for part in record.segments) / 3600
    return (record.end - record.start).total_seconds() / 3600 if record.start and record.end else 0.0
