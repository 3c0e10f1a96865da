"""What the planner decides for a job, and the explanation of it."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from statistics import median
from typing import Final

MOST_SHOWN: Final = 20
"""Candidates of a decision that people see."""


class Outcome(StrEnum):
    """What is to be done with a job now."""

    START = "Start"
    WAIT = "Wait"
    BLOCKED = "Blocked"
    KEEP = "Keep"
    """Runs, and goes on where it is."""
    PAUSE = "Pause"
    MOVE = "Move"


class Verdict(StrEnum):
    """How a candidate fared."""

    CHOSEN = "Chosen"
    FEASIBLE = "Feasible"
    FILTERED = "Filtered"


@dataclass(frozen=True, slots=True)
class Window:
    """A place and a time: half-open segments on one pool of one cluster, and what they cost."""

    cluster: str
    pool: str
    gpus: int
    spot: bool
    segments: tuple[tuple[datetime, datetime], ...]
    energy_kwh: float
    """At the wall of the machines, without PUE."""
    grams_co2e: float
    """With PUE, transfer and the embodied share."""
    operational_grams: float
    transfer_grams: float
    embodied_grams: float
    cost_usd: float
    score_usd: float
    """What was made small: cost + carbon price x carbon, or one of them as the job says."""
    grams_per_kwh: float
    """Mean intensity over the segments."""
    doubt_grams: float
    """Standard error of `grams_co2e`."""

    @property
    def start(self) -> datetime:
        """When the first segment begins."""
        return self.segments[0][0]

    @property
    def end(self) -> datetime:
        """When the last segment ends."""
        return self.segments[-1][1]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One spoke as seen for one job: filtered by a rule, or its best window there."""

    cluster: str
    verdict: Verdict
    reason: str
    """CamelCase: the rule that filtered it, or why it was (not) chosen."""
    message: str
    window: Window | None = None
    grams_per_kwh_now: float | None = None
    source: str = ""
    link: str = ""
    observed_at: datetime | None = None
    price_source: str = ""
    """Who named the GPUs' price, where that is not the cluster file."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The same length and energy in the region the job would have run in, begun when it was submitted."""

    region: str
    cluster: str
    zone: str
    grams_co2e: float
    grams_per_kwh: float
    doubt_grams: float
    """Standard error of `grams_co2e`, of a start at once."""


Spread = tuple[float, float, float]
"""P10, P50 and P90."""


@dataclass(frozen=True, slots=True)
class RunLength:
    """How long a whole run takes on its GPUs, without start-up and pauses."""

    declared_hours: float
    took_hours: tuple[float, ...] = ()
    """Of runs of the same profile on the same GPUs, oldest first; empty where there are too few to go by."""

    @property
    def measured_hours(self) -> float | None:
        """The middle of what runs took."""
        return median(self.took_hours) if self.took_hours else None


@dataclass(frozen=True, slots=True)
class Promise:
    """P10, P50 and P90 of what comes of a window. A finish is promised by its P90."""

    start: tuple[datetime, ...]
    finish: tuple[datetime, ...]
    grams: Spread
    saved_grams: Spread | None = None
    """Beside the baseline, where there is one."""
    length: RunLength | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with one job. Why it is so, `placement.explain` says."""

    uid: str
    namespace: str
    name: str
    generation: int
    attempt: int
    outcome: Outcome
    reason: str
    """CamelCase and stable: Placed, WaitingForCleanWindow, NoFeasibleCluster, PolicyMissing, ..."""
    window: Window | None
    recheck_at: datetime
    review_required: bool = False
    review_reason: str = ""
    policy_digest: str = ""

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def digest(self) -> str:
        """sha256 of the decision as JSON with sorted keys and times in ISO 8601: equal inputs give equal bytes."""
        said = {field: getattr(self, field) for field in self.__slots__}
        if self.window is not None:
            said["window"] = {field: getattr(self.window, field) for field in Window.__slots__}
        canonical = json.dumps(said, sort_keys=True, separators=(",", ":"), default=datetime.isoformat)
        return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a decision is what it is."""

    message: str
    """One or two sentences for people: why there, why then."""
    candidates: tuple[Candidate, ...]
    """The first MOST_SHOWN spokes: the chosen first, then by score, then the filtered by name."""
    total: int
    """How many spokes there are."""
    reasons: tuple[str, ...] = ()
    """Of a job without a window, what keeps it from any spoke, each once."""
    baseline: Baseline | None = None
    promise: Promise | None = None
    """Of its window, where it has one."""
