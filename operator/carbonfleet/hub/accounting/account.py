"""From a terminal report to a line of the ledger: energy, the grid as it was, and what would have been."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np

from carbonfleet.amounts import difference, maybe_rounded, percent, rounded
from carbonfleet.api.job_status import Figures
from carbonfleet.hub.accounting.attempt import ARITHMETIC, Attempt
from carbonfleet.hub.accounting.counterfactual import SameWork, counterfactuals
from carbonfleet.hub.energy import energy_of
from carbonfleet.ledger import EVIDENCE_FIELDS, Document, Entry, EntryKind, EvidenceError, document_in
from carbonfleet.ledger.emissions import (
    ArchivingGrid,
    Grid,
    Intensities,
    archived_grid,
    curve_of,
    emitted_grams,
    mean_grams_per_kwh,
    settlement,
)


def account(attempt: Attempt, grid: Grid, now: datetime) -> tuple[Entry, tuple[Document, ...]] | None:
    """The ledger's line for an attempt that ended, with its evidence; None where nothing is known of its grid.

    The line is made from what its evidence says, read back, so that it derives from that again.
    """
    report, inputs, places = attempt.documents()
    archive = ArchivingGrid(grid)
    said = [json.loads(each.text) for each in (report, inputs, places)]
    found = _entry(Attempt.read(said[0], said[1], said[2], attempt.commit), archive, now)
    if found is None:
        return None
    signal = archive.document()
    line = replace(
        found,
        report_digest=report.digest,
        signal_digest=signal.digest,
        inputs_digest=inputs.digest,
        places_digest=places.digest,
    )
    return line, (report, signal, inputs, places)


def settle(first: Entry, grid: Grid, now: datetime) -> tuple[Entry, tuple[Document, ...]] | None:
    """The correction of an attempt's line, with its evidence; None while a value that it needs is not final."""
    archive = ArchivingGrid(grid)
    found = settlement(first, archive, now)
    if found is None:
        return None
    signal = archive.document()
    return replace(found, signal_digest=signal.digest), (signal,)


def derived(line: Entry, first: Entry | None, documents: Mapping[str, str]) -> Entry:
    """A line as its evidence has it, by digest. `first` is the attempt's own line, for a settlement.

    Raises EvidenceError for evidence that is missing, altered, or of another arithmetic, ValueError, KeyError or
    TypeError for what is none.
    """
    grid = archived_grid(document_in(documents, line.signal_digest))
    if line.kind is EntryKind.SETTLEMENT:
        if first is None:
            raise EvidenceError("the attempt that it corrects is not in the ledger")
        made = settlement(first, grid, line.recorded_at)
    else:
        attempt = Attempt.read(
            document_in(documents, line.report_digest),
            document_in(documents, line.inputs_digest),
            document_in(documents, line.places_digest),
            line.commit,
        )
        if not 1 <= attempt.inputs.arithmetic <= ARITHMETIC:
            raise EvidenceError(f"it was made by arithmetic {attempt.inputs.arithmetic}; this is {ARITHMETIC}")
        made = _entry(attempt, grid, line.recorded_at)
    if made is None:
        raise EvidenceError("its evidence does not hold what the grid emitted")
    return replace(made, **{name: getattr(line, name) for name in EVIDENCE_FIELDS})


def _entry(attempt: Attempt, grid: Grid, now: datetime) -> Entry | None:
    inputs, here = attempt.inputs, attempt.inputs.location
    energy = energy_of(
        attempt.report, inputs.pool, inputs.hardware, attempt.end, inputs.utilisation, inputs.simulated_hours
    )
    use = energy.use
    held = grid(here.zone, inputs.signal, attempt.start, attempt.end) or _expected(attempt)
    if held is None:
        return None
    operational = emitted_grams(use, held, here.pue)
    transfer, embodied = inputs.planned.transfer_grams if inputs.planned else 0.0, _embodied(attempt)
    same_work = SameWork(use, attempt.start, attempt.submitted, embodied, inputs.signal, grid)
    elsewhere = counterfactuals(same_work, here, attempt.places, inputs.baseline_region, inputs.baseline)
    return Entry(
        id=f"attempt:{attempt.report.placement_id}",
        kind=EntryKind.ATTEMPT,
        **_identity(attempt),
        signal=inputs.signal.value,
        source=held.source,
        settled=held.settled and elsewhere.settled,
        energy_kwh=use.total_kwh,
        energy_method=energy.method,
        energy_uncertainty=energy.uncertainty,
        host_kwh=energy.host_kwh,
        estimated_share=energy.estimated_share if inputs.arithmetic > 1 else 0.0,
        energy_curve=curve_of(use),
        pue=here.pue,
        operational_grams=operational,
        transfer_grams=transfer,
        embodied_grams=embodied,
        grams=operational + transfer + embodied,
        grams_per_kwh=mean_grams_per_kwh(use, held),
        **elsewhere.fields(),
        cost_usd=_cost(attempt),
        recorded_at=now,
        profile=inputs.profile,
        run_hours=attempt.run_hours,
        ingress_gib_per_hour=attempt.ingress_gib_per_hour,
    )


