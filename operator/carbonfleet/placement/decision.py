"""What the planner says: for each job a decision that explains itself."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from carbonfleet.placement.amend import Standing


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
    grams_co2e: float
    grams_per_kwh: float


@dataclass(frozen=True, slots=True)
class Words:
    """The part of a decision that is worked out when somebody reads it."""

    message: str
    candidates: tuple[Candidate, ...]
    baseline: Baseline | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with one job, and the whole trace of why.

    A decision made by `lazily` works out its message, candidates and baseline from the plan's arrays when
    they are first read, and its digest from all of them: a plan for thousands of jobs writes no trace that nobody
    reads. It is the same value either way.
    """

    uid: str
    namespace: str
    name: str
    generation: int
    attempt: int
    outcome: Outcome
    reason: str
    """CamelCase and stable: Placed, WaitingForCleanWindow, NoFeasibleCluster, PolicyMissing, ..."""
    message: str
    """One or two sentences for people: why there, why then."""
    window: Window | None
    candidates: tuple[Candidate, ...]
    """Every spoke: the chosen first, then by score, then the filtered by name."""
    recheck_at: datetime
    review_required: bool = False
    review_reason: str = ""
    baseline: Baseline | None = None
    policy_digest: str = ""
    digest: str = ""
    """sha256 of the decision's canonical form: equal inputs give equal bytes."""

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    def decides_as(self, other: "Decision") -> bool:
        """Whether the other has the same in all that needs no words: what is to be done, where, when and why."""
        return self is other or all(getattr(self, name) == getattr(other, name) for name in _EAGER)

    def told_apart(self) -> "Decision":
        """The same decision, to be put into words that this one does not hold."""
        return self

    @classmethod
    def lazily(cls, explain: Callable[["Decision"], Words], **known: object) -> "Decision":
        """A decision with all fields but those in LAZY, which `explain` gives when they are read."""
        decision = _Explained.__new__(_Explained)
        for name, value in known.items():
            object.__setattr__(decision, name, value)
        object.__setattr__(decision, "explain", explain)
        return decision


LAZY: Final = frozenset({"message", "candidates", "baseline", "digest"})
_EAGER: Final = tuple(name for name in Decision.__dataclass_fields__ if name not in LAZY)


class _Explained(Decision):
    """A decision that still has to be put into words."""

    __slots__ = ("explain",)
    explain: Callable[[Decision], Words] | None
    """None once it is told: the plan's arrays are not held any longer."""

    def told_apart(self) -> Decision:
        return self if self.explain is None else Decision.lazily(self.explain, **self._known())

    def _known(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in _EAGER}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - reached for slots that are not filled yet
        if name not in LAZY:
            raise AttributeError(name)
        if name == "digest":
            object.__setattr__(self, "digest", digest_of(self))
        elif self.explain is not None:
            words = self.explain(self)
            object.__setattr__(self, "message", words.message)
            object.__setattr__(self, "candidates", words.candidates)
            object.__setattr__(self, "baseline", words.baseline)
            object.__setattr__(self, "explain", None)
        return getattr(self, name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Decision):
            return NotImplemented
        return _values(self) == _values(other)

    def __hash__(self) -> int:
        return hash((self.uid, self.generation, self.attempt))

    def __reduce__(self) -> tuple[type[Decision], tuple[Any, ...]]:
        return Decision, _values(self)


def _values(decision: Decision) -> tuple[Any, ...]:
    return tuple(getattr(decision, name) for name in Decision.__dataclass_fields__)


def canonical(decision: Decision) -> str:
    """A decision as JSON with sorted keys, times in ISO 8601; without its digest."""
    values = {name: getattr(decision, name) for name in Decision.__dataclass_fields__ if name != "digest"}
    return json.dumps(values, sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:  # noqa: ANN401 - what JSON does not know: times and values of ours
    if isinstance(value, datetime):
        return value.isoformat()
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def digest_of(decision: Decision) -> str:
    """sha256 of the canonical form."""
    return f"sha256:{hashlib.sha256(canonical(decision).encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The decisions of one cycle, in the order of `namespace/name`."""

    decisions: tuple[Decision, ...]
    now: datetime
    standing: "Standing | None" = field(default=None, compare=False, repr=False)
    """What it stands on, so that it can be amended."""

    def __iter__(self) -> Iterator[Decision]:
        return iter(self.decisions)
