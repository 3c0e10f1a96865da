"""One line of the ledger: an attempt as it was first accounted, or a later correction of it."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from carbonfleet.amounts import difference


class LedgerError(Exception):
    """A ledger, or an export of one, can't be opened, read or written; the message never holds a password."""


class EntryKind(StrEnum):
    """What a line says."""

    ATTEMPT = "attempt"
    SETTLEMENT = "settlement"
    """The grid's final values arrived: the same attempt, emissions anew. It corrects, never overwrites."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one attempt used and emitted, beside what would have been.

    `id` makes a repeat harmless: `attempt:<placement id>`, and `settlement:<placement id>:<n>`.
    Grams are of CO2 equivalent. `grams` = operational (with PUE) + transfer + embodied.
    """

    id: str
    kind: EntryKind
    placement_id: str
    job_uid: str
    namespace: str
    job: str
    sweep: str
    tier: str
    attempt: int
    phase: str
    cluster: str
    region: str
    zone: str
    pool: str
    gpu_type: str
    gpus: int
    submitted_at: datetime
    start: datetime
    end: datetime
    signal: str
    source: str
    settled: bool
    """Whether every figure stands on values that the grid's source calls final."""
    energy_kwh: float
    energy_method: str
    """`nvml`, `dcgm`, `rapl`, `prometheus`, `estimate`, or `nvml+estimate` where a profile or the mean of what was
    measured filled what was not."""
    energy_uncertainty: float
    """Relative: 0.2 is plus or minus a fifth."""
    pue: float
    operational_grams: float
    transfer_grams: float
    embodied_grams: float
    grams: float
    grams_per_kwh: float
    baseline_region: str
    baseline_grams: float | None
    """The same length and energy in the baseline region, started at submission."""
    same_spoke_grams: float | None
    """The same spoke, started at submission."""
    best_static_region: str
    best_static_grams: float | None
    cost_usd: float | None
    recorded_at: datetime
    energy_curve: str = ""
    """JSON `[[seconds since start, kWh until then], ...]` of measured energy; empty for constant power."""
    baseline_zone: str = ""
    baseline_pue: float = 1.0
    best_static_zone: str = ""
    best_static_pue: float = 1.0
    commit: str = ""
    """The fleet repository's commit that placed the attempt; empty in lines from before it was kept."""
    report_digest: str = ""
    """Of the report, as it was accounted; empty in lines from before evidence was kept, and in their settlements."""
    signal_digest: str = ""
    """Of what the grids were known to emit, as it was accounted."""
    inputs_digest: str = ""
    """Of the rest that the line is derived from: what was asked and decided, the hardware, the assumptions."""
    places_digest: str = ""
    """Of the places that it is compared with."""
    profile: str = ""
    """What was trained: runs of one profile take equally long on the same GPUs; empty in lines from before."""
    run_hours: float = 0.0
    """How long the whole run takes by this attempt, pauses and start-up apart; 0 where that can't be told."""
    host_kwh: float = 0.0
    """The part of `energy_kwh` that machines drew beside their GPUs, where known apart; 0 in lines from before."""
    estimated_share: float = 0.0
    """The part of `energy_kwh` that no meter saw, of what one should have; 0 in lines from before it was kept."""
    ingress_gib_per_hour: float = 0.0
    """How fast a dataset from elsewhere came in before the first step; 0 where that can't be told."""
    account: str = ""
    """The cloud's account that paid, as the cluster's file named it; empty where it names none."""

    def __post_init__(self) -> None:
        """Raises ValueError for what must never stand in a ledger."""
        for name in ("energy_kwh", "host_kwh", "estimated_share", "grams", "pue"):
            if (value := getattr(self, name)) < 0:
                raise ValueError(f"ledger entry {self.id}: {name} is negative: {value}")
        for name in _FLOATS:
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"ledger entry {self.id}: {name} is not a number: {value}")
        if self.end < self.start:
            raise ValueError(f"ledger entry {self.id}: it ends before it starts")

    @property
    def saved_grams(self) -> float | None:
        """Baseline less ours; negative when we did worse."""
        return None if self.baseline_grams is None else difference(self.baseline_grams, self.grams)

    @property
    def gpu_hours(self) -> float:
        """GPUs times the attempt's length."""
        return self.gpus * (self.end - self.start).total_seconds() / 3600


FIELDS = tuple(field.name for field in fields(Entry))
DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {field.name: field.default for field in fields(Entry) if field.default is not MISSING}
)
"""What an entry of an older ledger has where it lacks a field."""
EVIDENCE_FIELDS = ("report_digest", "signal_digest", "inputs_digest", "places_digest")
"""Which name documents of the evidence."""
_FLOATS = tuple(field.name for field in fields(Entry) if "float" in str(field.type))
