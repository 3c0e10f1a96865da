"""A report: the ledger's sums with what follows from them, as values, JSON and CSV."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import IO, Any, Final

from carbonfleet.amounts import difference
from carbonfleet.api.signal import SignalKind
from carbonfleet.ledger.store import Ledger, Query
from carbonfleet.ledger.store.sums import By, Sums, added
from carbonfleet.text import csv_line

_METHODS: Final = ("nvml", "dcgm", "rapl", "prometheus", "estimate")


@dataclass(frozen=True, slots=True)
class SciScore:
    """Software Carbon Intensity: ((E x I) + M) per R (ISO/IEC 21031:2024). R counts training jobs.

    E holds machines and building; the network's share is left out here and stands on its own line.
    """

    e_kwh: float
    i_grams_per_kwh: float | None
    """Energy-weighted; None where no energy was used."""
    m_grams: float
    r_jobs: int

    @property
    def grams_per_job(self) -> float:
        """The score."""
        return (self.e_kwh * (self.i_grams_per_kwh or 0.0) + self.m_grams) / self.r_jobs


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a report."""

    sums: Sums

    @property
    def sci(self) -> SciScore:
        """The fields of the Software Carbon Intensity."""
        sums = self.sums
        intensity = sums.operational_grams / sums.facility_kwh if sums.facility_kwh else None
        return SciScore(sums.facility_kwh, intensity, sums.embodied_grams, sums.jobs)

    @property
    def location_based_kg(self) -> float | None:
        """GHG Protocol, Scope 2, location-based: energy times the grid's average intensity, in kg CO2e.

        None for marginal signals: the Scope 2 Guidance (2015) takes average factors.
        """
        is_average = self.sums.signal != SignalKind.MARGINAL.value
        return self.sums.operational_grams / 1000 if is_average else None

    @property
    def baseline_grams(self) -> float | None:
        """None where no attempt has a baseline."""
        return self.sums.baseline_grams if self.sums.without_baseline < self.sums.attempts else None

    @property
    def saved_grams(self) -> float | None:
        """Baseline less ours, of the attempts that have one; negative when we did worse."""
        return None if self.baseline_grams is None else difference(self.baseline_grams, self.sums.compared_grams)

    @property
    def saved_percent(self) -> float | None:
        """Of the baseline."""
        return (
            100 * self.saved_grams / self.baseline_grams
            if self.saved_grams is not None and self.baseline_grams
            else None
        )

    @property
    def energy_uncertainty(self) -> float:
        """Relative, with all attempts wrong the same way."""
        return self.sums.doubt_kwh / self.sums.energy_kwh if self.sums.energy_kwh else 0.0

    @property
    def energy_methods(self) -> str:
        """How the energy was found, with shares: `nvml 80 %, estimate 20 %`."""
        sums = self.sums
        named = {name: getattr(sums, f"{name}_kwh") for name in _METHODS}
        mixed = sums.energy_kwh - sum(named.values())
        named["meter filled with estimate"] = mixed if mixed > 1e-9 * sums.energy_kwh else 0.0
        shares = {name: kwh / sums.energy_kwh for name, kwh in named.items() if kwh > 0 and sums.energy_kwh}
        if len(shares) == 1:
            return next(iter(shares))
        return ", ".join(f"{name} {share:.0%}".replace("%", " %") for name, share in shares.items()) or "-"

    def values(self) -> dict[str, Any]:
        """Every figure by name, for JSON and CSV."""
        sums, score = asdict(self.sums), self.sci
        for name in _METHODS:
            del sums[f"{name}_kwh"]
        return {
            **sums,
            "cost_usd": sums["cost_usd"] if sums["priced"] else None,
            "baseline_grams": self.baseline_grams,
            "saved_grams": self.saved_grams,
            "saved_percent": self.saved_percent,
            "energy_methods": self.energy_methods,
            "energy_uncertainty": self.energy_uncertainty,
            "sci_e_kwh": score.e_kwh,
            "sci_i_grams_per_kwh": score.i_grams_per_kwh,
            "sci_m_grams": score.m_grams,
            "sci_r_jobs": score.r_jobs,
            "sci_grams_per_job": score.grams_per_job,
            "ghg_scope2_location_based_kg": self.location_based_kg,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """Lines by group, and one total for each kind of signal: kinds are never added."""

    by: By
    query: Query
    lines: tuple[Line, ...]
    totals: tuple[Line, ...]
    months: tuple[Line, ...]
    """The same attempts by month, for plots; empty unless asked for."""
    made_at: datetime


_APART: Final = frozenset({By.JOB, By.NAMESPACE})
"""Groups that share no job and leave none out: their figures add up to the total."""


def report(ledger: Ledger, by: By, query: Query, now: datetime, with_months: bool = False) -> Report:
    """The figures of the attempts asked for; by month as well only for who plots them. Raises LedgerError."""
    sums = ledger.sums(by, query)
    lines, totals = _lines(sums), _lines(added(sums) if by in _APART else ledger.sums(By.ALL, query))
    months = _lines(ledger.sums(By.MONTH, query)) if with_months and by is not By.MONTH else ()
    return Report(by, query, lines, totals, months, now)


def values_of(made: Report) -> dict[str, Any]:
    """The report for machines."""
    query = {name: value for name, value in asdict(made.query).items() if value}
    return {
        "by": made.by.value,
        "query": query,
        "madeAt": made.made_at.replace(microsecond=0),
        "lines": [line.values() for line in made.lines],
        "totals": [line.values() for line in made.totals],
    }


def columns() -> tuple[str, ...]:
    """The names of a line's figures, in their order."""
    return tuple(Line(_EMPTY).values())


def write_csv(made: Report, out: IO[str]) -> None:
    """The report's lines for a spreadsheet, with a header; nothing in them is taken for a formula."""
    out.write(csv_line(columns()))
    out.writelines(csv_line(line.values().values()) for line in made.lines)


def _lines(sums: Iterable[Sums]) -> tuple[Line, ...]:
    return tuple(map(Line, sums))


def largest(lines: Sequence[Line], count: int) -> list[Line]:
    """The lines of most emissions, ours or the baseline's, in their order."""
    most = sorted(lines, key=lambda line: -max(line.sums.grams, line.baseline_grams or 0.0))[:count]
    chosen = {id(line) for line in most}
    return [line for line in lines if id(line) in chosen]


_EMPTY = Sums(*("",) * 3, *(1,) * (len(Sums.__dataclass_fields__) - 3))
"""For the names of a line's figures."""