def _identity(attempt: Attempt) -> dict[str, Any]:
    report, inputs = attempt.report, attempt.inputs
    return {
        "commit": attempt.commit,
        "placement_id": report.placement_id,
        "job_uid": report.job.uid,
        "namespace": report.job.namespace,
        "job": report.job.name,
        "sweep": inputs.sweep,
        "tier": inputs.tier,
        "attempt": report.attempt,
        "phase": report.phase.value,
        "cluster": inputs.cluster,
        "account": inputs.account,
        "region": inputs.location.region,
        "zone": inputs.location.zone,
        "pool": inputs.pool.name,
        "gpu_type": inputs.pool.gpu_type,
        "gpus": attempt.gpus,
        "submitted_at": attempt.submitted,
        "start": attempt.start,
        "end": attempt.end,
    }


def figures_of(entries: Sequence[Entry]) -> Figures:
    """What the status says of a job, from the lines of all its attempts, one or more."""
    energy, grams = sum(e.energy_kwh for e in entries), sum(e.grams for e in entries)
    base = _sum(e.baseline_grams for e in entries)
    cost = _sum(e.cost_usd for e in entries)
    saved = None if base is None else difference(base, grams)
    mean = sum(e.grams_per_kwh * e.energy_kwh for e in entries) / energy if energy else entries[-1].grams_per_kwh
    methods = dict.fromkeys(_METHODS.get(e.energy_method, e.energy_method) for e in entries)
    return Figures(
        energy_kwh=rounded(energy),
        grams_co2e=rounded(grams),
        grams_per_kwh=rounded(mean, 3),
        baseline_grams_co2e=maybe_rounded(base),
        saved_grams_co2e=maybe_rounded(saved),
        saved_percent=percent(saved, base) if saved is not None and base is not None else None,
        cost_usd=None if cost is None else round(cost, 2),
        method=" and ".join(methods)[:64],
        attempts=len(entries),
    )


_METHODS: Final = {"estimate": "profile estimate"}


def _sum(values: Iterable[float | None]) -> float | None:
    """None where a part is not known: a sum without it would be too small."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def _expected(attempt: Attempt) -> Intensities | None:
    """When the grid's past is not known, the decision's own figure, marked as such; never nothing."""
    planned = attempt.inputs.planned
    if planned is None or planned.grams_per_kwh is None:
        return None
    values = np.array([planned.grams_per_kwh])
    return Intensities(attempt.inputs.location.zone, attempt.start, timedelta(hours=1), values, source="expected")


def _embodied(attempt: Attempt) -> float:
    inputs, held_hours = attempt.inputs, attempt.gpus * attempt.hours
    grams = inputs.hardware.embodied_kg * 1000
    return inputs.embodied_share * grams * held_hours / inputs.hardware_life_hours


def _cost(attempt: Attempt) -> float | None:
    """USD at the prices that the decision stood on, for as long as it really took; else at the declared price.

    The hour of the day, a spot GPU, a live price and the price of moving data are all in the decision's.
    """
    pool, planned = attempt.inputs.pool, attempt.inputs.planned
    if planned is not None and planned.cost_usd and planned.hours:
        return planned.cost_usd * attempt.hours / planned.hours
    return None if pool.usd_per_gpu_hour is None else pool.usd_per_gpu_hour * attempt.gpus * attempt.hours
