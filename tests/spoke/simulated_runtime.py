"""A runtime that a test moves by hand, by the same protocol as Ray and KubeRay."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from carbonfleet.api.report import AttemptPhase, JobRef, Progress
from carbonfleet.spoke.errors import RuntimeAwayError
from carbonfleet.spoke.runtimes import Findings, Observed, Run


@dataclass
class SimulatedRuntime:
    """Runs what it is given, and is in the phase that the test says."""

    cluster: str
    phase: dict[str, AttemptPhase] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)
    started: dict[str, object] = field(default_factory=dict)
    is_away: bool = False
    surprises: int = 0
    asked: int = 0

    def version(self):
        self._answer()
        return "simulated 1"

    def observe(self, scope):
        self._answer()
        if self.surprises:
            self.surprises -= 1
            raise ZeroDivisionError("a fault of the runtime's")
        return Observed({name: self._run(name) for name in self.started})

    def place(self, wanted):
        return "simulated"

    def start(self, wanted):
        self._answer()
        self.started[wanted.name] = wanted.placement

    def suspend(self, wanted):
        self.phase[wanted.name] = AttemptPhase.STOPPED

    def stop(self, run):
        self.phase[run.name] = AttemptPhase.STOPPED

    def prune(self, run):
        pass

    def look(self, name, namespace, attempt, place, *, is_over):
        return Findings(progress=self.progress.get(name))

    def free_gpus(self, pools, held):
        return {pool: gpus - held.get(pool, 0) for pool, gpus in pools.items()}

    def _answer(self):
        self.asked += 1
        if self.is_away:
            raise RuntimeAwayError("the runtime is away")

    def _run(self, name):
        placement = self.started[name]
        return Run(
            name=name,
            job=JobRef(namespace=placement.namespace, name=placement.name, uid=placement.uid),
            placement_id=placement.placement_id,
            attempt=placement.attempt,
            pool=placement.pool,
            gpus=placement.gpus,
            phase=self.phase.get(name, AttemptPhase.PENDING),
            started_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
            session="simulated",
        )
