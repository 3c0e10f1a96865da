"""What a spoke needs of the thing that runs its attempts: two implementations stand behind this one door."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from carbonfleet.api.report import AttemptPhase, JobRef
from carbonfleet.spoke.wanted import Wanted


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt as the runtime sees it now. Times are the house's."""

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


class Runtime(Protocol):
    """Starts and stops attempts; each call is safe to repeat, and `observe` is the only truth."""

    def version(self) -> str:
        """What runs, such as `ray 2.60.0`. Raises RuntimeAwayError."""

    def observe(self) -> Mapping[str, Run]:
        """Every attempt of this spoke that it knows, by name. Raises RuntimeAwayError."""

    def start(self, wanted: Wanted, output: str) -> None:
        """Run an attempt that does not run, or resume a suspended one. Raises RuntimeAwayError."""

    def suspend(self, wanted: Wanted) -> None:
        """Ask a running attempt to save itself and give up its GPUs. Raises RuntimeAwayError."""

    def stop(self, run: Run) -> None:
        """Ask an attempt to save itself and end for good. Raises RuntimeAwayError."""

    def prune(self, run: Run) -> None:
        """Clear away what is left of an attempt that has ended. Raises RuntimeAwayError."""

    def free_gpus(self, pools: Mapping[str, int], held: Mapping[str, int]) -> Mapping[str, int]:
        """GPUs free in each pool, given how many are declared and how many attempts of ours hold."""
