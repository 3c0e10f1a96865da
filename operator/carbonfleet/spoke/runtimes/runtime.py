"""What a spoke needs of the thing that runs its attempts: two implementations stand behind this protocol."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from carbonfleet.api.report import AttemptPhase, JobRef, ReportSpec
from carbonfleet.spoke.runtimes.output import Findings
from carbonfleet.spoke.wanted import Wanted


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt as the runtime sees it now. Times are of carbonfleet's clock."""

    name: str
    job: JobRef
    placement_id: str
    attempt: int
    pool: str
    gpus: int
    phase: AttemptPhase
    reason: str = ""
    message: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    session: str = ""
    """Which life of the runtime runs it: a runtime that was started anew has lost what it ran."""

    @property
    def is_live(self) -> bool:
        """Whether it holds GPUs, or may hold them soon."""
        return self.phase in {AttemptPhase.PENDING, AttemptPhase.RUNNING, AttemptPhase.UNKNOWN}


@dataclass(frozen=True, slots=True)
class ObservationScope:
    """What to look for: the namespaces of jobs of which something may be left, and what is known of those not over."""

    namespaces: frozenset[str] = frozenset()
    open: Mapping[str, ReportSpec] = field(default_factory=dict)
    """Reports by attempt's name."""


@dataclass(frozen=True, slots=True)
class Observed:
    """The runtime at one moment."""

    runs: Mapping[str, Run] = field(default_factory=dict)
    """Every attempt of this spoke that the runtime knows, by name."""
    blind: Mapping[str, str] = field(default_factory=dict)
    """Namespaces that can't be seen, and why: nothing is known of what runs there."""


class Runtime(Protocol):
    """Starts and stops attempts; each call is safe to repeat, and `observe` is the only truth.

    Every call raises RuntimeAwayError when the runtime does not answer, and RuntimeRefusedError when it answers no.
    """

    def version(self) -> str:
        """What runs, such as `ray 2.60.0`."""

    def observe(self, scope: ObservationScope) -> Observed:
        """What runs, and what cannot be seen."""

    def place(self, wanted: Wanted) -> str:
        """Where an attempt saves: a path or URL that all attempts of its job share."""

    def start(self, wanted: Wanted) -> None:
        """Run an attempt that does not run, or resume a suspended one."""

    def suspend(self, wanted: Wanted) -> None:
        """Ask a running attempt to save itself and give up its GPUs."""

    def stop(self, run: Run) -> None:
        """Ask an attempt to save itself and end for good."""

    def prune(self, run: Run) -> None:
        """Clear away what is left of an attempt that has ended."""

    def look(self, name: str, namespace: str, attempt: int, place: str, *, is_over: bool) -> Findings:
        """How far an attempt is, as its output at `place` or its log says; never raises.

        Of one that `is_over` the last word is wanted; else what was seen a few seconds ago may do.
        """

    def free_gpus(self, pools: Mapping[str, int], held: Mapping[str, int]) -> Mapping[str, int]:
        """GPUs free in each pool, given how many are declared and how many attempts of ours hold."""
