"""Figures of many attempts added up, by the database; signals of different kinds are never added."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from carbonfleet.ledger.store.table import ENTRIES


class By(StrEnum):
    """What the lines of a report are about."""

    JOB = "job"
    SWEEP = "sweep"
    NAMESPACE = "namespace"
    MONTH = "month"
    """UTC, of the attempts' ends."""
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Sums:
    """Totals of a group of attempts whose carbon was counted in one kind of signal. Grams are CO2e.

    Counterfactuals are compared like with like: each stands beside the emissions of those attempts alone
    that have it.
    """

    group: str
    """Such as `namespace/job`, `namespace/sweep`, `2026-01`."""
    job_uid: str
    """Where the group is a job."""
    signal: str
    jobs: int
    """R of the Software Carbon Intensity: the functional unit is one training job."""
    attempts: int
    settled: int
    """Attempts whose figures are final."""
    gpu_hours: float
    energy_kwh: float
    """Of the machines."""
    facility_kwh: float
    """With the building (PUE): E of the Software Carbon Intensity."""
    doubt_kwh: float
    """Standard error of the machines' energy, with all attempts wrong the same way: an upper bound."""
    doubt_grams: float
    """The same of the emissions, from the energy's doubt alone."""
    nvml_kwh: float
    dcgm_kwh: float
    rapl_kwh: float
    prometheus_kwh: float
    estimate_kwh: float
    """From the hardware profile alone."""
    host_kwh: float
    """What machines drew beside their GPUs, where that is known apart."""
    estimated_kwh: float
    """What no meter saw: all that comes from a profile, and what filled a meter's gaps."""
    operational_grams: float
    """E x I of the Software Carbon Intensity."""
    transfer_grams: float
    embodied_grams: float
    """M of the Software Carbon Intensity."""
    grams: float
    compared_grams: float
    """Emissions of those attempts that have a baseline."""
    baseline_grams: float
    same_spoke_compared_grams: float
    same_spoke_grams: float
    best_static_compared_grams: float
    best_static_grams: float
    without_baseline: int
    """Attempts that have none, and so count as neither saving nor loss."""
    cost_usd: float
    priced: int
    """Attempts whose cost is known."""


_SEPARATOR = sa.literal("/")
_WORDS: Final = ("group", "job_uid", "signal")
_METERS: Final = ("nvml", "dcgm", "rapl", "prometheus")


def sums_statement(by: By, dialect: str) -> sa.Select[Any]:
    """Every field of Sums, grouped; the caller says which rows."""
    columns = ENTRIES.c
    keys = {
        By.JOB: columns.namespace + _SEPARATOR + columns.job,
        By.SWEEP: columns.namespace + _SEPARATOR + columns.sweep,
        By.NAMESPACE: columns.namespace,
        By.MONTH: _month(dialect),
        By.ALL: sa.literal("all"),
    }
    group = keys[by].label("group")
    uid = columns.job_uid if by is By.JOB else sa.literal("")
    known = [group, uid.label("job_uid"), columns.signal]
    statement = sa.select(*known, *_figures()).group_by(*known)
    return statement.where(columns.sweep != "") if by is By.SWEEP else statement


def sums_of(row: Mapping[str, Any]) -> Sums:
    """A row of that statement."""
    return Sums(**{field.name: row[field.name] for field in fields(Sums)})


def added(parts: Iterable[Sums]) -> list[Sums]:
    """All groups together, one for each signal; for groups that share no job, since jobs are added too."""
    by_signal: dict[str, list[Sums]] = {}
    for part in parts:
        by_signal.setdefault(part.signal, []).append(part)
    return [_added(signal, by_signal[signal]) for signal in sorted(by_signal)]


def _added(signal: str, parts: Sequence[Sums]) -> Sums:
    numbers = [field.name for field in fields(Sums) if field.name not in _WORDS]
    return Sums(By.ALL.value, "", signal, *(_total(getattr(part, name) for part in parts) for name in numbers))


def _total(values: Iterable[Any]) -> Any:  # noqa: ANN401 - counts stay whole, sums are exact
    found = list(values)
    return sum(found) if isinstance(found[0], int) else math.fsum(found)


def _month(dialect: str) -> sa.ColumnElement[str]:
    end = ENTRIES.c.end
    if dialect == "postgresql":
        return sa.func.to_char(sa.func.timezone("UTC", sa.func.to_timestamp(end)), "YYYY-MM")
    return sa.func.strftime("%Y-%m", end, "unixepoch")


def _figures() -> list[sa.Label[Any]]:
    c = ENTRIES.c
    sums: dict[str, sa.ColumnElement[Any]] = {
        "gpu_hours": c.gpus * (c.end - c.start) / 3600.0,
        "energy_kwh": c.energy_kwh,
        "facility_kwh": c.energy_kwh * c.pue,
        "doubt_kwh": c.energy_kwh * c.energy_uncertainty,
        "doubt_grams": c.operational_grams * c.energy_uncertainty,
        **{f"{name}_kwh": _when(c.energy_method == name, c.energy_kwh) for name in _METERS},
        "estimate_kwh": _when(c.energy_method == "estimate", c.energy_kwh),
        "host_kwh": c.host_kwh,
        "estimated_kwh": sa.case((c.energy_method == "estimate", c.energy_kwh), else_=c.energy_kwh * c.estimated_share),
        "operational_grams": c.operational_grams,
        "transfer_grams": c.transfer_grams,
        "embodied_grams": c.embodied_grams,
        "grams": c.grams,
        "compared_grams": _when(c.baseline_grams.is_not(None), c.grams),
        "same_spoke_compared_grams": _when(c.same_spoke_grams.is_not(None), c.grams),
        "best_static_compared_grams": _when(c.best_static_grams.is_not(None), c.grams),
        **{name: c[name] for name in ("baseline_grams", "same_spoke_grams", "best_static_grams", "cost_usd")},
    }
    counts = {
        "jobs": sa.func.count(c.job_uid.distinct()),
        "attempts": sa.func.count(),
        "settled": sa.func.count(sa.case((sa.and_(c.settled, c.kind == "settlement"), 1))),
        "without_baseline": sa.func.count(sa.case((c.baseline_grams.is_(None), 1))),
        "priced": sa.func.count(c.cost_usd),
    }
    totals = {name: sa.func.coalesce(sa.func.sum(value), 0.0) for name, value in sums.items()}
    return [value.label(name) for name, value in (counts | totals).items()]


def _when(condition: sa.ColumnElement[bool], value: sa.ColumnElement[float]) -> sa.ColumnElement[float]:
    return sa.case((condition, value), else_=0.0)
